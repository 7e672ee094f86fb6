"""From embeddings to a loss."""
