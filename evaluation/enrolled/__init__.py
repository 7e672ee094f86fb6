"""Faces of one's own people: found, measured, enrolled, searched, and the health of a gallery."""
