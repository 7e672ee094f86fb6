"""Files in a bucket or on a web server: addresses, requests, ranges fetched ahead, and a cache on a local disk."""
