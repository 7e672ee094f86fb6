"""Face detection and alignment: photos to aligned faces."""
