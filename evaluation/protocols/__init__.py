"""From pictures and lists to scores; one file for each protocol."""
