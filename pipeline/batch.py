"""A batch and its shapes; nothing here knows how it was read."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.device_resample import enlarge


def to_network_range(pixels: Tensor) -> Tensor:
    """Scale pixel values 0..255 to the network's range.

    Args:
        pixels: any shape, uint8 or float.

    Returns:
        the same shape, float32 in [-1, 1].
    """
    return to_network_range_(pixels.to(torch.float32, copy=True))


def to_network_range_(pixels: Tensor) -> Tensor:
    """Scale float pixel values 0..255 to [-1, 1] in place."""
    return pixels.div_(127.5).sub_(1)


@dataclass(frozen=True)
class Batch:
    """One rank's part of the batch of a step: V views of B identities.

    Attributes:
        step: number of the step, from 0 over all epochs.
        labels: (B,) int64, all different.
        views: V tensors (B, s, s, 3) uint8 RGB, one per view, each at its own side s in pixels.
        photos: (B, V) int64, the rows of the shard index that the views were made from.
        size: side of the network's input in pixels.
    """

    step: int
    labels: Tensor
    views: tuple[Tensor, ...]
    photos: Tensor
    size: int

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with labels and views on a device."""
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        return Batch(self.step, self.labels.to(device, non_blocking=True), views, self.photos, self.size)

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
            enlarge(view, size, out=part, finish=to_network_range_)
        # (V B, size, size, 3) -> (V B, 3, size, size)
        return pixels.permute(0, 3, 1, 2)

    def view_labels(self) -> Tensor:
        """Return the label of every row of `network_input`: (V B,) int64."""
        return self.labels.repeat(len(self.views))
