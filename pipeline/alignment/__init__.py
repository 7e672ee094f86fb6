"""From a photo to an aligned face."""
