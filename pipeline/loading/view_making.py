"""Decoded faces to views: resized, mirrored and grouped by side length."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.loading.batch import MixedSizes, View
from pipeline.loading.batch_pixels import mirror, reduce


@dataclass(frozen=True)
class Faces:
    """What the graph made of the photos of a batch.

    Attributes:
        pixels: (N, S, S, 3) uint8, the faces, to be reduced.
        degraded: (N, M, M, 3) uint8, the degraded views, each in the upper left corner; None where none is.
        exact: (N,) bool, the faces that are reduced all the same.
    """

    pixels: Tensor
    degraded: Tensor | None = None
    exact: NDArray[np.bool_] | None = None

    def reduced(self, places: NDArray[np.int64], side: int) -> Tensor:
        """Return the views of some faces: (n, side, side, 3) uint8."""
        if self.degraded is None or self.exact is None or self.exact[places].all():
            return reduce(_take(self.pixels, places), side)
        views = _take(self.degraded, places)[:, :side, :side].clone()
        if len(rows := np.flatnonzero(self.exact[places])):
            views[torch.from_numpy(rows).to(views.device)] = reduce(_take(self.pixels, places[rows]), side)
        return views


def make_view(
    faces: Faces,
    places: NDArray[np.int64],
    sides: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    stored: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
) -> View:
    """Make one view of B identities.

    Args:
        faces: the decoded faces of all views.
        places: (B,) int64, the face of each identity among them; -1 where its view is stored.
        sides: (B,) int64, in pixels.
        mirrored: (B,) bool, whether to mirror left-right.
        stored: returns the stored views (n, s, s, 3) of identities by their rows, whose sides are the same.

    Returns:
        the view on the faces' device; on a CPU in memory of its own.
    """
    groups = [np.flatnonzero(sides == side) for side in np.unique(sides)]
    made = [_make(faces, places[rows], int(sides[rows[0]]), mirrored[rows], stored, rows) for rows in groups]
    if len(made) == 1:
        return made[0]
    return MixedSizes(tuple(torch.from_numpy(rows).to(faces.pixels.device) for rows in groups), tuple(made))


def _make(
    faces: Faces,
    places: NDArray[np.int64],
    side: int,
    mirrored: NDArray[np.bool_],
    stored: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    rows: NDArray[np.int64],
) -> Tensor:
    """Make the views of one side: (n, side, side, 3) uint8."""
    read = np.flatnonzero(places < 0)
    made = np.flatnonzero(places >= 0)
    if len(read) == 0:
        pixels = faces.reduced(places, side)
    else:
        pixels = torch.from_numpy(stored(rows[read])).to(faces.pixels.device)
    if len(read) and len(made):
        views, pixels = pixels, torch.empty((len(rows), side, side, 3), dtype=torch.uint8, device=pixels.device)
        pixels[torch.from_numpy(read)] = views
        pixels[torch.from_numpy(made)] = faces.reduced(places[made], side)
    # On a CPU the faces lie in the graph's own memory.
    borrowed = pixels.untyped_storage().data_ptr() == faces.pixels.untyped_storage().data_ptr()
    # Reducing and mirroring commute, and small views are quicker to mirror.
    return mirror(pixels, mirrored) if borrowed or mirrored.any() else pixels


def _take(faces: Tensor, places: NDArray[np.int64]) -> Tensor:
    """Return the faces at the places, without a copy where they lie side by side."""
    first = int(places[0])
    if (np.diff(places) == 1).all():
        return faces[first : first + len(places)]
    return faces[torch.from_numpy(places).to(faces.device)]
