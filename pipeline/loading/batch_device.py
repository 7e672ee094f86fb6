"""The device that batches are made on: a CPU, or a GPU with a CUDA stream of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali.plugin.pytorch import feed_ndarray
from torch import Tensor

from pipeline.loading.batch import Batch


class BatchDevice:
    """A device, and on a GPU a stream of its own.

    In the stream of the training, whatever makes the next batch would stand behind the step in progress, and the
    training would wait for it in turn.

    Args:
        device: where batches are made.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # Of high priority: its small kernels are let in before the training's large ones have left.
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None

    @property
    def decoder(self) -> str:
        """The device as the graph names it, "cpu" or "gpu"."""
        return "cpu" if self._stream is None else "gpu"

    @property
    def gpu_id(self) -> int | None:
        """The number of the GPU, None on a CPU."""
        return self.device.index

    def make(self, work: Callable[[], Batch]) -> Batch:
        """Return the batch that the work makes, once all of it has been computed."""
        if self._stream is None:
            return work()
        with torch.cuda.stream(self._stream):
            batch = work()
        self._stream.synchronize()
        return batch

    def handed_over(self, batch: Batch) -> Batch:
        """Return a batch for the caller's stream to read: until it has, the memory is not used again."""
        if self._stream is not None:
            reader = torch.cuda.current_stream(self.device)
            for tensor in batch.pixels():
                tensor.record_stream(reader)
        return batch

    def faces(self, output: Any) -> Tensor:
        """Return a graph's (N, S, S, 3) uint8 output as a tensor of the device.

        On a CPU it is the graph's own memory, to be written to again by its next run.
        """
        faces = output.as_tensor()
        if self._stream is None:
            return torch.from_numpy(np.asarray(faces))
        copied = torch.empty(faces.shape(), dtype=torch.uint8, device=self.device)
        # In the order of torch's own work: what the memory held before may still be read by what was asked of the GPU.
        feed_ndarray(faces, copied, cuda_stream=torch.cuda.current_stream(self.device))
        return copied

    def numbers(self, numbers: NDArray[np.int64]) -> Tensor:
        """Return numbers as a tensor of the host, whose copy to a GPU need not be waited for."""
        tensor = torch.from_numpy(numbers)
        return tensor if self._stream is None else tensor.pin_memory()
