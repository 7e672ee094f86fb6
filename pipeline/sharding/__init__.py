"""Sharding: aligned faces to tar shards."""
