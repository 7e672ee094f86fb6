"""From a face in a photo or a video to a decision."""
