"""Offline, photos to shards; online, shards to batches."""
