"""Disks that are full or may not be written, folders in use, clocks that jump."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sharding.tar_record import WORK
from pipeline.sources.datasets import vggface2
from pipeline.sources.photo_table import PhotoTable
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from shards.format import tar_name
from tests.campaigns.kill_sharder import contents

SETTINGS = Settings(size=32, min_tars=6)


def plan_of(rendered: Path, train_list: Path, settings: Settings = SETTINGS) -> Plan:
    return Plan(vggface2(rendered / "VGGFace2", [train_list]), settings)


@pytest.fixture
def options(rendered: Path, train_list: Path) -> list[object]:
    root = rendered / "VGGFace2"
    words = ["pipeline.shard", "--dataset", "vggface2", "--root", root, "--landmarks", train_list]
    return [*words, "--size", 32, "--min-tars", 6, "--workers", 1]


@pytest.mark.soak
def test_a_full_disk_costs_the_tars_in_hand(
    rendered: Path,
    train_list: Path,
    options: list[object],
    tmp_path: Path,
    small_disk: Callable[[str], Path],
    refused: Callable[..., str],
) -> None:
    whole = tmp_path / "whole"
    shard(plan_of(rendered, train_list), whole, workers=1)
    size = sum(len(data) for data in contents(whole).values())
    disk = small_disk(f"size={size // 2}")
    assert "No space left on device" in refused(*options, "--out", disk / "out")
    kept = {path.name: path.stat().st_mtime_ns for path in (disk / "out").glob("*.tar")}
    assert kept
    small_disk(f"size={4 * size}")
    shard(plan_of(rendered, train_list), disk / "out", workers=1)
    assert contents(disk / "out") == contents(whole)
    small_disk("ro")
    assert shard(plan_of(rendered, train_list), disk / "out", workers=1)[1], "reading alone is enough to see the end"
    assert "Read-only file system" in refused(*options, "--out", disk / "other")


def test_no_room_for_the_records_is_one_line(
    rendered: Path, train_list: Path, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = 0
    for size in ("4k", "16k", "32k", "64k", "128k", "4m"):
        monkeypatch.setattr(tempfile, "tempdir", str(small_disk(f"size={size}")))
        try:
            PhotoTable([vggface2(rendered / "VGGFace2", [train_list])]).close()
        except UserError as error:
            assert "set TMPDIR to another folder" in str(error)
            refusals += 1
    assert 2 <= refusals <= 5


def test_a_data_set_that_does_not_fit_leaves_nothing(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=256k")
    with pytest.raises(OSError, match="No space left"):
        write_dataset(disk, "vggface2", identities=4, photos=3, seed=0)
    assert not [path for path in disk.rglob("*") if path.is_file()]
    small_disk("size=1m")
    assert write_dataset(disk, "vggface2", identities=4, photos=3, seed=0) == 18


def test_no_room_for_a_preview_keeps_the_older_one(
    shards: Path, small_disk: Callable[[str], Path], refused: Callable[..., str]
) -> None:
    out = small_disk("size=8k") / "preview.png"
    out.write_bytes(b"older")
    assert "No space left on device" in refused("pipeline.preview", "--shards", shards, "--out", out)
    assert contents(out.parent) == {"preview.png": b"older"}


@pytest.mark.soak
def test_a_second_command_is_refused_while_the_first_works(options: list[object], tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        *map(str, options),
        "--size",
        "512",
        "--codec",
        "png",
        "--out",
        str(tmp_path / "out"),
    ]
    processes = [subprocess.Popen(words, stdout=-3, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=200)[1], process.returncode) for process in processes]
    assert sorted(code for _, code in ends) in ([0, 2], [0, 0]), ends
    for stderr, code in ends:
        assert code == 0 or "is in use by process" in stderr.splitlines()[-1]
    assert not (tmp_path / "out" / WORK).exists()


def test_a_begun_folder_is_continued_as_it_was_begun_only(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    out, plan = tmp_path / "out", plan_of(rendered, train_list)
    (out / WORK).mkdir(parents=True)
    begun = out / WORK / "plan.json"
    begun.write_text(json.dumps({**plan.parameters(), **plan.circumstances(), "opencv": "3.0"}))
    with pytest.raises(UserError, match=r"begun with opencv 3\.0, now opencv 4"):
        shard(plan, out, workers=1)
    parameters = plan.parameters()
    parameters["sources"][0]["landmarks"] = ["other.csv"]
    begun.write_text(json.dumps({**parameters, **plan.circumstances()}))
    with pytest.raises(UserError, match=r"sources 1: landmarks 1 other\.csv, now sources 1: landmarks 1 loose_land"):
        shard(plan_of(rendered, train_list), out, workers=1)
    begun.write_text("{")
    with pytest.raises(UserError, match=r"plan\.json is damaged"):
        shard(plan, out, workers=1)


def test_a_tar_or_record_lost_in_between_is_made_again(
    rendered: Path, train_list: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    shard(plan_of(rendered, train_list), whole, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.sharding.run.finish", lambda plan, out: (_ for _ in ()).throw(OSError("power is gone")))
        with pytest.raises(OSError, match="power"):
            shard(plan_of(rendered, train_list), out, workers=1)
    (out / tar_name(0)).unlink()
    (out / tar_name(1)).write_bytes((out / tar_name(1)).read_bytes()[:-512])
    record = out / WORK / f"{tar_name(2)}.npz"
    record.write_bytes(record.read_bytes()[:100])
    shard(plan_of(rendered, train_list), out, workers=1)
    assert contents(out) == contents(whole)


def test_a_set_without_a_usable_photo_is_refused(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    root = tmp_path / "VGGFace2"
    for photo in (rendered / "VGGFace2" / "train").rglob("*.jpg"):
        place = root / photo.relative_to(rendered / "VGGFace2")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(photo.read_bytes()[:500])
    with pytest.raises(UserError, match="no identity is left, of 60 photos: 60 unreadable"):
        shard(Plan(vggface2(root, [train_list]), SETTINGS), tmp_path / "out", workers=1)


def test_other_libraries_in_a_worker_are_refused(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    from pipeline.sharding.tar_job import Job, make_tar

    plan = plan_of(rendered, train_list)
    job = Job((), tmp_path, tmp_path, plan.settings.face_format(), 4)
    with pytest.raises(UserError, match="install the same versions everywhere"):
        make_tar(plan.tar_contents(0), replace(job, versions={"opencv": "3.0"}))


def test_the_clock_does_not_show(
    rendered: Path, train_list: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(plan_of(rendered, train_list), tmp_path / "one", workers=1)
    jumps = np.random.default_rng(0)
    now = time.time()
    for photo in (rendered / "VGGFace2" / "train").rglob("*.jpg"):
        os.utime(photo, (0, float(jumps.uniform(0, 2 * now))))
    monkeypatch.setattr(time, "time", lambda: float(jumps.uniform(0, 2 * now)))
    monkeypatch.setattr(time, "time_ns", lambda: int(jumps.uniform(0, 2e9 * now)))
    shard(plan_of(rendered, train_list), tmp_path / "other", workers=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
