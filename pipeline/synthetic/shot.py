"""Pose, light and camera settings of one rendered photo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shot:
    """How a photo is taken.

    Attributes:
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        eye_distance: distance between the eyes of a frontal face, in pixels.
        centre: x, y of the point between the eyes, in pixels.
        roll_sd: standard deviation of the head's roll in degrees.
        turn: strength of yaw and pitch; 0 for a frontal portrait, 1 for everyday photos.
        wear: strength of light and colour changes, blur and noise; 0 for a studio, 1 for everyday photos, 2 for
            surveillance.
    """

    width: int
    height: int
    eye_distance: float
    centre: tuple[float, float]
    roll_sd: float = 6.0
    turn: float = 1.0
    wear: float = 1.0
