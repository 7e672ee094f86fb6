"""The shard format, shared by the code that writes shards and the code that reads them."""
