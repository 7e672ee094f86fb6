"""Check of an encoded photo's header, made with the decoder's own parser.

Where DALI's decoder cannot read the header of one photo of a batch, it may crash the process instead of failing: what
it is given must be known to begin as a photo does. Errors behind the header it reports as it should.
"""

import numpy as np
from numpy.typing import NDArray
from nvidia import nvimgcodec  # type: ignore[attr-defined]


def picture_size(encoded: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Read the size of a picture from its header, in about 10 microseconds.

    Args:
        encoded: (size,) uint8.

    Returns:
        width and height in pixels, or None where DALI cannot read the header.

    >>> picture_size(np.frombuffer(b"no picture", dtype=np.uint8)) is None
    True
    """
    try:
        stream = nvimgcodec.CodeStream(encoded)
        return stream.width, stream.height
    except (RuntimeError, ValueError):
        return None
