"""Random access gives the photo that the tar holds."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.pixels.resample import resize
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from shards.command import UserError
from shards.format import PHOTO_DTYPE
from shards.index import ShardIndex


def test_every_row_is_its_photo(shards: Path) -> None:
    index = ShardIndex.open(shards)
    held = {}
    for tar in index.manifest.tars:
        with tarfile.open(shards / tar.name) as file:
            for member in file:
                held[tar.name, member.name] = file.extractfile(member).read()  # type: ignore[union-attr]
    for label, name in enumerate(index.names):
        for photo in range(index.first[label], index.first[label + 1]):
            tar, key = index.key(photo)
            assert bytes(index.read(photo)) == held[tar, f"{key}.jpg"]
            assert int.from_bytes(held[tar, f"{key}.label"], "little") == label
            assert json.loads(held[tar, f"{key}.json"])["identity"] == name
            assert Image.open(io.BytesIO(bytes(index.read(photo)))).size == (32, 32)
    assert index.names == sorted(index.names)


def test_reading_copies_nothing(shards: Path) -> None:
    index = ShardIndex.open(shards)
    assert not index.read(0).flags.owndata
    assert not index.read(0).flags.writeable
    assert isinstance(index.records, np.memmap)


def test_an_identity_stands_in_one_tar(shards: Path) -> None:
    index = ShardIndex.open(shards)
    for label in range(index.identities):
        assert len(set(index.records["tar"][index.first[label] : index.first[label + 1]])) == 1


def test_a_tar_shorter_than_the_index_is_refused(shards: Path, tmp_path: Path) -> None:
    for path in shards.iterdir():
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(data[:2048] if path.suffix == ".tar" else data)
    index = ShardIndex.open(tmp_path)
    with pytest.raises(UserError, match="ends at 2048 bytes"):
        index.read(index.photos - 1)


def test_a_header_of_too_many_rows_is_refused(shards: Path, tmp_path: Path) -> None:
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "photos.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": PHOTO_DTYPE.descr, "fortran_order": False, "shape": (10**23,)}
        )
    with pytest.raises(UserError, match="cannot be read"):
        ShardIndex.open(tmp_path)


def test_contradicting_files_are_refused(shards: Path, tmp_path: Path) -> None:
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = np.load(tmp_path / "identities.npy")
    for wrong in (np.arange(5), np.append(first[:-1], first[-1] - 1)):
        np.save(tmp_path / "identities.npy", wrong)
        with pytest.raises(UserError, match="its manifest"):
            ShardIndex.open(tmp_path)


def test_a_tar_that_ends_within_a_photo_is_refused(shards: Path, tmp_path: Path) -> None:
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    sound = ShardIndex.open(shards)
    offsets = np.where(sound.records["tar"] == 0, sound.records["offset"], -1)
    last, tar = int(offsets.argmax()), tmp_path / sound.manifest.tars[0].name
    end = int(offsets[last]) + int(sound.records["size"][last])
    tar.write_bytes(tar.read_bytes()[:end])
    index = ShardIndex.open(tmp_path)
    index.check_tars()
    assert bytes(index.read(last)) == bytes(sound.read(last))
    tar.write_bytes(tar.read_bytes()[: end - 1])
    index = ShardIndex.open(tmp_path)
    with pytest.raises(UserError, match=f"has {end - 1} bytes"):
        index.check_tars()
    with pytest.raises(UserError, match=f"ends at {end - 1} bytes"):
        index.read(last)


def test_stored_views_are_those_of_their_photo_and_side(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    settings = Settings(size=32, codec="png", min_tars=2, stored_views=(8, 12))
    shard(Plan(vggface2(rendered / "VGGFace2", [train_list]), settings), tmp_path / "out", workers=1)
    index = ShardIndex.open(tmp_path / "out")
    photos = np.array([5, 0, 31])
    faces = [np.asarray(Image.open(io.BytesIO(bytes(index.read(int(photo)))))) for photo in photos]
    for side in (8, 12):
        expected = [resize(face, side, side) for face in faces]
        np.testing.assert_array_equal(index.read_stored(photos, side), expected)
