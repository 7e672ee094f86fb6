"""The bytes of photos, checked."""
