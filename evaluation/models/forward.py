"""Faces as arrays through a network: scaled, perhaps with their points, perhaps mirrored too."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.loading.batch_pixels import to_network_range
from pipeline.pixels.face_points import mirrored_points
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import channels_last, takes_points


class Forward:
    """A network on its device.

    Args:
        loaded: the network.
        device: where it computes.
        flip: return the mean of a face's embedding and its mirror image's.
        halved: its products in bfloat16.

    Attributes:
        takes_points: whether it needs the five points of each face.
    """

    def __init__(self, loaded: LoadedBackbone, device: torch.device, *, flip: bool, halved: bool) -> None:
        self._backbone = channels_last(loaded.backbone).to(device)
        self._device, self._flip, self._halved = device, flip, halved
        self._size = loaded.preprocessing.size
        self.takes_points = takes_points(loaded.backbone)

    @torch.inference_mode()
    def __call__(self, pictures: NDArray[np.uint8], points: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """(N, S, S, 3) uint8, and (N, 5, 2) for a network that takes points -> (N, D) float32."""
        # (N, S, S, 3) -> (N, 3, S, S), which in memory is channels last
        pixels = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2)
        inputs = to_network_range(pixels)
        # A GPU's convolutions would take float32 for TF32, with ten bits where a CPU has 23.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with exact, torch.autocast(self._device.type, torch.bfloat16, enabled=self._halved):
            vectors = self._backbone(inputs, *self._beside(points, mirrored=False)).float()
            if self._flip:
                # The last axis is the width: left and right change places.
                turned = self._backbone(inputs.flip(3), *self._beside(points, mirrored=True))
                vectors = (vectors + turned.float()) / 2
        numbers: NDArray[np.float32] = vectors.cpu().numpy()
        return numbers

    def length(self) -> int:
        """Return the length of an embedding."""
        size = self._size
        return int(self(np.zeros((1, size, size, 3), np.uint8), np.zeros((1, 5, 2), np.float32)).shape[1])

    def _beside(self, points: NDArray[np.float32] | None, *, mirrored: bool) -> tuple[Tensor, ...]:
        if not self.takes_points:
            return ()
        assert points is not None
        return (torch.from_numpy(mirrored_points(points) if mirrored else points).to(self._device),)
