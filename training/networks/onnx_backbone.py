"""An ONNX model as a backbone: run by onnxruntime, whichever program exported it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shards.command import UserError
from training.peers.onnx_file import read_onnx_file


class OnnxBackbone(nn.Module):
    """A model from pictures to embeddings as a module: (N, 3, S, S) float32 -> (N, D) float32 on the input's device.

    A model may have a second input (N, 5, 2) float32, the face's five points in units of the side.
    onnxruntime computes it on the CPU, wherever the input lies. Weights may lie in files beside it (`onnx_file`).
    A model for batches of one fixed size is given such batches.

    Args:
        path: ONNX file.
        size: side of the pictures in pixels.

    Attributes:
        embedding_size: length of an embedding; None where the model leaves it open.
        input_name: of the model's input.
        output_name: of the model's output.
        batch: number of pictures that it takes at once; None for any.
        takes_points: whether a forward pass takes the five points beside the pictures.
        sha256: of the file, and of the files beside it that hold its weights.

    Raises:
        UserError: onnxruntime cannot read the file, or it is no network from such pictures to embeddings.
    """

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        # It would send the model's name and digests to its makers, and leave a file in the temporary folder.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        model, self.sha256 = read_onnx_file(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for every kind of fault
            raise UserError(f"{path} is damaged or no ONNX model: {str(error).splitlines()[0]}") from error
        ins, outs = self._session.get_inputs(), self._session.get_outputs()
        shape = ins[0].shape if ins else []
        expected = [(3, size, size), (5, 2)][: len(ins)]
        takes = len(ins) in (1, 2) and all(map(_takes, ins, expected))
        if not takes or len(outs) != 1 or len(outs[0].shape) != 2:
            raise UserError(
                f"{path} computes {_told(outs)} from {_told(ins)}; expected one output (N, D) "
                f"from one input (N, 3, {size}, {size}) of float32, or from that and five points (N, 5, 2)"
            )
        self.input_name, self.output_name = str(ins[0].name), str(outs[0].name)
        self.takes_points = len(ins) == 2
        self._names = [str(one.name) for one in ins]
        self.embedding_size = outs[0].shape[1] if isinstance(outs[0].shape[1], int) else None
        self.batch = shape[0] if isinstance(shape[0], int) else None

    def forward(self, pictures: Tensor, *points: Tensor) -> Tensor:
        """(N, 3, S, S) in [-1, 1], perhaps with points (N, 5, 2) -> (N, D), not normalised; no gradient flows."""
        given = [one.detach().float().cpu().contiguous().numpy() for one in (pictures, *points)]
        count = len(pictures)
        number = self.batch or count
        # A batch of a fixed size is filled up with its last picture.
        starts = range(0, count, number)
        parts = [self._run([one[start : start + number] for one in given], number) for start in starts]
        return torch.from_numpy(np.concatenate(parts)).to(pictures.device)

    def _run(self, given: list[Any], number: int) -> Any:
        count = len(given[0])
        filled = [np.concatenate([one, np.repeat(one[-1:], number - count, axis=0)]) for one in given]
        (embeddings,) = self._session.run([self.output_name], dict(zip(self._names, filled, strict=True)))
        return embeddings[:count]


def _takes(entry: Any, expected: tuple[int, ...]) -> bool:
    """Tell whether an input is of float32 and can have a shape (N, *expected)."""
    shape = entry.shape[1:]
    fits = len(shape) == len(expected) and all(map(_allows, shape, expected))
    return fits and entry.type == "tensor(float)"


def _allows(given: Any, side: int) -> bool:
    """Tell whether a dimension, a number or the name of an open one, can be `side`."""
    return given == side or not isinstance(given, int)


def _told(entries: list[Any]) -> str:
    return ", ".join(f"{entry.name} {tuple(entry.shape)} {entry.type}" for entry in entries) or "nothing"
