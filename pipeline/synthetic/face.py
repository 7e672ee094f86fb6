"""Paints a face, back to front: hair, neck, head, features."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.synthetic.identity import Identity
from pipeline.synthetic.pose import MOUTH_DEPTH, NOSE_DEPTH, Pose, mouth_corners

_SHIFT = 4  # fractional bits of OpenCV's coordinates
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 25)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 25)[:-1])], axis=1)


class Painter:
    """Paints one person in one pose onto a picture.

    Args:
        picture: (H, W, 3) uint8 RGB; painted over.
        person: who.
        pose: how the head stands.
        rng: of the photo, for what is neither the person's nor the pose's.
    """

    def __init__(self, picture: NDArray[np.uint8], person: Identity, pose: Pose, rng: np.random.Generator) -> None:
        self.picture, self.person, self.pose, self.rng = picture, person, pose, rng

    def paint(self) -> None:
        """Paint everything."""
        fringe = float(self.rng.normal(0, 0.09))
        volume = float(self.rng.uniform(0.05, 0.3))
        self._hair_behind(volume)
        self._shoulders()
        self._head()
        self._beard()
        self._hair_line(fringe)
        self._brows()
        self._eyes()
        self._nose()
        self._mouth()
        self._marks()
        self._glasses()

    def _fill(self, points: ArrayLike, colour: ArrayLike, depth: float = 0.0) -> None:
        pixels = np.rint(self.pose.to_pixels(points, depth) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.picture, [pixels], _rgb(colour), cv2.LINE_AA, _SHIFT)

    def _line(self, points: ArrayLike, colour: ArrayLike, width: float, depth: float = 0.0) -> None:
        """Draw an open line; the width is in units of the distance between the eyes."""
        pixels = np.rint(self.pose.to_pixels(points, depth) * (1 << _SHIFT)).astype(np.int32)
        thickness = max(1, round(width * self.pose.scale))
        cv2.polylines(self.picture, [pixels], False, _rgb(colour), thickness, cv2.LINE_AA, _SHIFT)

    def _ellipse(
        self, x: float, y: float, half_width: float, half_height: float, colour: ArrayLike, depth: float = 0.0
    ) -> None:
        self._fill(_CIRCLE * (half_width, half_height) + (x, y), colour, depth)

    def _outline(self, grow: float = 0.0) -> NDArray[np.float64]:
        """Return the head's outline: round above the eyes, tapering to the chin."""
        p = self.person
        angle = np.linspace(0, np.pi, 15)
        top = np.stack([-(p.face_width + grow) * np.cos(angle), -(p.forehead + 0.35 + grow) * np.sin(angle)], axis=1)
        right = np.array([(1.0, 0.3), (0.985, 0.62)]) * (p.face_width, 1.0)
        jaw = np.array([(p.jaw_width, p.mouth_drop), (0.72 * p.jaw_width, p.chin - 0.26), (0.3 * p.jaw_width, p.chin)])
        side = np.concatenate([right, jaw]) + (grow, grow)
        return np.concatenate([top, side, side[::-1] * (-1, 1)])

    def _hair_behind(self, volume: float) -> None:
        p = self.person
        self._ellipse(0, -0.25, p.face_width + volume, p.forehead + 0.55 + volume, p.hair, -0.4)

    def _shoulders(self) -> None:
        p = self.person
        cloth = self.rng.integers(10, 240, 3)
        neck = 0.62 * p.jaw_width
        self._fill([(-neck, p.mouth_drop), (neck, p.mouth_drop), (neck, 3.1), (-neck, 3.1)], 0.8 * p.skin, -0.5)
        self._fill([(-neck, 2.35), (neck, 2.35), (2.6, 3.0), (2.9, 6.5), (-2.9, 6.5), (-2.6, 3.0)], cloth, -0.5)

    def _head(self) -> None:
        p = self.person
        for side in (-1, 1):
            self._ellipse(side * (p.face_width + 0.02), 0.22, 0.13, 0.27, 0.88 * p.skin, -0.1)
        self._fill(self._outline(), p.skin)
        for side in (-1, 1):
            self._ellipse(side * 0.62, 0.72, 0.24, 0.2, p.skin * (1.02, 0.95, 0.94), 0.05)

    def _beard(self) -> None:
        p = self.person
        if not p.beard:
            return
        colour = p.skin + (p.hair - p.skin) * min(1.0, 0.25 + 0.6 * p.beard)
        low = self._outline()
        low = low[low[:, 1] > 0.55]
        inner = _CIRCLE[:13] * (-0.72 * p.jaw_width, 0.25) + (0, p.mouth_drop - 0.25)
        self._fill(np.concatenate([low, inner[:, :] * (1, 1)]), colour)
        if p.beard > 0.5:
            self._ellipse(0, p.mouth_drop - 0.17, p.mouth_width, 0.09, colour, MOUTH_DEPTH)

    def _hair_line(self, fringe: float) -> None:
        p = self.person
        line = -(p.forehead + fringe)
        outline = self._outline(0.03)[:15]
        parting = float(self.rng.uniform(-0.5, 0.5))
        edge = [
            (0.94 * p.face_width, 0.05),
            (0.8 * p.face_width, line + 0.22),
            (parting, line),
            (-0.8 * p.face_width, line + 0.22),
            (-0.94 * p.face_width, 0.05),
        ]
        self._fill(np.concatenate([outline, np.array(edge)]), p.hair)

    def _brows(self) -> None:
        p = self.person
        lift = 0.05 * self.pose.smile + float(self.rng.normal(0, 0.02))
        for side in (-1, 1):
            inner = (side * 0.22, -p.brow_height - lift)
            middle = (side * 0.52, -p.brow_height - lift - 0.055)
            outer = (side * 0.8, -p.brow_height - lift - p.brow_tilt + 0.05)
            self._line([inner, middle, outer], 0.75 * p.hair, p.brow_thickness, 0.05)

    def _eyes(self) -> None:
        p, pose = self.person, self.pose
        height = p.eye_height * pose.eyes_open
        for side in (-0.5, 0.5):
            self._ellipse(side, -0.01, p.eye_width + 0.05, height + 0.07, 0.86 * p.skin)
            self._ellipse(side, 0, p.eye_width, height, (236, 234, 230))
            x = side + pose.gaze[0] * p.eye_width
            y = pose.gaze[1] * height
            self._ellipse(x, y, min(0.115, height), min(0.115, height), p.iris)
            self._ellipse(x, y, 0.5 * min(0.115, height), 0.5 * min(0.115, height), (12, 12, 14))
            lid = [(side - p.eye_width, 0.01), (side, -height), (side + p.eye_width, 0.01)]
            self._line(lid, 0.4 * p.skin, 0.035)

    def _nose(self) -> None:
        p = self.person
        shadow = 0.78 * p.skin
        bridge = float(np.sign(self.pose.yaw) or 1.0) * 0.1
        self._line([(bridge, 0.05), (1.2 * bridge, 0.7 * p.nose_length)], 0.88 * p.skin, 0.05, 0.2)
        self._ellipse(0, p.nose_length, p.nose_width, 0.11, 0.94 * p.skin, NOSE_DEPTH)
        self._ellipse(0, p.nose_length - 0.02, 0.07, 0.06, np.minimum(1.1 * p.skin, 255), NOSE_DEPTH)
        for side in (-1, 1):
            self._ellipse(
                side * 0.55 * p.nose_width, p.nose_length + 0.07, 0.06, 0.035, 0.6 * shadow, NOSE_DEPTH - 0.06
            )

    def _mouth(self) -> None:
        p, pose = self.person, self.pose
        (left, y), (right, _) = mouth_corners(p, pose)
        bend = 0.13 * pose.smile
        opening = 0.2 * pose.mouth_open
        x = np.linspace(left, right, 11)
        arch = 1 - (x / right) ** 2
        upper = np.stack([x, y + arch * (bend - p.lip_thickness - 0.3 * opening)], axis=1)
        lower = np.stack([x, y + arch * (bend + p.lip_thickness + opening)], axis=1)
        self._fill(np.concatenate([upper, lower[::-1]]), p.lips, MOUTH_DEPTH)
        if opening > 0.03:
            gap = np.stack([x, y + arch * (bend - 0.15 * opening)], axis=1)
            floor = np.stack([x, y + arch * (bend + 0.8 * opening)], axis=1)
            self._fill(np.concatenate([gap, floor[::-1]]), (60, 24, 26), MOUTH_DEPTH)
        else:
            self._line(np.stack([x, y + arch * bend], axis=1), 0.45 * p.lips, 0.03, MOUTH_DEPTH)

    def _marks(self) -> None:
        for x, y, radius in self.person.marks:
            self._ellipse(x, y, radius, radius, 0.5 * self.person.skin, 0.05)

    def _glasses(self) -> None:
        kind = self.person.glasses
        if not kind:
            return
        width, frame = (0.03, (70, 66, 62)) if kind == 1 else (0.075, (24, 22, 24))
        ring = np.concatenate([_CIRCLE, _CIRCLE[:1]])
        for side in (-0.5, 0.5):
            self._line(ring * (0.37, 0.28) + (side, 0.04), frame, width, 0.12)
        self._line([(-0.13, 0.02), (0.13, 0.02)], frame, width, 0.16)
        for side in (-1, 1):
            self._line([(side * 0.87, 0.02), (side * self.person.face_width, 0.1)], frame, width, 0.05)


def _rgb(colour: ArrayLike) -> tuple[float, float, float]:
    r, g, b = np.clip(np.asarray(colour, dtype=np.float64), 0, 255).tolist()
    return r, g, b
