"""Measurements of the offline stage and of the loader."""
