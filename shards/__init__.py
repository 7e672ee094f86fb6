"""The on-disk contract between the offline stage and everything online."""
