"""The faces of a video to tracks: pooled embeddings, from when to when, the best pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.decisions.video_faces import APART
from evaluation.decisions.video_parts import VideoFaces
from evaluation.enrolled.face_table import FaceTable
from evaluation.metrics.pooling import pool


@dataclass(frozen=True)
class TrackCrop:
    """A picture of a track.

    Attributes:
        seconds: when it is shown.
        side: side in pixels of the aligned face in its frame.
        jpeg: the picture as the model sees it.
    """

    seconds: float
    side: float
    jpeg: bytes


@dataclass(frozen=True)
class TrackSpan:
    """When a track was seen, and how.

    Attributes:
        number: of the track, from 0, in the order of appearance.
        began: seconds of its first frame.
        ended: seconds of its last frame.
        frames: in which its face was found.
        embedded: of these, the ones whose face was embedded.
        smallest: side in pixels of its smallest face that was embedded.
        largest: of its largest.
        crops: its best pictures, in the order of time.
    """

    number: int
    began: float
    ended: float
    frames: int
    embedded: int
    smallest: float
    largest: float
    crops: tuple[TrackCrop, ...]


@dataclass(frozen=True, eq=False)
class TrackTables:
    """Tracks as probes, one a row, in the order of appearance.

    Attributes:
        weighted: embeddings pooled by size and norm; size, sharpness and norm are the means with the same weights;
            landmarks and box are those of the face that weighs most.
        plain: the same with the mean of the normalised embeddings.
        spans: of each row.
        short: number of tracks left out, for they were seen in too few frames.
    """

    weighted: FaceTable
    plain: FaceTable
    spans: tuple[TrackSpan, ...]
    short: int


def tracks_of(faces: VideoFaces, name: tuple[str, str, str], made: dict, least_frames: int, crops: int) -> TrackTables:
    """Pool the faces of each track.

    Args:
        faces: of a video.
        name: path, SHA-256 and state of the video.
        made: fingerprint of the model.
        least_frames: tracks seen in fewer frames are left out.
        crops: pictures wanted of a track.
    """
    every, own = np.unique(faces.tracks, return_inverse=True)
    embedded = own[faces.rows]
    frames, measured = (np.bincount(rows, minlength=len(every)) for rows in (own, embedded))
    kept = np.flatnonzero((frames >= least_frames) & (measured > 0))
    place = np.full(len(every), -1)
    place[kept] = np.arange(len(kept))
    some = np.flatnonzero(place[embedded] >= 0)
    track = place[embedded[some]]
    pooled = pool(faces.vectors[some], faces.sizes[some], track, len(kept))
    norms = np.linalg.norm(faces.vectors[some].astype(np.float64), axis=1)
    values = np.stack([faces.sides[some], faces.sharpness[some], faces.scores[faces.rows[some]], norms], axis=1)
    # (T, 4) weighted means
    means = np.zeros((len(kept), 4))
    np.add.at(means, track, pooled.weights[:, None] * values)
    # The last of those sorted by weight is the one that weighs most.
    order = np.lexsort((pooled.weights, track))
    heaviest = faces.rows[some[order[np.searchsorted(track[order], np.arange(len(kept)), side="right") - 1]]]
    path, sha256, state = name
    measures = np.column_stack([means[:, :3], every[kept]])
    tables = [
        FaceTable(
            made,
            ("",) * len(kept),
            (path,) * len(kept),
            (sha256,) * len(kept),
            (state,) * len(kept),
            faces.landmarks[heaviest],
            faces.boxes[heaviest],
            measures,
            (units * means[:, 3:]).astype(np.float32),
        )
        for units in (pooled.weighted, pooled.plain)
    ]
    weights = faces.sizes * np.linalg.norm(faces.vectors, axis=1)
    spans = tuple(_span(faces, int(every[row]), own == row, embedded == row, weights, crops) for row in kept)
    return TrackTables(tables[0], tables[1], spans, len(every) - len(kept))


def _span(
    faces: VideoFaces,
    number: int,
    own: NDArray[np.bool_],
    embedded: NDArray[np.bool_],
    weights: NDArray[np.float64],
    crops: int,
) -> TrackSpan:
    seconds = faces.times(faces.numbers[own])
    sides = faces.sides[embedded]
    places = np.flatnonzero(embedded[faces.crop_rows])
    best: list[TrackCrop] = []
    for near in (APART, 0.0):
        for place in sorted(places.tolist(), key=lambda place: -weights[faces.crop_rows[place]]):
            row = faces.crop_rows[place]
            when = float(faces.times(faces.numbers[faces.rows[row]][None])[0])
            if len(best) < crops and all(abs(when - other.seconds) > near for other in best):
                best.append(TrackCrop(when, float(faces.sides[row]), faces.crop(place)))
    return TrackSpan(
        number,
        float(seconds.min()),
        float(seconds.max()),
        int(own.sum()),
        int(embedded.sum()),
        float(sides.min()),
        float(sides.max()),
        tuple(sorted(best, key=lambda crop: crop.seconds)),
    )
