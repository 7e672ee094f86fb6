"""Synthetic faces, written in the layouts of the real data sets."""
