"""The benchmark runs every way and reports what it measured."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.benchmarks.decoding import GPU_WAYS, HOST, decode_photos
from pipeline.benchmarks.growth import Soak, load_index
from pipeline.benchmarks.loader import write_loose
from pipeline.benchmarks.loader_ways import WAYS, Task
from pipeline.benchmarks.rendered import write_large_index
from pipeline.benchmarks.runner import in_fresh_process, in_rounds, ratios, spread
from shards.index import ShardIndex


@pytest.mark.soak
@pytest.mark.usefixtures("forked_runs")
def test_every_way_is_measured(shards: Path, tmp_path: Path, command: Callable) -> None:
    options = ["--rounds", 1, "--batches", 1, "--batch", 4, "--workers", 1, "--out", tmp_path]
    done = command("pipeline.bench", "loader", "--shards", shards, *options)
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads((tmp_path / "loader.json").read_text())["shards"].values()
    ways = figures["ways"]
    assert list(ways) == list(WAYS)
    for way in ways.values():
        assert way["identities_per_second"] == way["runs"][0]["identities_per_second"] > 0
        assert way["views_per_second"] == 4 * way["identities_per_second"]
        assert way["core_us_per_photo"] >= 0
        assert way["peak_mib"] > 50
    assert ways["this loader"]["this_loader_over_it"] == {"median": 1, "least": 1, "largest": 1}
    Image.open(tmp_path / "loader.png").verify()


@pytest.mark.parametrize("way", ["this loader", "DataLoader, loose files", "DataLoader, webdataset"])
def test_the_ways_deliver_the_same(shards: Path, tmp_path: Path, way: str) -> None:
    write_loose(ShardIndex.open(shards), tmp_path)
    task = Task(shards, tmp_path, (32, 8, 12, 16), 4, 1, 0, 0 if way != "this loader" else 1, "cpu")
    batch = next(iter(WAYS[way](task)))
    assert isinstance(batch, torch.Tensor)
    assert batch.dtype == torch.float32
    assert batch.numel() == 4 * 4 * 3 * 32 * 32
    assert -1 <= batch.min() < batch.max() <= 1


@pytest.mark.soak
@pytest.mark.usefixtures("forked_runs")
def test_storage_is_measured_on_a_disk_and_on_a_server(shards: Path, tmp_path: Path, command: Callable) -> None:
    options = ["--rounds", 1, "--batches", 1, "--batch", 4, "--workers", 1, "--latencies", 5, "--out", tmp_path]
    done = command("pipeline.bench", "storage", "--shards", shards, *options)
    assert done.returncode == 0, done.stderr
    ways = json.loads((tmp_path / "storage.json").read_text())["ways"]
    places = ["local disk, warm", "local disk, cold", "5 ms", "5 ms, warm cache", "5 ms, webdataset"]
    assert list(ways) == places
    assert all(way["identities_per_second"] > 0 for way in ways.values())
    assert ways["local disk, warm"]["over_local_warm"] == {"median": 1, "least": 1, "largest": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interpreter", "said"), [(sys.executable, "it needs mosaicml-streaming"), ("/none", "No such")]
)
def test_an_interpreter_without_mosaicml_streaming_is_refused(
    shards: Path, refused: Callable[..., str], interpreter: str, said: str
) -> None:
    options = ["--shards", shards, "--batch", 4, "--batches", 1, "--workers", 1, "--mosaicml", interpreter]
    assert said in refused("pipeline.bench", "storage", *options)


def test_a_batch_too_large_is_refused(shards: Path, refused: Callable[..., str]) -> None:
    assert "at most 12" in refused("pipeline.bench", "loader", "--shards", shards)


@pytest.mark.soak
def test_a_large_index_loads_and_feeds_at_once(tmp_path: Path) -> None:
    """Every part of it at a five-hundredth of the size; times are for the command, limits here only catch a loop."""
    folder = tmp_path / "index"
    write_large_index(tmp_path, folder, identities=4_000, photos=84_000, tars=5)
    index = ShardIndex.open(folder)
    photos = np.diff(index.first)
    assert (index.identities, index.photos) == (4_000, 84_000)
    assert photos.min() >= 2 and photos.max() > 1.4 * photos.mean()
    assert {entry.photos for entry in index.manifest.tars} == {16_800}
    assert len(index.read_all(np.arange(100))) == 100
    loaded = in_fresh_process(load_index, folder, 16, 1)
    assert (loaded.identities, loaded.photos) == (4_000, 84_000)
    assert loaded.open_s < 2
    assert loaded.index_mib < 100
    assert loaded.draw_us < 100_000


def test_the_soak_sees_growth_and_none() -> None:
    batches = list(range(10, 2010, 10))
    assert Soak(batches, [300 + 0.01 * number for number in batches], 3).growth() == pytest.approx(10)
    assert Soak(batches, [300 + number % 20 for number in batches], 3).growth() == pytest.approx(0, abs=1)


@pytest.mark.soak
@pytest.mark.usefixtures("forked_runs")
def test_the_soak_writes_its_figures(shards: Path, tmp_path: Path, command: Callable) -> None:
    options = ["--shards", shards, "--batch", 4, "--soak-batches", 12, "--workers", 1, "--out", tmp_path]
    done = command("pipeline.bench", "soak", *options)
    assert done.returncode == 0, done.stderr
    assert "12 batches of 4 identities, 4 epochs" in done.stdout
    assert json.loads((tmp_path / "soak.json").read_text())["batches"] == list(range(1, 13))
    Image.open(tmp_path / "soak.png").verify()


def test_decoding_is_measured_on_the_host(shards: Path) -> None:
    decoded = decode_photos(shards, HOST, 8, 40, 1)
    assert decoded.photos_per_second > 0
    assert decoded.host_us_per_photo > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("way", GPU_WAYS)
def test_decoding_is_measured_on_a_gpu(shards: Path, way: str) -> None:
    decoded = decode_photos(shards, way, 8, 40, 1)
    assert decoded.photos_per_second > 0
    assert decoded.host_us_per_photo > 0


def test_ways_are_measured_in_turn_and_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    order = []

    def measure(way: str, number: int) -> float:
        order.append((way, number))
        return 10.0 * number + len(way)

    assert in_rounds(["a", "bb"], 2, measure, "{:.0f} m/s".format) == {"a": [1, 11], "bb": [2, 12]}
    assert order == [("a", 0), ("bb", 0), ("a", 1), ("bb", 1)]
    assert capsys.readouterr().out.splitlines()[2] == "round 2: a: 11 m/s"


def test_the_spread_of_ratios_is_their_median_least_and_largest() -> None:
    assert str(spread(ratios([3.0, 2.0, 8.0], [2.0, 2.0, 4.0]))) == "1.50 (1.00 to 2.00)"


def test_numbers_below_one_are_refused(refused: Callable[..., str]) -> None:
    assert "--rounds 0; give at least 1" in refused("pipeline.bench", "loader", "--rounds", 0)
