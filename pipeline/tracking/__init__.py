"""Following of faces through the frames of a video."""
