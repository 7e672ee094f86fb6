"""Parallel jobs and their progress bar."""
