"""Random access gives the photo that the tar holds."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.pixels.resample import resize
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from shards.byte_ranges import Unread
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


def test_nothing_is_mapped(shards: Path) -> None:
    """A mapped file that is cut short ends the process."""
    index = ShardIndex.open(shards)
    index.read(0)
    assert str(shards) not in Path("/proc/self/maps").read_text()


def test_an_identity_stands_in_one_tar(shards: Path) -> None:
    index = ShardIndex.open(shards)
    for label in range(index.identities):
        assert len(set(index.records[index.first[label] : index.first[label + 1]]["tar"])) == 1


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
    records = sound.records[:]
    offsets = np.where(records["tar"] == 0, records["offset"], -1)
    last, tar = int(offsets.argmax()), tmp_path / sound.manifest.tars[0].name
    end = int(offsets[last]) + int(sound.records[last]["size"])
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
    for face, views in zip(faces, index.try_to_read(photos, views=True), strict=True):
        assert not isinstance(views, Unread)
        for side in (8, 12):
            np.testing.assert_array_equal(index.view_of(views, side), resize(face, side, side))


@pytest.mark.parametrize("change", [lambda first: first[[0, 2, 1, *range(3, len(first))]], lambda first: first + 1])
def test_identities_out_of_order_are_refused(
    shards: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = change(np.load(tmp_path / "identities.npy"))
    first[-1] = 60
    np.save(tmp_path / "identities.npy", first)
    with pytest.raises(UserError, match=r"identities\.npy is damaged"):
        ShardIndex.open(tmp_path)
