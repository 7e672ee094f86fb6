"""The stages of `training.adapt`: people set aside, the commands that it runs, and what they gained."""
