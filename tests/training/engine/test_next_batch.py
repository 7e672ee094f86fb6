"""Data that comes late is waited for, and told with the rank and the file."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.sampling.views import Views
from training.engine.next_batch import BatchFetcher


def late(loader: Loader, seconds: float) -> Iterator[Batch]:
    for batch in loader:
        time.sleep(seconds)
        yield batch


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_late_data_is_told(shards: Path, capfd: pytest.CaptureFixture[str], seconds: float) -> None:
    loader = Loader(shards, Views(sizes=(32, 8)), seed=0, global_batch=12)
    feed = BatchFetcher(late(loader, seconds), torch.device("cpu"), rank=3, late=0.2)
    next(loader)
    feed.fetch()
    assert feed.take().step == 1
    loader.close()
    told = capfd.readouterr().err
    assert ("rank 3 has waited 0.2 s for data" in told) == bool(seconds)
    assert (str(shards / "shard-00000") in told) == bool(seconds)
