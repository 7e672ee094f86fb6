"""Photos to shards (offline), and shards to training batches (online)."""
