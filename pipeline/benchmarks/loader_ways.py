"""The ways of feeding a trainer that `python -m pipeline.bench loader` compares.

All but the first two deliver the same: batches of B identities x V views as float32 (V B, 3, S, S) in [-1, 1] in
memory, each view from a photo of its own, mirrored with probability 1/2.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import torch
import webdataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pipeline.benchmarks.measured import Measured, measured
from pipeline.benchmarks.pillow_views import decoded, pillow_view
from pipeline.loading.dali_graph import build_graph
from pipeline.loading.loader import Loader
from pipeline.sampling.sampler import Sampler
from pipeline.sampling.views import Views
from shards.index import ShardIndex
from shards.storage.places import Folder

BOUND, OURS = "decoding alone", "this loader"
DATALOADER, WEBDATASET = "DataLoader, loose files", "DataLoader, webdataset"


@dataclass(frozen=True)
class Task:
    """What every way is asked to do.

    Attributes:
        shards: shard folder.
        loose: folder IDENTITY/PHOTO.jpg with the same photos as files.
        sizes: sides of the views in pixels.
        batch: identities per batch.
        batches: measured batches.
        warm_up: batches before them that are not measured.
        workers: processes or threads.
        device: "cpu" or "gpu".
    """

    shards: Folder
    loose: Path
    sizes: tuple[int, ...]
    batch: int
    batches: int
    warm_up: int
    workers: int
    device: str


def measure(way: str, task: Task) -> Measured:
    """Run one way in this process and measure it."""
    torch.set_num_threads(task.workers)
    cv2.setNumThreads(1)
    return measured(WAYS[way](task), task.warm_up, task.batches, task.batch, partial(_wait, task))


def _wait(task: Task) -> None:
    """Wait for what a GPU still does."""
    if task.device == "gpu":
        torch.cuda.synchronize()


def _decoded(task: Task, index: ShardIndex) -> list[int]:
    """Return the views of which photos are decoded; the others are stored."""
    stored = set(index.manifest.stored_views)
    return [view for view, side in enumerate(task.sizes) if view == 0 or side not in stored]


def decoded_views(task: Task) -> int:
    """Return how many photos of an identity the loader decodes."""
    return len(_decoded(task, ShardIndex.open(task.shards)))


def bound(task: Task) -> Iterator[object]:
    """DALI reading and decoding the photos that a batch needs, and nothing else."""
    index = ShardIndex.open(task.shards)
    decoded = _decoded(task, index)
    sampler = Sampler.of([index.first], Views(task.sizes), seed=0, global_batch=task.batch)
    step = 0

    def source() -> list[np.ndarray]:
        nonlocal step
        drawn = sampler.draw(step)
        step += 1
        return index.read_all(np.concatenate([drawn.photos[:, view] for view in decoded]))

    graph = build_graph(
        source,
        most=len(decoded) * task.batch,
        device=task.device,
        device_id=0 if task.device == "gpu" else None,
        threads=task.workers,
        prefetch=2,
    )
    while True:
        yield graph.run()


def ours(task: Task) -> Iterator[Tensor]:
    """The loader of this project."""
    loader = Loader(
        task.shards, Views(task.sizes), seed=0, global_batch=task.batch, device=task.device, threads=task.workers
    )
    size = loader.preprocessing.size
    place = "cuda" if task.device == "gpu" else "cpu"
    memory = torch.empty((len(task.sizes) * task.batch, size, size, 3), device=place)
    for batch in loader:
        yield batch.network_input(memory)


def ours_small(task: Task) -> Iterator[object]:
    """The loader of this project, with views as uint8 at their own sizes, as they travel to a GPU."""
    return iter(
        Loader(
            task.shards, Views(task.sizes), seed=0, global_batch=task.batch, device=task.device, threads=task.workers
        )
    )


def _views(faces: list[np.ndarray], sizes: tuple[int, ...], generator: np.random.Generator) -> Tensor:
    """Make the views of an identity with Pillow: V faces (S, S, 3) uint8 -> (V, 3, S, S) float32."""
    return torch.stack([pillow_view(face, side, generator) for face, side in zip(faces, sizes, strict=True)])


def _open(path: Path) -> np.ndarray:
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert photo is not None
    return photo


class LooseFiles(Dataset[Tensor]):
    """One item per identity: four photos opened with OpenCV, views made with Pillow."""

    def __init__(self, task: Task) -> None:
        self._sizes = task.sizes
        self._people = [sorted(folder.iterdir()) for folder in sorted(task.loose.iterdir())]
        # Identities often enough for the measured batches.
        self._length = (task.warm_up + task.batches + 4 * task.workers) * task.batch

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, item: int) -> Tensor:
        generator = np.random.default_rng(item)
        photos = self._people[item % len(self._people)]
        chosen = generator.integers(0, len(photos), len(self._sizes))
        return _views([_open(photos[c]) for c in chosen], self._sizes, generator)


def loose_files(task: Task) -> Iterator[Tensor]:
    """The usual way: a torch DataLoader over loose JPEG files."""
    loader = DataLoader(LooseFiles(task), task.batch, shuffle=True, num_workers=task.workers, drop_last=True)
    yield from (_delivered(batch, task) for batch in loader)


class WebDatasetPeople(IterableDataset[Tensor]):
    """Identities in the order of the tars; four photos of each, decoded with OpenCV, views made with Pillow.

    Attributes:
        tars: their paths.
    """

    def __init__(self, task: Task) -> None:
        index = ShardIndex.open(task.shards)
        self._sizes, self._codec = task.sizes, index.manifest.codec
        self.tars = [str(task.shards / tar.name) for tar in index.manifest.tars]

    def __iter__(self) -> Iterator[Tensor]:
        generator = np.random.default_rng()
        while True:
            samples = webdataset.WebDataset(self.tars, shardshuffle=False, empty_check=False)
            for _, group in groupby(samples, key=lambda sample: sample["label"]):
                photos = [sample[self._codec] for sample in group]
                chosen = generator.integers(0, len(photos), len(self._sizes))
                yield _views([decoded(photos[c]) for c in chosen], self._sizes, generator)


def webdataset_people(task: Task) -> Iterator[Tensor]:
    """The webdataset library with a torch DataLoader; every worker needs a tar of its own."""
    people = WebDatasetPeople(task)
    workers = min(task.workers, len(people.tars))
    loader = DataLoader(people, task.batch, num_workers=workers, drop_last=True)
    yield from (_delivered(batch, task) for batch in loader)


def _delivered(batch: Tensor, task: Task) -> Tensor:
    """Put a (B, V, 3, S, S) batch where the trainer computes."""
    return batch.cuda(non_blocking=True) if task.device == "gpu" else batch


WAYS: dict[str, Callable[[Task], Iterator[object]]] = {
    BOUND: bound,
    "this loader, views left small": ours_small,
    OURS: ours,
    DATALOADER: loose_files,
    WEBDATASET: webdataset_people,
}
