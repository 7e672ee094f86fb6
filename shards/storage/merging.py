"""Neighbouring ranges of a file as one request."""

from collections.abc import Sequence
from typing import NamedTuple

from shards.byte_ranges import Range

_GAP = 64 << 10
"""Bytes that are fetched though nobody wants them, where that saves a request: about as long as one takes a core."""
_MOST = 8 << 20


class Request(NamedTuple):
    """A range that covers others, and their places among all ranges."""

    whole: Range
    places: list[int]


def merged(ranges: Sequence[Range], gap: int = _GAP, most: int = _MOST) -> list[Request]:
    """Return requests that cover all ranges, each of which is covered by one.

    Args:
        ranges: in any order; they may overlap.
        gap: most bytes between two ranges of one request.
        most: most bytes of a request of several ranges.

    >>> [request.whole[1:3] for request in merged([Range(0, 30, 10), Range(0, 0, 20), Range(0, 500, 5)], gap=10)]
    [(0, 40), (500, 5)]
    """
    requests: list[Request] = []
    for place in sorted(range(len(ranges)), key=lambda place: ranges[place][:2]):
        file, offset, size, _ = ranges[place]
        if requests:
            (last_file, start, length, _), places = requests[-1]
            end = max(start + length, offset + size)
            if file == last_file and offset <= start + length + gap and end - start <= most:
                requests[-1] = Request(Range(file, start, end - start), [*places, place])
                continue
        requests.append(Request(Range(file, offset, size), [place]))
    return requests
