"""The geometry and colours of a rendered face, drawn once per identity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Streams keep an identity's draws apart from those of its photos.
IDENTITY_STREAM, PHOTO_STREAM = 0, 1


@dataclass(frozen=True)
class Identity:
    """A rendered person. Lengths are in units of the distance between the eyes; colours are RGB 0..255.

    Attributes:
        face_width: half width of the head at the eyes.
        jaw_width: half width at the mouth.
        chin: from the eyes down to the chin.
        forehead: from the eyes up to the hair line.
        eye_width: half width of an eye.
        eye_height: half height of an eye.
        brow_height: of the brow above the eye.
        brow_thickness: of the brow.
        brow_tilt: rise of the brow's outer end.
        nose_length: from the eyes down to the nose's tip.
        nose_width: half width of the nostrils.
        mouth_drop: from the eyes down to the mouth.
        mouth_width: half width of the mouth.
        lip_thickness: half height of the closed lips.
        beard: 0 none .. 1 full.
        glasses: 0 none, 1 thin, 2 thick.
        skin: colour.
        hair: colour.
        iris: colour.
        lips: colour.
        marks: (M, 3) x, y, radius of moles, from the middle of the eyes.
    """

    face_width: float
    jaw_width: float
    chin: float
    forehead: float
    eye_width: float
    eye_height: float
    brow_height: float
    brow_thickness: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    mouth_drop: float
    mouth_width: float
    lip_thickness: float
    beard: float
    glasses: int
    skin: NDArray[np.float64]
    hair: NDArray[np.float64]
    iris: NDArray[np.float64]
    lips: NDArray[np.float64]
    marks: NDArray[np.float64]


_SKINS = np.array([[244, 214, 190], [225, 182, 150], [198, 146, 110], [150, 102, 72], [98, 66, 48]], float)
_HAIRS = np.array([[28, 22, 20], [66, 44, 30], [116, 82, 52], [188, 152, 98], [150, 62, 34], [170, 168, 164]], float)
_IRISES = np.array([[66, 44, 28], [98, 74, 44], [70, 100, 84], [88, 120, 150]], float)


def make_identity(seed: int, number: int) -> Identity:
    """Draw a person; the same seed and number give the same person whatever else is rendered."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, IDENTITY_STREAM, number)))

    def around(centre: float, spread: float) -> float:
        return float(centre + spread * np.clip(rng.normal(), -2.2, 2.2))

    tone = rng.uniform(0, len(_SKINS) - 1)
    low = int(tone)
    skin = _SKINS[low] + (tone - low) * (_SKINS[min(low + 1, len(_SKINS) - 1)] - _SKINS[low])
    skin = skin + rng.normal(0, 6, 3)
    hair = _HAIRS[rng.integers(len(_HAIRS))] + rng.normal(0, 8, 3)
    iris = _IRISES[rng.integers(len(_IRISES))] + rng.normal(0, 8, 3)
    marks = int(rng.integers(0, 5))
    return Identity(
        face_width=around(1.12, 0.085),
        jaw_width=around(0.86, 0.10),
        chin=around(1.92, 0.13),
        forehead=around(0.82, 0.12),
        eye_width=around(0.235, 0.03),
        eye_height=around(0.105, 0.022),
        brow_height=around(0.30, 0.055),
        brow_thickness=around(0.075, 0.026),
        brow_tilt=around(0.03, 0.05),
        nose_length=around(0.62, 0.07),
        nose_width=around(0.21, 0.04),
        mouth_drop=around(1.15, 0.08),
        mouth_width=around(0.42, 0.055),
        lip_thickness=around(0.085, 0.025),
        beard=float(rng.choice([0, 0, 0, rng.uniform(0.25, 1.0)])),
        glasses=int(rng.choice([0, 0, 0, 1, 2])),
        skin=np.clip(skin, 30, 252),
        hair=np.clip(hair, 8, 240),
        iris=np.clip(iris, 10, 200),
        lips=np.clip(0.62 * skin + 0.38 * np.array([170, 60, 62]) + rng.normal(0, 8, 3), 20, 240),
        marks=np.column_stack(
            [rng.uniform(-0.8, 0.8, marks), rng.uniform(0.15, 1.5, marks), rng.uniform(0.025, 0.06, marks)]
        ),
    )
