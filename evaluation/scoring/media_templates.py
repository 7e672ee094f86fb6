"""IJB's templates: the faces of each of many media, embedded in blocks and pooled as insightface's code for IJB does.

The embedding of a face is the sum over picture and mirror image, times the detector's score; a template is the sum over
its media of the mean over the faces of a medium, then normalised.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.ijb_lists import IjbLists
from evaluation.metrics.identification import l2_normalised
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned
from evaluation.models.watching import MIRRORED

FACES = 8_192
"""Faces whose embeddings are in memory at once, but for a template that alone has more."""


def media_templates(
    lists: IjbLists, embedder: PictureEmbedder, low: int | None, faults: dict[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the numbers of the templates, rising, and (T, D) templates; NaN where no face can be used."""
    order = np.lexsort([lists.media, lists.templates])
    numbers = np.unique(lists.templates)
    found: list[NDArray[np.float64]] = []
    for faces in _blocks(order, lists.templates):
        pictures = [_picture(lists, embedder, int(face), low) for face in faces]
        mirrored = [_mirrored(picture) for picture in pictures]
        together = embedder.embed([*pictures, *mirrored])
        faults.update({name.removesuffix(MIRRORED): reason for name, reason in together.faults.items()})
        vectors = together.vectors.astype(np.float64)
        summed = (vectors[: len(faces)] + vectors[len(faces) :]) * lists.scores[faces, None]
        found.append(_pooled(summed, lists.templates[faces], lists.media[faces]))
    return numbers, l2_normalised(np.concatenate(found))


def _blocks(order: NDArray[np.int64], templates: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut the faces, in the order of their templates, into blocks of whole templates."""
    sorted_templates = templates[order]
    ends = np.append(np.flatnonzero(np.diff(sorted_templates)) + 1, len(order))
    start = 0
    while start < len(order):
        # The last end within reach, or the next one of a template that alone is beyond it.
        within = ends[(ends > start) & (ends <= start + FACES)]
        end = int(within[-1]) if len(within) else int(ends[ends > start][0])
        yield order[start:end]
        start = end


def _pooled(
    vectors: NDArray[np.float64], templates: NDArray[np.int64], media: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sum over media of the mean over each medium's usable faces: (F, D), sorted by both -> (T, D)."""
    numbers, template = np.unique(templates, return_inverse=True)
    usable = np.isfinite(vectors).all(axis=1)
    _, first, medium, counts = np.unique(
        np.stack([template, media], axis=1)[usable], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, medium.ravel(), vectors[usable])
    means /= counts[:, None]
    pooled = np.zeros((len(numbers), vectors.shape[1]))
    np.add.at(pooled, template[usable][first], means)
    pooled[~np.isin(np.arange(len(numbers)), template[usable])] = np.nan
    return pooled


def _picture(lists: IjbLists, embedder: PictureEmbedder, face: int, low: int | None) -> Picture:
    name = lists.pictures[face]
    return aligned(name, lists.folder / name, lists.points[face], embedder.preprocessing, low)


def _mirrored(picture: Picture) -> Picture:
    return replace(picture, name=f"{picture.name}{MIRRORED}", preparation=replace(picture.preparation, mirrored=True))
