"""The loader: encoded photos to batches on the device."""
