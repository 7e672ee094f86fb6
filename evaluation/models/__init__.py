"""A model, and the embeddings it makes."""
