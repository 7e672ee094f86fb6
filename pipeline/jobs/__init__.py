"""Work shared among processes, with its progress shown."""
