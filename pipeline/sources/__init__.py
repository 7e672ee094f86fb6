"""Where photos and landmarks come from."""
