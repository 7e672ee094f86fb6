"""Decode photos and resize them exactly as Pillow does."""
