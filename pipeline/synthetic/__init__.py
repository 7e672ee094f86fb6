"""Rendered people whom a network can learn to tell apart, in the layouts of the real data sets."""
