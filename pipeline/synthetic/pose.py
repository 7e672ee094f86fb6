"""Head pose: the mapping from face coordinates to pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.synthetic.identity import Identity


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


NOSE_DEPTH, MOUTH_DEPTH = 0.34, 0.12


@dataclass(frozen=True)
class Pose:
    """A turned head in a picture, and its expression.

    Face coordinates: unit the distance between the eyes, origin between them, x to the right as seen, y down,
    depth towards the camera.

    Attributes:
        scale: pixels per unit.
        centre: x, y of the origin in pixels.
        yaw: of the head to the side, in radians.
        pitch: up and down, in radians.
        roll: in the picture's plane, in radians.
        smile: -1 corners down .. 1 corners up.
        mouth_open: 0 closed .. 1 open.
        eyes_open: 0.3 nearly closed .. 1 open.
        gaze: x, y of the irises, in eye widths.
    """

    scale: float
    centre: tuple[float, float]
    yaw: float
    pitch: float
    roll: float
    smile: float
    mouth_open: float
    eyes_open: float
    gaze: tuple[float, float]

    @staticmethod
    def draw(rng: np.random.Generator, shot: Shot, factor: int) -> "Pose":
        """Draw pose and expression for a shot that is drawn `factor` times larger."""
        turn = shot.turn
        yaw, pitch = np.deg2rad([16 * turn, 8 * turn]) * rng.normal(size=2).clip(-2, 2)
        x, y = ((np.array(shot.centre) + 0.5) * factor - 0.5).tolist()
        return Pose(
            scale=shot.eye_distance * factor,
            centre=(x, y),
            yaw=float(yaw),
            pitch=float(pitch),
            roll=float(np.deg2rad(shot.roll_sd) * rng.normal()),
            smile=float(rng.normal(0.15, 0.45 * min(turn + 0.3, 1))),
            mouth_open=float(max(0.0, rng.normal(0, 0.45) * turn)),
            eyes_open=float(rng.uniform(0.55, 1.0)),
            gaze=(float(rng.normal(0, 0.16)), float(rng.normal(0, 0.08))),
        )

    def to_pixels(self, points: ArrayLike, depth: float = 0.0) -> NDArray[np.float64]:
        """Project points of the face: (N, 2) units -> (N, 2) pixels."""
        x, y = np.asarray(points, dtype=np.float64).T
        # The head is round: what lies to the side lies further back.
        back = depth - 0.18 * x * x
        turned_x = x * np.cos(self.yaw) + back * np.sin(self.yaw)
        turned_y = y * np.cos(self.pitch) - back * np.sin(self.pitch)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        rolled = np.stack([cos * turned_x - sin * turned_y, sin * turned_x + cos * turned_y], axis=1)
        return rolled * self.scale + self.centre

    def landmarks(self, person: Identity) -> NDArray[np.float64]:
        """Return left eye, right eye, nose tip, left and right mouth corner: (5, 2) pixels."""
        left, right = mouth_corners(person, self)
        eyes = self.to_pixels([(-0.5, 0.0), (0.5, 0.0)])
        nose = self.to_pixels([(0.0, person.nose_length)], NOSE_DEPTH)
        return np.concatenate([eyes, nose, self.to_pixels([left, right], MOUTH_DEPTH)])


def mouth_corners(person: Identity, pose: Pose) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the corners of the mouth in face coordinates."""
    half = person.mouth_width * (1 + 0.12 * pose.smile)
    y = person.mouth_drop - 0.07 * pose.smile
    return (-half, y), (half, y)
