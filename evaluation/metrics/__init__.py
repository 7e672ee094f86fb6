"""From scores to figures; pure functions."""
