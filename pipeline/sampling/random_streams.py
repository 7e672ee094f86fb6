"""Independent random streams under one seed, one for each purpose."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What random numbers are for; a value once given stays, or runs already started would not resume."""

    ORDER = 0
    PHOTO = 1
    SUBSTITUTE = 2
    SIZE = 3
    MIX = 4
    PHOTO_ORDER = 5
    DEGRADATION = 6
    MARGIN = 7
    AUGMENTATION = 8
    AFFINE = 9
    CROP = 10
    DROPPING = 11


def generator(seed: int, stream: Stream, *place: int) -> np.random.Generator:
    """Return the generator of a stream at a place, such as a step."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, int(stream), *place))))


def keys(count: int, seed: int, stream: Stream, *place: int) -> NDArray[np.uint64]:
    """Return (count,) uint64 keys of a stream at a place."""
    return np.random.SeedSequence((seed, int(stream), *place)).generate_state(count, np.uint64).astype(np.uint64)
