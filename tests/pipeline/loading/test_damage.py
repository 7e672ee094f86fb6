"""Damaged photos are passed over by arithmetic, named, and counted; a folder that lies is refused."""

import os
import resource
import shutil
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.reading.photo_reader import picture_size
from pipeline.sampling.views import Views
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import orl, vggface2
from shards.command import UserError
from shards.format import next_member
from shards.index import ShardIndex
from shards.verify import find_faults
from tests.forked import in_forked_process

VIEWS = Views(sizes=(32, 8))


def batches(folder: Path, count: int, views: Views = VIEWS, **settings: object) -> list[Batch]:
    wanted = {"seed": 5, "global_batch": 12, "largest_damaged_share": 0.5, **settings}
    loader = Loader(folder, views, **wanted)  # type: ignore[arg-type]
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """12 rendered people with 5 photos each, to be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def damage(folder: Path, photos: range) -> list[tuple[str, str]]:
    """Change a byte of some photos; return their tars and keys."""
    index = ShardIndex.open(folder)
    named = [index.key(photo) for photo in photos]
    for photo, (tar, _) in zip(photos, named, strict=True):
        with (folder / tar).open("r+b") as file:
            file.seek(int(index.records[photo]["offset"]) + 2)
            file.write(b"\0\0\0\0")
    return named


def rewrite(folder: Path, photo: int, content: bytes) -> None:
    """Put other bytes in a photo's place, with the CRC-32 of these, as another program might have written them."""
    records = np.load(folder / "photos.npy")
    size = int(records["size"][photo])
    assert len(content) <= size
    content = content.ljust(size, b"\0")
    records["crc32"][photo] = zlib.crc32(content)
    np.save(folder / "photos.npy", records)
    tar, _ = ShardIndex.open(folder).key(photo)
    with (folder / tar).open("r+b") as file:
        file.seek(int(records["offset"][photo]))
        file.write(content)


def broken_behind_the_header(encoded: bytes) -> bytes:
    """Return a JPEG whose header is sound and whose Huffman tables are not."""
    table = encoded.index(b"\xff\xc4") + 5
    return encoded[:table] + b"\xff" * 16 + encoded[table + 16 :]


def lines(quarantine: Path) -> list[str]:
    return quarantine.read_text().splitlines()


@pytest.mark.parametrize("views", [VIEWS, Views(sizes=(32, "8..16"), photos="same")], ids=["own photos", "one photo"])
def test_a_damaged_photo_is_replaced_by_arithmetic(copy: Path, tmp_path: Path, views: Views) -> None:
    named = damage(copy, range(0, 2))
    quarantine = tmp_path / "quarantine.csv"
    whole = batches(copy, 12, views, quarantine=quarantine)
    assert sorted(line.split(",")[:2] for line in lines(quarantine)) == sorted(map(list, named))
    assert all("CRC-32" in line for line in lines(quarantine))
    assert not any(np.isin(batch.photos.numpy(), [0, 1]).any() for batch in whole)
    halves = [batches(copy, 12, views, rank=rank, world=2) for rank in range(2)]
    resumed = batches(copy, 5, views, start_step=7, quarantine=quarantine)
    assert len(lines(quarantine)) == 2, "a continued run names nothing twice"
    for step in range(12):
        joined = torch.cat([half[step].photos for half in halves])
        assert torch.equal(joined, whole[step].photos)
    for one, other in zip(resumed, whole[7:], strict=True):
        assert torch.equal(one.photos, other.photos)
    if views.photos == "same":
        assert all((batch.photos == batch.photos[:, :1]).all() for batch in whole)


def test_an_undecodable_photo_is_passed_over_as_if_it_had_been_known(
    copy: Path, shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index = ShardIndex.open(shards)
    small = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    sound = bytes(index.read(30))
    faults = {
        3: (b"\xff\xd8no picture", "cannot be decoded"),
        17: (small, "has 16 x 16 pixels"),
        18: (broken_behind_the_header(bytes(index.read(18))), "cannot be decoded"),
        30: (sound[: len(sound) // 2], "truncated"),
    }
    for photo, (content, _) in faults.items():
        rewrite(copy, photo, content)
    # A photo cut short, and its record with it.
    records = np.load(copy / "photos.npy")
    records["size"][30] = len(faults[30][0])
    records["crc32"][30] = zlib.crc32(faults[30][0])
    np.save(copy / "photos.npy", records)
    quarantine = tmp_path / "quarantine.csv"
    whole = batches(copy, 15, quarantine=quarantine)
    found = {tuple(line.split(",")[:2]): line for line in lines(quarantine)}
    assert found.keys() == {index.key(photo) for photo in faults}
    assert all(reason in found[index.key(photo)] for photo, (_, reason) in faults.items())
    # The same photos, damaged so that their CRC-32 tells at once.
    known = Path(shutil.copytree(shards, tmp_path / "known"))
    for photo in faults:
        damage(known, range(photo, photo + 1))
    for one, other in zip(whole, batches(known, 15), strict=True):
        assert torch.equal(one.photos, other.photos)
        assert torch.equal(one.network_input(), other.network_input())
    halves = [batches(copy, 15, rank=rank, world=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([half[step].photos for half in halves]), batch.photos)
    assert torch.equal(batches(copy, 1, start_step=9)[0].photos, whole[9].photos)
    assert "warning: passed over shard-" in capfd.readouterr().err, "without a file the photos are named on stderr"


def test_headers_are_read_as_the_decoder_reads_them() -> None:
    face = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for codec in ("jpg", "png", "webp"):
        encoded = cv2.imencode(f".{codec}", face)[1].ravel()
        assert picture_size(encoded) == (30, 20)
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"\x89PNG\r\n\x1a\n"):
        assert picture_size(np.frombuffer(content, dtype=np.uint8)) is None


def test_too_much_damage_ends_with_a_message(copy: Path, tmp_path: Path) -> None:
    quarantine = tmp_path / "quarantine.csv"
    damage(copy, range(0, 3))
    batches(copy, 20, largest_damaged_share=0.05, quarantine=quarantine)
    assert len(lines(quarantine)) == 3, "as many as are allowed"
    damage(copy, range(3, 30))
    with pytest.raises(UserError, match=r"4 of 60 photos in .* are damaged, the last one shard-.* at most 3 are"):
        batches(copy, 20, largest_damaged_share=0.05)


def test_too_many_undecodable_photos_end_with_a_message(copy: Path) -> None:
    index = ShardIndex.open(copy)
    for photo in range(0, 60, 2):
        rewrite(copy, photo, broken_behind_the_header(bytes(index.read(photo))))
    with pytest.raises(UserError, match=r"of 60 photos in .* are damaged, .* \(cannot be decoded\)"):
        batches(copy, 20, largest_damaged_share=0.05)


def test_an_identity_without_a_sound_photo_ends_with_a_message(copy: Path) -> None:
    damage(copy, range(0, 5))
    with pytest.raises(UserError, match="no undamaged photo left"):
        batches(copy, 20, largest_damaged_share=1.0)


@pytest.mark.slow
def test_damaged_stored_views_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "orl"
    shard(Plan(orl("train"), Settings(size=32, stored_views=(8, 12))), folder, workers=1)
    index = ShardIndex.open(folder)
    tar, key = index.key(3)
    with (folder / tar).open("r+b") as file:
        file.seek(next_member(int(index.records[3]["offset"]), int(index.records[3]["size"])) + 5)
        file.write(b"\1\2\3")
    assert any(fault.key == key and "stored views" in fault.what for fault in find_faults(folder))
    seen = torch.cat([b.photos for b in batches(folder, 60, global_batch=25)])
    assert 3 in seen[:, 0], "the photo itself is sound"
    assert 3 not in seen[:, 1]
    one_photo = Views(sizes=(32, 8), photos="same")
    assert 3 not in torch.cat([b.photos for b in batches(folder, 60, one_photo, global_batch=25)])


def test_tars_that_do_not_hold_what_the_index_says_are_refused_at_once(copy: Path) -> None:
    index = ShardIndex.open(copy)
    tar = copy / index.manifest.tars[1].name
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-30_000])
    with pytest.raises(UserError, match=r"shard-000001.tar has \d+ bytes, the manifest says \d+ .* up to \d+"):
        batches(copy, 1)
    tar.unlink()
    with pytest.raises(UserError, match=r"shard-000001.tar cannot be read \(No such file"):
        batches(copy, 1)
    # Written anew by another program, with room behind the photos: the index still finds them.
    tar.write_bytes(whole + bytes(10240))
    batches(copy, 1)


@pytest.mark.parametrize(("field", "value", "says"), [("offset", 10**9, "ends at"), ("tar", 9, "names tar 9 of 3")])
def test_an_index_that_points_outside_is_refused(copy: Path, field: str, value: int, says: str) -> None:
    records = np.load(copy / "photos.npy")
    records[field] = value
    np.save(copy / "photos.npy", records)
    with pytest.raises(UserError, match=says):
        batches(copy, 1)


def test_a_tar_that_is_cut_or_vanishes_during_the_run_costs_its_photos_alone(copy: Path, tmp_path: Path) -> None:
    index = ShardIndex.open(copy)
    quarantine = tmp_path / "quarantine.csv"
    settings = {"seed": 5, "global_batch": 12, "largest_damaged_share": 0.9, "quarantine": quarantine}
    loader = Loader(copy, VIEWS, **settings)  # type: ignore[arg-type]
    for _ in range(3):
        next(loader)
    # Half of each identity's photos in the first tar lie behind its new end.
    records = index.records[:]
    mine = np.flatnonzero(records["tar"] == 0)
    end = int(np.median(records["offset"][mine]))
    os.truncate(copy / index.manifest.tars[0].name, end)
    lost = mine[records["offset"][mine] + records["size"][mine] > end]
    try:
        later = [next(loader) for _ in range(30)]
    except UserError as told:
        assert "has no undamaged photo left" in str(told)
    else:
        # Steps that had been read before the cut may still show them.
        assert not any(np.isin(batch.photos.numpy(), lost).any() for batch in later[8:])
    loader.close()
    assert lines(quarantine)
    assert all("shard-000000.tar" in line and f"ends at {end} bytes" in line for line in lines(quarantine))


def test_the_stand_in_for_an_unreadable_photo_is_that_for_a_damaged_one(copy: Path, shards: Path) -> None:
    index = ShardIndex.open(copy)
    records = index.records[:]
    last = {int(np.argmax(np.where(records["tar"] == tar, records["offset"], -1))) for tar in (0, 1)}
    loader = Loader(copy, VIEWS, seed=5, global_batch=12, largest_damaged_share=0.5)
    next(loader)
    # Read by no step yet, or by some: it does not matter when the end is lost.
    for photo in last:
        tar = copy / index.manifest.tars[int(index.records[photo]["tar"])].name
        os.truncate(tar, int(index.records[photo]["offset"]) + 10)
    unreadable = [next(loader) for _ in range(12)][4:]
    loader.close()
    known = Path(shutil.copytree(shards, copy.parent / "known"))
    for photo in last:
        damage(known, range(photo, photo + 1))
    for one, other in zip(unreadable, batches(known, 13)[5:], strict=True):
        assert torch.equal(one.photos, other.photos)


@pytest.mark.slow
def test_stored_views_that_become_unreadable_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "orl"
    shard(Plan(orl("train"), Settings(size=32, stored_views=(8, 12))), folder, workers=1)
    index = ShardIndex.open(folder)
    loader = Loader(folder, VIEWS, seed=0, global_batch=25, largest_damaged_share=0.5)
    next(loader)
    tar, records = index.manifest.tars[0], index.records[:]
    photo = int(np.argmax(np.where(records["tar"] == 0, records["offset"], -1)))
    face_end = int(index.records[photo]["offset"]) + int(index.records[photo]["size"])
    os.truncate(folder / tar.name, face_end)
    seen = torch.cat([next(loader).photos for _ in range(60)][8:])
    loader.close()
    assert photo in seen[:, 0], "the photo itself is whole"
    assert photo not in seen[:, 1]


def with_few_files(folder: Path, more: int) -> list[int] | str:
    """Return the photos of a few batches, or what is told where only so many more files may be open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + more,) * 2)
    try:
        return [int(batch.photos.sum()) for batch in batches(folder, 4)]
    except UserError as mistake:
        return str(mistake)


@pytest.mark.soak
def test_few_open_files_suffice_for_any_number_of_tars(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=32, min_tars=12))
    shard(plan, tmp_path / "shards", workers=1)
    expected = [int(batch.photos.sum()) for batch in batches(tmp_path / "shards", 4)]
    assert in_forked_process(with_few_files, tmp_path / "shards", 50) == expected
    assert "ulimit -n" in in_forked_process(with_few_files, tmp_path / "shards", 10)
