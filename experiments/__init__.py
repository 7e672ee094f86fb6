"""Experiments with the system: what each part of the method contributes."""
