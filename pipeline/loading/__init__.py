"""From bytes to batches of views on the device."""
