"""What is trained and tested: people, variants, settings, single trials and whole campaigns of them."""
