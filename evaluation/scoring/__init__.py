"""What protocols share: parts, pairs, sizes, published figures and mistakes."""
