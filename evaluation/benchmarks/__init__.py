"""Measurements of the evaluation."""
