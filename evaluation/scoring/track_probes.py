"""Tracks as probes: a folder of crops below a person's folder is one track, pooled into one embedding."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.people_folders import track_of
from evaluation.metrics.pooling import pool
from evaluation.scoring.dataset_part import EmbeddedPart
from evaluation.scoring.gallery_search import GallerySearch

NOTE = (
    "A track is the pictures in a folder below a person's, pooled into one probe: weighted by size and norm, and by "
    "the plain mean. Figures without that word are of single pictures, those on tracks included."
)
WAYS = ("tracks", "tracks, plain mean")
"""How the faces of a track are pooled: by size and norm, and alike."""


def search_tracks(
    gallery: EmbeddedPart, mated: EmbeddedPart, strangers: EmbeddedPart, also: EmbeddedPart, most: int
) -> dict[str, GallerySearch]:
    """Compare the tracks of probes with a gallery, by each of `WAYS`.

    Args:
        gallery: pictures of people.
        mated: pictures of people who are in it.
        strangers: pictures of people who are not.
        also: those of them among the probes.
        most: side in pixels beyond which a picture shows the network no more.
    """
    pooled = [as_tracks(part, most) for part in (mated, strangers, also)]
    return {
        way: GallerySearch.of(gallery, own, others.joined_by(more))
        for way, (own, others, more) in zip(WAYS, zip(*pooled, strict=True), strict=True)
    }


def count_tracks(probes: Sequence[tuple[str, str]], strangers: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the numbers of tracks among the names and people of probes and strangers."""
    found = [len({track_of(name) for name, _ in named} - {""}) for named in (probes, strangers)]
    return {"tracks in the probes": found[0], **({"tracks of strangers": found[1]} if found[1] else {})}


def as_tracks(part: EmbeddedPart, most: int) -> tuple[EmbeddedPart, EmbeddedPart]:
    """Return a part whose pictures are its tracks, pooled in both `WAYS`; pictures on no track are left out.

    A picture that cannot be used, or in which no face was found, is left out of its track; a track is lost where that
    is so of all its pictures and a face was missing in one. For a track stands the picture that weighs most.

    Args:
        part: embedded pictures.
        most: side in pixels beyond which a picture shows the network no more.
    """
    count = len(part.people)
    tracks = [track_of(name) for name in part.names]
    used = [row for row in range(count) if tracks[row]]
    names, number = np.unique(np.array([tracks[row] for row in used], dtype=object), return_inverse=True)
    sides = part.sides[used].astype(np.float64)
    sizes = np.minimum(np.where(sides > 0, sides, most), most)
    vectors = part.vectors[used]
    pooled = pool(vectors, sizes, number, len(names))
    heaviest = _heaviest(pooled.weights, number, len(names))
    best = [used[place] for place in heaviest]
    found = set(names)
    lost = {track: person for track, person in zip(tracks[count:], part.lost, strict=True) if track not in found}
    lost.pop("", None)
    listed = {track: person for name, person in part.part.named if (track := track_of(name))}
    # What the pictures of a track have as norm is not the track's: comparisons are of directions.
    both = [
        replace(
            part,
            part=replace(part.part, named=list(listed.items())),
            pictures=[part.pictures[row] for row in best],
            people=part.people[best],
            vectors=units.astype(np.float32),
            lost=np.array(list(lost.values()), dtype=part.people.dtype),
            names=[*(part.names[row] for row in best), *lost],
        )
        for units in (pooled.weighted, pooled.plain)
    ]
    return both[0], both[1]


def _heaviest(weights: NDArray[np.float64], number: NDArray[np.int64], count: int) -> list[int]:
    """Return the place of the largest weight of each number."""
    order = np.lexsort((weights, number))
    ends = np.searchsorted(number[order], np.arange(count), side="right") - 1
    return [int(place) for place in order[ends]]
