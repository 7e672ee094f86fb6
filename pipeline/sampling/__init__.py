"""Sampling: which photos each rank gets at each step."""
