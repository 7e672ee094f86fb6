"""From pictures to embeddings; networks from files and to files."""
