"""Pose, light and camera settings of one rendered photo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shot:
    """How a photo is taken.

    Attributes:
        width: of the picture in pixels.
        height: of the picture in pixels.
        eye_distance: between the eyes of a frontal face, in pixels.
        centre: x, y of the point between the eyes, in pixels.
        roll_sd: standard deviation of the head's roll in degrees.
        turn: of yaw and pitch; 0 a frontal portrait, 1 everyday photos.
        wear: of light, colour, blur and noise; 0 a studio, 1 everyday photos, 2 surveillance.
    """

    width: int
    height: int
    eye_distance: float
    centre: tuple[float, float]
    roll_sd: float = 6.0
    turn: float = 1.0
    wear: float = 1.0
