"""The data sets' own files."""
