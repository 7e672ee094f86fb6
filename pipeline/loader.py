"""Shards to batches: index, sampler, reader and DALI graph put together.

>>> loader = Loader(Path("shards"), Views(), seed=0, global_batch=128)  # doctest: +SKIP
>>> for batch in loader: ...  # doctest: +SKIP
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali.plugin.pytorch import feed_ndarray
from torch import Tensor

from pipeline.batch import Batch
from pipeline.device_resample import reduce
from pipeline.graph import build_graph
from pipeline.reader import PhotoReader
from pipeline.sampler import draw, steps_per_epoch
from pipeline.views import Views
from shards.command import UserError
from shards.format import Preprocessing
from shards.index import ShardIndex


@dataclass(frozen=True)
class _Drawn:
    """What the source drew for a step, kept until the graph has decoded it."""

    step: int
    labels: Tensor
    photos: Tensor
    stored: dict[int, Tensor]


class Loader:
    """An endless iterator over one rank's batches, from any step.

    Args:
        shards: folder written by `python -m pipeline.shard`.
        views: views of each identity.
        seed: of the run.
        global_batch: identities in the batch of all ranks.
        rank: of this process.
        world: number of processes; it must divide `global_batch`.
        start_step: the first step to deliver.
        device: "cpu", or "gpu" to decode and to make the views there.
        device_id: of the GPU.
        threads: decoding threads of the host.
        prefetch: batches made ahead.
        quarantine: CSV file for damaged photos that others stand in for, or None.
        largest_damaged_share: of all photos, at which the run ends with a message.

    Raises:
        UserError: the folder, the batch, the world size, a view or the device does not fit.
    """

    def __init__(
        self,
        shards: Path,
        views: Views,
        *,
        seed: int,
        global_batch: int,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
        device: str = "cpu",
        device_id: int = 0,
        threads: int = 2,
        prefetch: int = 2,
        quarantine: Path | None = None,
        largest_damaged_share: float = 0.001,
    ) -> None:
        index = ShardIndex.open(shards)
        _check_request(index, views, global_batch, world, device)
        self.identities = index.identities
        self.preprocessing: Preprocessing = index.manifest.preprocessing
        self.steps_per_epoch = steps_per_epoch(index.identities, global_batch)
        self._stored_sides = _stored_sides(index, views)
        self._reader = PhotoReader(
            index,
            self._stored_sides,
            seed=seed,
            quarantine=quarantine,
            largest_damaged_share=largest_damaged_share,
        )
        self._index = index
        self._views = views
        self._share = (seed, global_batch, rank, world)
        self._next_step = start_step
        self._device = torch.device("cuda", device_id) if device == "gpu" else torch.device("cpu")
        self._drawn: deque[_Drawn] = deque()
        self._failure: UserError | None = None
        self._graph = build_graph(
            self._source,
            views=self._stored_sides.count(None),
            batch=global_batch // world,
            device=device,
            device_id=device_id if device == "gpu" else None,
            threads=threads,
            prefetch=prefetch,
        )
        # One batch is finished while the trainer works on the one before.
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: Future[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        ready = self._ahead or self._finisher.submit(self._finish)
        batch = ready.result()
        self._ahead = self._finisher.submit(self._finish)
        return batch

    def close(self) -> None:
        """Stop making batches and release the graph."""
        self._finisher.shutdown(wait=True, cancel_futures=True)
        del self._graph

    def _source(self) -> Sequence[list[np.ndarray]]:
        """Draw and read the next step for the graph."""
        seed, global_batch, rank, world = self._share
        step = self._next_step
        drawn = draw(
            self._index.first,
            views=len(self._views.sizes),
            mirror=self._views.mirror,
            seed=seed,
            step=step,
            global_batch=global_batch,
            rank=rank,
            world=world,
        )
        try:
            read = self._reader.read(drawn, step)
        except UserError as failure:
            # DALI would wrap it in a message of its own.
            self._failure = failure
            raise
        stored = {
            view: _mirror(np.stack(read.columns[view]), drawn.mirrored[:, view])
            for view, side in enumerate(self._stored_sides)
            if side is not None
        }
        labels, photos = torch.from_numpy(drawn.identities), torch.from_numpy(read.photos)
        self._drawn.append(_Drawn(step, labels, photos, stored))
        self._next_step += 1
        decoded = [view for view, side in enumerate(self._stored_sides) if side is None]
        mirrors = [list(drawn.mirrored[:, view].astype(np.int32)) for view in decoded]
        return [*(read.columns[view] for view in decoded), *mirrors]

    def _finish(self) -> Batch:
        """Wait for the graph's next batch, copy it out and reduce its views."""
        try:
            outputs = self._graph.run()
        except Exception:
            if self._failure is not None:
                raise self._failure from None
            raise
        drawn = self._drawn.popleft()
        decoded = iter(outputs)
        views = [
            drawn.stored[view].to(self._device) if view in drawn.stored else reduce(self._copy(next(decoded)), low)
            for view, low in enumerate(self._views.sizes)
        ]
        return Batch(drawn.step, drawn.labels, tuple(views), drawn.photos, self.preprocessing.size)

    def _copy(self, output: Any) -> Tensor:
        """Copy the graph's (B, S, S, 3) uint8 output to a tensor on the loader's device."""
        faces = output.as_tensor()
        copied = torch.empty(faces.shape(), dtype=torch.uint8, device=self._device)
        feed_ndarray(faces, copied)
        return copied


def _stored_sides(index: ShardIndex, views: Views) -> list[int | None]:
    """Return for every view the side of the stored view that serves it, or None where a photo is decoded."""
    sides = [side if side in index.manifest.stored_views else None for side in views.sizes]
    # The graph needs something to decode.
    return sides if None in sides else [None, *sides[1:]]


def _mirror(faces: NDArray[np.uint8], mirrored: NDArray[np.bool_]) -> Tensor:
    """Mirror some of (B, s, s, 3) left-right, in place."""
    faces[mirrored] = faces[mirrored, :, ::-1]
    return torch.from_numpy(faces)


def _check_request(index: ShardIndex, views: Views, global_batch: int, world: int, device: str) -> None:
    size = index.manifest.preprocessing.size
    if global_batch > index.identities:
        raise UserError(
            f"a batch of {global_batch} identities asked of {index.folder}, which holds {index.identities}; "
            f"set a batch of at most {index.identities}"
        )
    if global_batch % world:
        raise UserError(
            f"a global batch of {global_batch} identities for {world} processes; "
            "set a batch that the number of processes divides"
        )
    if too_large := [side for side in views.sizes if side > size]:
        raise UserError(
            f"a view of {too_large[0]} pixels asked of {index.folder}, whose faces are {size} x {size}; "
            f"ask for views of at most {size} or write the folder with a larger --size"
        )
    if device == "gpu" and not torch.cuda.is_available():
        raise UserError("device gpu asked for, but torch finds no GPU; use --device cpu")
