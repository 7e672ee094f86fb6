"""The benchmark runs every way and reports what it measured."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.bench_loader import WAYS, Task


@pytest.mark.slow
def test_every_way_is_measured(shards: Path, tmp_path: Path, command: Callable) -> None:
    options = ["--rounds", 1, "--batches", 1, "--batch", 4, "--workers", 1, "--out", tmp_path]
    done = command("pipeline.bench", "loader", "--shards", shards, *options)
    assert done.returncode == 0, done.stderr
    ways = json.loads((tmp_path / "loader.json").read_text())["ways"]
    assert list(ways) == list(WAYS)
    assert all(way["identities_per_second"][0] > 0 for way in ways.values())
    Image.open(tmp_path / "loader.png").verify()


@pytest.mark.parametrize("way", ["this loader", "DataLoader, loose files", "DataLoader, webdataset"])
def test_the_ways_deliver_the_same(shards: Path, tmp_path: Path, way: str) -> None:
    from pipeline.bench import _write_loose
    from shards.index import ShardIndex

    _write_loose(ShardIndex.open(shards), tmp_path)
    task = Task(shards, tmp_path, (32, 8, 12, 16), 4, 1, 0, 0 if way != "this loader" else 1, "cpu")
    batch = next(iter(WAYS[way](task)))
    assert isinstance(batch, torch.Tensor)
    assert batch.dtype == torch.float32
    assert batch.numel() == 4 * 4 * 3 * 32 * 32
    assert -1 <= batch.min() < batch.max() <= 1


def test_a_batch_too_large_is_refused(shards: Path, refused: Callable[..., str]) -> None:
    assert "at most 12" in refused("pipeline.bench", "loader", "--shards", shards)
