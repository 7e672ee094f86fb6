"""Checked reading of encoded photos from shards."""
