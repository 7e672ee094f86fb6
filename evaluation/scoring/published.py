"""Published figures of the method at 128 x 128 with SphereNet-20 trained on VGGFace2, as shares.

Lai and Lam (2021), and the authors' own rerun of their code.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One figure, from the paper and from the authors' rerun."""

    paper: float
    rerun: float


LFW = {
    8: Published(0.948, 0.9627),
    12: Published(0.976, 0.9815),
    16: Published(0.982, 0.9867),
    20: Published(0.981, 0.9862),
}
"""Accuracy by the size of the second photo."""

LFW_FULL = Published(0.991, 0.9867)
"""Accuracy with the second photo as it is, at 128."""

SCFACE = {
    1: Published(0.797, 0.7985),
    2: Published(0.957, 0.9662),
    3: Published(0.982, 0.9815),
}
"""Rank-1 by distance."""

SURVFACE_TAR = {
    0.3: Published(0.7509, 0.7756),
    0.1: Published(0.5274, 0.5637),
    0.01: Published(0.2141, 0.2871),
    0.001: Published(0.1102, 0.1188),
}
"""TAR by FAR."""

SURVFACE_AUC = Published(0.8003, 0.8217)
