"""Pictures to embeddings: every picture is read, prepared and embedded once."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.pictures import Picture, PictureError
from pipeline.batch import to_network_range
from shards.command import UserError
from shards.format import Preprocessing
from training.checkpoint import LoadedBackbone, load_backbone
from training.model import channels_last


@dataclass(frozen=True)
class Embedded:
    """Embeddings of pictures.

    Attributes:
        vectors: (N, D) float32, not normalised; NaN where a picture could not be used.
        faults: reason by name of those pictures.
    """

    vectors: NDArray[np.float32]
    faults: dict[str, str]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) whether the picture has an embedding."""
        finite: NDArray[np.bool_] = np.isfinite(self.vectors)
        return np.asarray(finite.all(axis=1))


class Embedder:
    """A backbone and the preprocessing that its pictures must go through.

    Args:
        loaded: the backbone with its preprocessing.
        device: "cpu" or "gpu".
        flip: embed each picture and its mirror image, and return the mean of the two.
        batch: pictures embedded at once.
    """

    def __init__(self, loaded: LoadedBackbone, *, device: str, flip: bool = False, batch: int = 64) -> None:
        self.preprocessing: Preprocessing = loaded.preprocessing
        self._device = torch.device("cuda" if device == "gpu" else "cpu")
        self._backbone = channels_last(loaded.backbone).to(self._device)
        self._flip, self._batch = flip, batch
        self._model = f"{loaded.name} of step {'unknown' if loaded.step is None else loaded.step}"

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed pictures, reading the next batch in threads meanwhile; memory is bounded by a few batches.

        Raises:
            UserError: the network's output is not finite, or not one picture can be used, as where the data set
                lies somewhere else.
        """
        vectors: list[NDArray[np.float32]] = []
        faults: dict[str, str] = {}
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for chunk, loaded in _read_ahead(pool, pictures, self._batch):
                good = [pixels for pixels in loaded if not isinstance(pixels, str)]
                embedded = iter(self._forward(np.stack(good)) if good else ())
                for picture, pixels in zip(chunk, loaded, strict=True):
                    if isinstance(pixels, str):
                        faults[picture.name] = pixels
                        vectors.append(np.empty(0, dtype=np.float32))
                        continue
                    vectors.append(next(embedded))
                    if not np.isfinite(vectors[-1]).all():
                        raise UserError(
                            f"{self._model} gives numbers that are not finite, first for {picture.name}; "
                            "its training diverged: evaluate an earlier checkpoint"
                        )
        if pictures and not any(map(len, vectors)):
            name, reason = next(iter(faults.items()))
            raise UserError(
                f"none of {len(pictures)} pictures can be used, such as {name} ({reason}); "
                "check that the data set's folder is the one its lists belong to"
            )
        return Embedded(_stacked(vectors), faults)

    @torch.inference_mode()
    def _forward(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, S, S, 3) uint8 -> (N, D) float32."""
        # (N, S, S, 3) -> (N, 3, S, S), which in memory is channels last
        pixels = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2)
        inputs = to_network_range(pixels)
        vectors = self._backbone(inputs)
        if self._flip:
            # The last axis is the width: left and right change places.
            vectors = (vectors + self._backbone(inputs.flip(3))) / 2
        numbers: NDArray[np.float32] = vectors.float().cpu().numpy()
        return numbers


def open_checkpoint(path: Path, *, device: str, flip: bool = False) -> tuple[Embedder, LoadedBackbone]:
    """Load a checkpoint, ours or the authors', as an embedder.

    Raises:
        UserError: it cannot be loaded.
    """
    loaded = load_backbone(path)
    return Embedder(loaded, device=device, flip=flip), loaded


def _load(picture: Picture) -> NDArray[np.uint8] | str:
    """Return the pixels, or the reason why there are none."""
    try:
        return picture.load()
    except PictureError as error:
        return str(error)
    except (cv2.error, MemoryError):
        # Landmarks far outside the photo can ask for a face that no memory holds.
        return "cannot be aligned"


def _read_ahead(
    pool: Executor, pictures: Sequence[Picture], size: int
) -> Iterator[tuple[list[Picture], list[NDArray[np.uint8] | str]]]:
    """Yield batches of pictures with their pixels or faults; the next batch is read while one is in use."""
    rest = iter(pictures)
    waiting: deque[tuple[list[Picture], Iterator[NDArray[np.uint8] | str]]] = deque()
    while True:
        while len(waiting) < 2 and (chunk := list(islice(rest, size))):
            waiting.append((chunk, pool.map(_load, chunk)))
        if not waiting:
            return
        pictures_read, results = waiting.popleft()
        yield pictures_read, list(results)


def _stacked(vectors: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stack vectors, with NaN rows for the empty ones."""
    length = max((len(vector) for vector in vectors), default=0)
    stacked = np.full((len(vectors), length), np.nan, dtype=np.float32)
    for row, vector in zip(stacked, vectors, strict=True):
        if len(vector):
            row[:] = vector
    return stacked
