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
    return pixels.float() / 127.5 - 1


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

    def network_input(self) -> Tensor:
        """Enlarge every view to the network's size, on the device where the views are.

        Returns:
            (V B, 3, size, size) float32 in [-1, 1]: all identities of the first view, then of the second.
        """
        # V times (B, 3, size, size) -> (V B, 3, size, size)
        return to_network_range(torch.cat([enlarge(view, self.size) for view in self.views]))

    def view_labels(self) -> Tensor:
        """Return the label of every row of `network_input`: (V B,) int64."""
        return self.labels.repeat(len(self.views))
