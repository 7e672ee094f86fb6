"""Batches from a web server and from a bucket are those of the local folder, bit for bit."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
import torch

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.sampling.views import Views
from shards.command import UserError
from shards.index import ShardIndex
from shards.storage.limits import Kept, Limits
from shards.storage.places import Folder, RemotePath, shard_folder
from tests.shards.storage.http_server import Faults, serving

VIEWS = Views(sizes=(32, 8, 12))
QUICK = Limits(timeout_s=0.5, patience_s=20)


def batches(folder: Folder | list[Folder], count: int, **settings: object) -> list[Batch]:
    loader = Loader(folder, VIEWS, **{"seed": 5, "global_batch": 6, **settings})  # type: ignore[arg-type]
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


def same(some: list[Batch], others: list[Batch]) -> bool:
    return all(
        a.step == b.step
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.photos, b.photos)
        and all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
        for a, b in zip(some, others, strict=True)
    )


@pytest.fixture
def served(shards: Path) -> Iterator[tuple[RemotePath, Faults]]:
    with serving(shards) as (url, faults):
        yield RemotePath(url, limits=QUICK), faults


def test_batches_are_those_of_the_local_folder_with_faults_and_a_resume(
    shards: Path, served: tuple[RemotePath, Faults]
) -> None:
    remote, faults = served
    kinds = ["503", "short", "cut", "flipped"]
    faults.of = lambda number, name: kinds[number // 10 % 4] if number % 10 == 9 and name.endswith("tar") else ""
    local = batches(shards, 14)
    assert same(batches(remote, 9), local[:9])
    assert remote.storage.faults.total() >= 3
    # The same global batches, from the middle on, by two processes.
    parts = [batches(remote, 5, start_step=9, rank=rank, world=2) for rank in range(2)]
    for step, whole in enumerate(local[9:]):
        assert torch.equal(torch.cat([part[step].photos for part in parts]), whole.photos)
        for view in range(3):
            assert torch.equal(torch.cat([part[step].views[view] for part in parts]), whole.views[view])


def test_steps_are_fetched_before_they_are_needed(served: tuple[RemotePath, Faults]) -> None:
    remote, faults = served
    loader = Loader(remote, VIEWS, seed=5, global_batch=6)
    for _ in range(8):
        next(loader)
    asked = faults.number
    source = loader._decoder._source
    assert len(source._ahead) >= 8, "four more at each step"
    next(loader)
    loader.close()
    assert faults.number - asked <= 6 * 3 * 4, "of the steps far ahead alone"


def test_little_memory_changes_nothing(shards: Path, served: tuple[RemotePath, Faults]) -> None:
    assert same(batches(replace(served[0], kept=Kept(memory=1)), 6), batches(shards, 6))


def test_damaged_photos_are_replaced_as_in_the_local_folder(shards: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(shards, tmp_path / "damaged"))
    index = ShardIndex.open(damaged)
    for photo in (4, 31):
        with (damaged / index.key(photo)[0]).open("r+b") as file:
            file.seek(int(index.records[photo]["offset"]) + 40)
            file.write(b"\0\1\2\3")
    told, names = [], []
    with serving(damaged) as (url, _):
        for number, folder in enumerate((damaged, RemotePath(url, limits=QUICK))):
            listing = tmp_path / f"quarantine-{number}.csv"
            told.append(batches(folder, 20, quarantine=listing, largest_damaged_share=0.1))
            names.append([line.split(",")[:2] for line in listing.read_text().splitlines()])
    assert same(*told)
    assert names[0] == names[1]
    assert names[0]


def test_a_warm_cache_needs_the_storage_no_more(
    shards: Path, served: tuple[RemotePath, Faults], tmp_path: Path
) -> None:
    remote, faults = served
    remote = replace(remote, kept=Kept(cache=tmp_path / "cache", cache_bytes=1 << 28))
    local = batches(shards, 6)
    assert same(batches(remote, 6), local)
    before = dict(faults.asked)
    assert same(batches(remote, 6), local)
    fetched = {name: faults.asked[name] - before[name] for name in before}
    assert fetched.pop("manifest.json") <= 2, "it says whether all else is still the same"
    # Steps after the sixth were fetched ahead, or not, as there was time.
    assert fetched["photos.npy"] == fetched["identities.npy"] == 0


def test_a_bucket_beside_a_local_folder(shards: Path, tmp_path: Path) -> None:
    bucket = fsspec.filesystem("memory")
    bucket.put(f"{shards}/", "/bucket/faces", recursive=True)
    other = Path(shutil.copytree(shards, tmp_path / "other"))
    try:
        local = batches([shards, other], 5, mix=(0.5, 0.5))
        assert same(batches([shard_folder("memory://bucket/faces"), other], 5, mix=(0.5, 0.5)), local)
    finally:
        bucket.rm("/bucket", recursive=True)


def test_a_storage_that_falls_silent_ends_the_run_in_one_line(served: tuple[RemotePath, Faults]) -> None:
    remote, faults = served
    loader = Loader(
        replace(remote, limits=replace(QUICK, patience_s=1), kept=Kept(memory=1)), VIEWS, seed=5, global_batch=6
    )
    next(loader)
    faults.of = lambda number, name: "503"
    with pytest.raises(UserError, match=r"no answer in .* HTTP 503"):
        for _ in range(20):
            next(loader)
    loader.close()


def test_commands_take_addresses(
    shards: Path, served: tuple[RemotePath, Faults], tmp_path: Path, command: Callable, refused: Callable[..., str]
) -> None:
    url = str(served[0])
    told = {place: command("shards.info", place) for place in (shards, url)}
    assert told[url].stdout.splitlines()[1:] == told[shards].stdout.splitlines()[1:]
    assert command("shards.verify", url).stdout == f"{url}: no faults\n"
    sheets = []
    for place in (shards, url):
        sheets.append(tmp_path / f"{len(sheets)}.png")
        done = command("pipeline.preview", "--shards", place, "--out", sheets[-1], "--identities", 2)
        assert done.returncode == 0, done.stderr
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    assert "holds no manifest.json" in refused("shards.info", f"{url}/nothing")
    assert "give more than 0" in refused(
        "pipeline.preview", "--shards", url, "--out", tmp_path / "a.png", "--cache-gb", 0
    )
