"""Views of drawn sizes, of one photo, and of natively small photos, against Pillow."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.sampling.sampler import Sampler
from pipeline.sampling.views import Views
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources import datasets
from pipeline.sources.datasets import orl
from shards.command import UserError
from shards.index import ShardIndex

DEVICES = [
    "cpu",
    pytest.param(
        "gpu",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]


def batches(folder: Path, count: int, views: Views, **settings: object) -> list[Batch]:
    loader = Loader(folder, views, **{"seed": 5, "global_batch": 12, **settings})  # type: ignore[arg-type]
    try:
        return [next(loader).to("cpu") for _ in range(count)]
    finally:
        loader.close()


def by_pillow(index: ShardIndex, photo: int, side: int, mirrored: bool) -> np.ndarray:
    """A view as the network receives it: (S, S, 3) float32."""
    face = Image.open(io.BytesIO(bytes(index.read(photo)))).convert("RGB")
    size = face.size
    if mirrored:
        face = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if side < size[0]:
        face = face.resize((side, side), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(face).astype(np.float32) / np.float32(127.5) - 1


def assert_equal_to_pillow(folder: Path, views: Views, found: list[Batch]) -> set[tuple[int, int]]:
    """Hold batches to the sampler and to Pillow, bit by bit; return the views and sides that were seen."""
    index = ShardIndex.open(folder)
    size, seen = index.manifest.preprocessing.size, set()
    sampler = Sampler.of([index.first], views, seed=5, global_batch=12)
    for batch in found:
        drawn = sampler.draw(batch.step)
        np.testing.assert_array_equal(batch.photos, drawn.photos)
        # (V B, 3, S, S) -> (V, B, S, S, 3)
        inputs = batch.network_input().unflatten(0, drawn.photos.T.shape).permute(0, 1, 3, 4, 2).numpy()
        for row, view in np.ndindex(drawn.photos.shape):
            photo, side = int(drawn.photos[row, view]), int(drawn.sides[row, view])
            native = int(index.records["native"][photo])
            expected = side if side == size or native == 0 else min(side, native)
            assert batch.sides()[row, view] == expected
            seen.add((view, expected))
            wanted = by_pillow(index, photo, expected, bool(drawn.mirrored[row, view]))
            np.testing.assert_array_equal(inputs[view, row], wanted)
    return seen


@pytest.fixture(scope="module")
def noise_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, noise of two levels and hard borders, 128 x 128, lossless."""
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(3)
    for person in range(12):
        (folder / "photos" / f"{person:02d}").mkdir(parents=True)
        border = np.zeros((128, 128, 3), dtype=np.uint8)
        border[:, : person + 1] = border[-1:] = 255
        pictures = [random.integers(0, 256, border.shape), random.choice([0, 255], border.shape), border, 255 - border]
        for number, picture in enumerate(pictures):
            Image.fromarray(picture.astype(np.uint8)).save(folder / "photos" / f"{person:02d}" / f"{number}.png")
    settings = Settings(size=128, codec="png", template="whole")
    shard(Plan(datasets.folder(folder / "photos", [], aligned=True), settings), folder / "shards", workers=1)
    return folder / "shards"


@pytest.mark.parametrize("device", DEVICES)
def test_a_sweep_of_sizes_equals_pillow_on_real_faces(orl_shards: Path, device: str) -> None:
    views = Views(sizes=(64, 8, 12, 16, 20, 1, 3, 7, 9, 24, 31, 33, 48, 63))
    assert len(assert_equal_to_pillow(orl_shards, views, batches(orl_shards, 2, views, device=device))) == 14


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_a_sweep_of_sizes_equals_pillow_on_noise(noise_shards: Path, device: str) -> None:
    views = Views(sizes=(128, 8, 12, 16, 20, 5, 11, 64, 127))
    assert_equal_to_pillow(noise_shards, views, batches(noise_shards, 2, views, device=device))


@pytest.mark.parametrize("device", DEVICES)
def test_drawn_sizes_equal_pillow_each_at_its_own(orl_shards: Path, device: str) -> None:
    views = Views(sizes=(64, "8..32", "60..64"), mirror=(0.0, 0.5, 1.0))
    seen = assert_equal_to_pillow(orl_shards, views, batches(orl_shards, 4, views, device=device))
    assert len(seen) > 20, "many sides of the 25 and of the 5"


@pytest.mark.slow
def test_sizes_are_drawn_uniformly_and_for_any_number_of_processes() -> None:
    views = Views(sizes=("8..12", 16, "3..6"))
    sampler = Sampler.of([np.arange(0, 45, 5)], views, seed=0, global_batch=8)
    sides = np.concatenate([sampler.draw(step).sides for step in range(600)])
    assert (sides[:, 1] == 16).all()
    assert chisquare(np.bincount(sides[:, 0] - 8, minlength=5)).pvalue > 1e-4
    pairs = np.bincount((sides[:, 0] - 8) * 4 + sides[:, 2] - 3, minlength=20)
    assert chisquare(pairs).pvalue > 1e-4, "views draw independently"
    parts = [sampler.draw(3, rank, 4).sides for rank in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts), sampler.draw(3).sides)


def test_a_range_leaves_the_published_draw_as_it_is() -> None:
    first = np.arange(0, 45, 5)
    fixed, drawn = (
        Sampler.of([first], Views(sizes=sizes), seed=0, global_batch=8).draw(7) for sizes in ((128, 8), (128, "8..32"))
    )
    for field in ("identities", "photos", "mirrored"):
        np.testing.assert_array_equal(getattr(fixed, field), getattr(drawn, field))


def test_no_view_is_larger_than_its_photo_knew(orl_shards: Path, tmp_path: Path) -> None:
    """Also where views are stored beside the photos: those of natively small ones are made anew."""
    plain, stored = tmp_path / "plain", tmp_path / "stored"
    shutil.copytree(orl_shards, plain)
    shard(Plan(orl("train"), Settings(size=64, codec="png", stored_views=(8, 12, 16))), stored, workers=1)
    for folder in (plain, stored):
        records = np.load(folder / "photos.npy")
        records["native"] = np.array([10, 64, 12, 0, 30])[np.arange(len(records)) % 5]
        np.save(folder / "photos.npy", records)
    views = Views(sizes=(64, 8, 12, 16, "8..40"))
    made, read = (batches(folder, 4, views) for folder in (plain, stored))
    seen = assert_equal_to_pillow(plain, views, made)
    assert {(0, 64), (1, 8), (2, 10), (2, 12), (3, 10), (3, 12), (3, 16)} <= seen
    assert not {(1, 10), (2, 8), (3, 30)} & seen
    for one, other in zip(made, read, strict=True):
        assert torch.equal(one.network_input(), other.network_input())


def test_all_views_may_show_one_photo(orl_shards: Path) -> None:
    views = Views(sizes=(64, 64, 16), mirror=(0.0, 1.0, 0.0), photos="same")
    (batch,) = batches(orl_shards, 1, views)
    assert (batch.photos == batch.photos[:, :1]).all()
    assert len(batch.photos[:, 0].unique()) == 12
    full, mirrored, _ = batch.views
    assert isinstance(full, torch.Tensor)
    assert isinstance(mirrored, torch.Tensor)
    assert torch.equal(mirrored, full.flip(2))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sizes": ()}, "at least one size"),
        ({"sizes": (8, 0)}, "at least 1 pixel"),
        ({"sizes": ("32..8",)}, "rising range"),
        ({"sizes": ("8-32",)}, "or a range"),
        ({"mirror": 1.5}, "from 0 to 1"),
        ({"mirror": (0.5, 0.5)}, "2 mirror probabilities for 4 views"),
    ],
)
def test_impossible_views_are_refused(arguments: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Views(**arguments)
