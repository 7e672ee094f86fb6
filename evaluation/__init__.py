"""Checkpoint to numbers, plots and a report."""
