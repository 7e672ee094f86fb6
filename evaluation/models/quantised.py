"""An ONNX network in 8 bits, by onnxruntime's own static quantisation, calibrated on pictures of the evaluation.

Weights become signed integers with a scale for each output channel, activations unsigned ones by the range that they
had on the pictures. What that costs is what `--parity` measures.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.pictures import Picture, PictureError
from pipeline.loading.batch_pixels import to_network_range
from shards.command import UserError, first_line
from shards.format import Preprocessing
from shards.writer import write_atomically
from training.networks.input_adapter import adapt_input
from training.networks.onnx_backbone import OnnxBackbone
from training.peers.onnx_file import model_sha256


class Quantised:
    """The 8-bit version of an ONNX file as a model, made when it is first asked.

    Args:
        exported: the file in float32.
        out: file of the 8-bit version.
        form: what its pictures go through.
        sample: gives pictures to calibrate on, in that form.
        opened: opens the 8-bit file as a model.
    """

    hint = "check that the data set's folder is the one its lists belong to"

    def __init__(
        self,
        exported: Path,
        out: Path,
        form: Preprocessing,
        sample: Callable[[], Sequence[Picture]],
        opened: Callable[[Path], PictureEmbedder],
    ) -> None:
        self.preprocessing = form
        self._exported, self._out, self._sample, self._opened = exported, out, sample, opened
        self._model: PictureEmbedder | None = None
        self._calibrated_on = 0

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed pictures; before the first, quantise."""
        if self._model is None:
            faces = list(_faces(self._sample()))
            self._calibrated_on = len(faces)
            quantise(self._exported, self._out, faces, self.preprocessing)
            self._model = self._opened(self._out)
        return self._model.embed(pictures)

    def sha256(self) -> str:
        """Return the SHA-256 of the 8-bit file; "" before it was made."""
        return model_sha256(self._out) if self._model is not None else ""

    def summary(self) -> str:
        """Return in one clause where the embeddings came from, and what ranges were measured on."""
        made = "nothing computed" if self._model is None else self._model.summary()
        return f"{made}; calibrated on {self._calibrated_on:,} pictures"


def _faces(pictures: Sequence[Picture]) -> Iterator[NDArray[np.uint8]]:
    for picture in pictures:
        try:
            yield picture.load()
        except PictureError:
            continue


def quantise(exported: Path, out: Path, faces: Sequence[NDArray[np.uint8]], form: Preprocessing) -> None:
    """Write the 8-bit version of an ONNX file, whole or not at all; its metadata stay.

    Args:
        exported: ONNX file.
        out: of the 8-bit version; an older one is replaced.
        faces: (S, S, 3) uint8 RGB each, as the network's pictures are prepared.
        form: how the network takes them.

    Raises:
        UserError: there are no faces, or onnxruntime cannot quantise the network.
    """
    if not faces:
        raise UserError(f"{exported}: none of the pictures can be read, and 8 bits are calibrated on pictures")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inputs, name = _inputs(exported, faces, form)

    class Reader(CalibrationDataReader):
        """Gives one batch after the other."""

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """Return the next batch by the name of the input, None after the last."""
            batch = next(inputs, None)
            return None if batch is None else {name: batch}

    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".quantising-") as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "model.onnx"
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            # It puts batch norms into the convolutions before them, and infers shapes.
            quant_pre_process(exported, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                made,
                Reader(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # Before operator set 13 a tensor has one scale.
                per_channel=_operator_set(exported) >= 13,
            )
            model = onnx.load(made)
        except Exception as error:  # onnxruntime and onnx raise anything
            raise UserError(f"onnxruntime cannot quantise {exported}: {first_line(error)}") from error
        finally:
            logging.disable(previous)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(exported, load_external_data=False).metadata_props)
    write_atomically(out, model.SerializeToString())


def _operator_set(path: Path) -> int:
    """Return the version of ONNX's own operators that a file uses."""
    import onnx

    domains = onnx.load(path, load_external_data=False).opset_import
    return max((entry.version for entry in domains if entry.domain in ("", "ai.onnx")), default=1)


def _inputs(
    exported: Path, faces: Sequence[NDArray[np.uint8]], form: Preprocessing
) -> tuple[Iterator[NDArray[np.float32]], str]:
    """Return batches, (N, 3, S, S) float32 in the file's own colours and scale, and the name of its input."""
    network = OnnxBackbone(exported, form.size)
    if network.takes_points:
        raise UserError(
            f"{exported} takes the five points of each face, which 8 bits are not measured for; use float32"
        )
    adapt_input(network, form)
    batch = network.batch or 1

    def batches() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(faces), batch):
            some = np.stack([*faces[start : start + batch]])
            filled = np.concatenate([some, np.repeat(some[-1:], batch - len(some), axis=0)])
            pictures: Any = to_network_range(torch.from_numpy(filled).permute(0, 3, 1, 2))
            for hook in network._forward_pre_hooks.values():
                (pictures,) = hook(network, (pictures,))
            yield pictures.contiguous().numpy()

    return batches(), network.input_name
