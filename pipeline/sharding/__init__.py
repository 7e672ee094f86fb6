"""From faces to tar shards."""
