"""The batch type and the shapes of its tensors."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.loading.batch_pixels import network_pixels


@dataclass(frozen=True)
class MixedSizes:
    """One view of B identities whose sides differ: small, grouped by side, until they are enlarged.

    Attributes:
        rows: per group the places (n,) int64 of its faces among the B identities; every place is in one group.
        faces: per group (n, s, s, 3) uint8 RGB, each group at its own side s.
    """

    rows: tuple[Tensor, ...]
    faces: tuple[Tensor, ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    @property
    def device(self) -> torch.device:
        """Where the faces are."""
        return self.faces[0].device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "MixedSizes":
        """Return the view on a device."""
        rows = tuple(row.to(device, non_blocking=non_blocking) for row in self.rows)
        return MixedSizes(rows, tuple(face.to(device, non_blocking=non_blocking) for face in self.faces))


View = Tensor | MixedSizes
"""One view of B identities: (B, s, s, 3) uint8 RGB, or `MixedSizes` where their sides differ."""


@dataclass(frozen=True)
class Batch:
    """One rank's part of the batch of a step: V views of B identities.

    Attributes:
        step: number of the step, from 0 over all epochs.
        labels: (B,) int64, all different.
        views: V views, each at its own side in pixels, or at several.
        photos: (B, V) int64, the photos that the views were made from: rows of the shard index, those of a
            second folder counted on from the first.
        size: side of the network's input in pixels.
        points: (B, V, 5, 2) float32, the five points of the face in each view, in units of its side; None where nobody
            asked for them.
    """

    step: int
    labels: Tensor
    views: tuple[View, ...]
    photos: Tensor
    size: int
    points: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with labels and views on a device."""
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        points = None if self.points is None else self.points.to(device, non_blocking=True)
        return Batch(self.step, self.labels.to(device, non_blocking=True), views, self.photos, self.size, points)

    def pixels(self) -> Iterator[Tensor]:
        """Yield every tensor that the views are made of."""
        for view in self.views:
            yield from (view,) if isinstance(view, Tensor) else (*view.rows, *view.faces)

    def sides(self) -> Tensor:
        """Return the side in pixels at which each view was seen: (B, V) int64, on the CPU."""
        sides = torch.empty(self.photos.shape, dtype=torch.int64)
        for number, view in enumerate(self.views):
            if isinstance(view, Tensor):
                sides[:, number] = view.shape[1]
            else:
                for rows, faces in zip(view.rows, view.faces, strict=True):
                    sides[rows.cpu(), number] = faces.shape[1]
        return sides

    def network_input(self, pixels: Tensor | None = None) -> Tensor:
        """Enlarge every view to the network's size, on the device where the views are.

        Args:
            pixels: (V B, size, size, 3) float32 memory to write to, for a caller that uses it step after step:
                on a CPU fresh memory costs as much as the arithmetic. None takes fresh memory.

        Returns:
            (V B, 3, size, size) float32 in [-1, 1]: all identities of the first view, then of the second. In
            memory the channels come last, as the views have them and convolutions like them.
        """
        identities, size = len(self.labels), self.size
        if pixels is None:
            shape = (len(self.views) * identities, size, size, 3)
            pixels = torch.empty(shape, dtype=torch.float32, device=self.views[0].device)
        for view, part in zip(self.views, pixels.split(identities), strict=True):
            if isinstance(view, Tensor):
                network_pixels(view, size, part)
            else:
                for rows, faces in zip(view.rows, view.faces, strict=True):
                    network_pixels(faces, size, part, rows)
        # (V B, size, size, 3) -> (V B, 3, size, size)
        return pixels.permute(0, 3, 1, 2)

    def network_points(self) -> Tensor | None:
        """Return the points of every row of `network_input`: (V B, 5, 2) float32, or None."""
        return None if self.points is None else self.points.transpose(0, 1).flatten(0, 1)

    def view_labels(self) -> Tensor:
        """Return the label of every row of `network_input`: (V B,) int64."""
        return self.labels.repeat(len(self.views))
