"""mosaicml-streaming as a way of feeding a trainer, in the process of an interpreter that has it.

The library pins an older numpy than this project's and needs torchvision, so the two cannot share an environment.
Beside it this file needs opencv-python-headless. `pipeline.benchmarks.mosaicml` calls it.
"""

import json
import sys
import tarfile
from collections.abc import Iterator
from itertools import cycle, islice

import cv2
import numpy as np
import torch
from streaming import MDSWriter, StreamingDataset
from torch import Tensor
from torch.utils.data import DataLoader

from pipeline.benchmarks.measured import measured
from pipeline.benchmarks.pillow_views import decoded, pillow_view

_PICTURES = (".jpg", ".webp", ".png")


def write(out: str, photos: int, tars: list[str]) -> None:
    """Write so many photos of tars, one a sample, the first ones again after the last."""
    with MDSWriter(out=out, columns={"photo": "bytes"}) as writer:
        for photo in islice(cycle(_photos(tars)), photos):
            writer.write({"photo": photo})


def _photos(tars: list[str]) -> Iterator[bytes]:
    """Yield the bytes of every full photo in the tars."""
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                # The rest of a name after its first dot tells a photo from its label and its stored views.
                if f".{member.name.partition('.')[2]}" in _PICTURES:
                    file = tar.extractfile(member)
                    assert file is not None
                    yield file.read()


class Views(StreamingDataset):
    """One view of a photo a sample, its side by the sample's number."""

    def __init__(self, remote: str | None, local: str, sizes: list[int], batch: int) -> None:
        super().__init__(remote=remote, local=local, shuffle=True, batch_size=batch)
        self._sizes = sizes

    def __getitem__(self, item: int) -> Tensor:
        photo = decoded(super().__getitem__(item)["photo"])
        return pillow_view(photo, self._sizes[item % len(self._sizes)], np.random.default_rng(item))


def measure(task: dict) -> dict:
    """Measure batches of as many views as the other ways deliver."""
    torch.set_num_threads(task["workers"])
    cv2.setNumThreads(1)
    views = task["batch"] * len(task["sizes"])
    data = Views(task["remote"], task["local"], task["sizes"], views)
    # Forked, the workers would share the connection on which the index came.
    loader: DataLoader[Tensor] = DataLoader(
        data, views, num_workers=task["workers"], drop_last=True, multiprocessing_context="spawn"
    )
    return vars(measured(iter(loader), task["warm_up"], task["batches"], task["batch"]))


def main() -> None:
    """Do what the command line says: `write OUT PHOTOS TAR ...`, or `measure TASK`, which prints JSON."""
    what, *arguments = sys.argv[1:]
    if what == "write":
        write(arguments[0], int(arguments[1]), arguments[2:])
    else:
        print(json.dumps(measure(json.loads(arguments[0]))))
