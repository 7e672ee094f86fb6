"""Readers for data sets, photo folders and landmark lists."""
