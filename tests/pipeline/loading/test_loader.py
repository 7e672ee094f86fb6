"""Batches of real shards, against Pillow and the sampler."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.loading.batch import Batch
from pipeline.loading.batch_pixels import to_network_range
from pipeline.loading.loader import Loader
from pipeline.sampling.views import Views
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import orl
from shards.command import UserError
from shards.index import ShardIndex
from shards.verify import find_faults

DEVICES = [
    "cpu",
    pytest.param(
        "gpu",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]
VIEWS = Views(sizes=(64, 8, 12, 16))


def batches(folder: Path, count: int, views: Views = VIEWS, **settings: object) -> list[Batch]:
    loader = Loader(folder, views, **{"seed": 5, "global_batch": 12, **settings})  # type: ignore[arg-type]
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


def decoded(index: ShardIndex, photo: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(bytes(index.read(photo)))).convert("RGB"))


@pytest.fixture(scope="module")
def stored_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same people as `orl_shards`, with their views stored."""
    out = tmp_path_factory.mktemp("stored") / "orl"
    shard(Plan(orl("train"), Settings(size=64, codec="png", stored_views=(8, 12, 16))), out, workers=1)
    return out


@pytest.mark.parametrize("sizes", [(64, 8, 12, 16), (64, 16, 20), (8, 12)])
def test_stored_views_are_the_views(orl_shards: Path, stored_shards: Path, sizes: tuple[int, ...]) -> None:
    assert list(find_faults(stored_shards)) == []
    made, read = (batches(folder, 4, Views(sizes=sizes)) for folder in (orl_shards, stored_shards))
    for one, other in zip(made, read, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.photos, other.photos)
        assert all(torch.equal(a, b) for a, b in zip(one.views, other.views, strict=True))


def test_world_sizes_share_one_global_batch(orl_shards: Path) -> None:
    whole = batches(orl_shards, 3)
    for world in (2, 3):
        parts = [batches(orl_shards, 3, rank=rank, world=world) for rank in range(world)]
        for step in range(3):
            labels = torch.cat([part[step].labels for part in parts])
            assert torch.equal(labels, whole[step].labels)
            for view in range(4):
                pixels = torch.cat([part[step].views[view] for part in parts])
                assert torch.equal(pixels, whole[step].views[view])


def test_any_step_can_be_the_first(orl_shards: Path) -> None:
    whole = batches(orl_shards, 5)
    for start in (1, 3):
        resumed = batches(orl_shards, 2, start_step=start)
        assert [batch.step for batch in resumed] == [start, start + 1]
        for one, other in zip(resumed, whole[start:], strict=False):
            assert torch.equal(one.labels, other.labels)
            assert all(torch.equal(a, b) for a, b in zip(one.views, other.views, strict=True))


def test_shapes_types_and_ranges(shards: Path) -> None:
    (batch,) = batches(shards, 1, Views(sizes=(32, 7)), global_batch=6)
    assert [view.shape for view in batch.views] == [(6, 32, 32, 3), (6, 7, 7, 3)]
    assert {view.dtype for view in batch.views} == {torch.uint8}
    inputs = batch.network_input()
    assert inputs.shape == (12, 3, 32, 32)
    assert inputs.dtype == torch.float32
    assert -1 <= inputs.min() < inputs.max() <= 1
    assert torch.equal(batch.view_labels(), torch.cat([batch.labels, batch.labels]))
    assert to_network_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("views", "settings", "says"),
    [
        (VIEWS, {"global_batch": 26}, "26 identities needed from .* holds 25"),
        (VIEWS, {"global_batch": 10, "world": 4}, "10 identities for 4 processes"),
        (Views(sizes=(128, 8)), {}, "a view of 128 pixels .* 64 x 64"),
        pytest.param(
            VIEWS,
            {"device": "gpu"},
            "finds no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_impossible_requests_are_refused(orl_shards: Path, views: Views, settings: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        batches(orl_shards, 1, views, **settings)


def test_memory_stays_flat_over_epochs(shards: Path) -> None:
    loader = Loader(shards, Views(sizes=(32, 8)), seed=0, global_batch=12)
    for _ in range(50):
        next(loader)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(300):
        next(loader)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    loader.close()
    assert grown < 1_000_000, "bytes after three hundred epochs"
