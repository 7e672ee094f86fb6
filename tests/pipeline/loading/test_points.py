"""The five points of a face, from the landmarks of its photo to the views of a batch; folders without them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.alignment.align import TEMPLATES
from pipeline.loading.loader import Loader
from pipeline.pixels.face_points import mirrored_points
from pipeline.sampling.views import Views
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import Source, folder, low_resolution, vggface2
from shards.command import UserError
from shards.format import MANIFEST, POINTS, READ_VERSIONS
from shards.index import ShardIndex
from shards.storage.copying import copy_folder
from shards.verify import find_faults

VIEWS = Views(sizes=(32, 8, 12), mirror=0.5)


def as_version_1(folder: Path, out: Path) -> Path:
    """Return a copy of a folder as the program wrote it before it knew of points."""
    shutil.copytree(folder, out)
    (out / POINTS).unlink()
    about = json.loads((out / MANIFEST).read_text())
    del about["pointed"]
    (out / MANIFEST).write_text(json.dumps({**about, "version": 1}))
    return out


def about_each(index: ShardIndex) -> list[dict]:
    """What the tars say of every photo."""
    found = []
    for row in range(index.photos):
        tar, key = index.key(row)
        data = (index.folder / tar).read_bytes()
        start = data.index(f"{key}.json".encode()) + 512
        found.append(json.loads(data[start : data.index(b"}", start) + 1]))
    return found


def placed_by_hand(landmarks: NDArray[np.float64], template: str) -> NDArray[np.float64]:
    """Fit the similarity from template to landmarks by general least squares, and take the landmarks back by it."""
    target = np.array(TEMPLATES[template].points)
    rows, right = [], []
    for (x, y), (u, v) in zip(target, landmarks, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    matrix = np.array([[a, -b], [b, a]])
    return np.linalg.solve(matrix, (landmarks - [c, d]).T).T / 112


@pytest.mark.parametrize("warp", ["plain", "antialiased"])
def test_points_are_the_landmarks_taken_through_the_alignment(
    warp: str, rendered: Path, train_list: Path, tmp_path: Path
) -> None:
    source = vggface2(rendered / "VGGFace2", [train_list])
    shard(Plan(source, Settings(template="centred", size=48, min_tars=2, warp=warp)), tmp_path / "out", workers=1)
    index = ShardIndex.open(tmp_path / "out")
    listed = {}
    for line in train_list.read_text().splitlines()[1:]:
        name, *numbers = line.replace('"', "").split(",")
        listed[name.removeprefix("train/")] = np.array(numbers, dtype=float).reshape(5, 2)
    assert index.manifest.pointed == index.photos
    for row, about in enumerate(about_each(index)):
        landmarks = listed[about["path"].removeprefix("train/").removesuffix(".jpg")]
        by_hand = placed_by_hand(landmarks, "centred")
        np.testing.assert_allclose(index.points(np.array(row)), by_hand, atol=2e-4)
        np.testing.assert_array_equal(np.array(about["points"], np.float32), index.points(np.array(row)))
    assert list(find_faults(tmp_path / "out")) == []


def test_views_have_the_points_of_their_photos_mirrored_with_them(shards: Path) -> None:
    loader = Loader(shards, VIEWS, seed=3, global_batch=6, points=True)
    batch, plain = next(loader), Loader(shards, VIEWS, seed=3, global_batch=6)
    index = ShardIndex.open(shards)
    assert batch.points is not None
    assert batch.points.shape == (6, 3, 5, 2)
    turned = 0
    for place, photo in np.ndenumerate(batch.photos.numpy()):
        stored = index.points(np.array(photo))
        found = batch.points[place].numpy()
        # The eyes stand at other places than their mirror images.
        is_mirrored = not np.array_equal(found, stored)
        turned += is_mirrored
        np.testing.assert_array_equal(found, mirrored_points(stored) if is_mirrored else stored)
    assert 0 < turned < 18
    rows = batch.network_points()
    assert rows is not None
    np.testing.assert_array_equal(rows.numpy(), np.concatenate([batch.points[:, view] for view in range(3)]))
    assert next(plain).points is None
    for one in (loader, plain):
        one.close()


def test_a_mirrored_view_and_its_points_fit_together(orl_shards: Path) -> None:
    loaders = [Loader(orl_shards, Views((64,), mirror), seed=0, global_batch=4, points=True) for mirror in (0.0, 1.0)]
    plain, mirrored = (next(loader) for loader in loaders)
    assert np.array_equal(plain.views[0].flip(2), mirrored.views[0])  # type: ignore[union-attr,arg-type]
    assert plain.points is not None
    assert mirrored.points is not None
    np.testing.assert_allclose(1 - plain.points[..., 2, 0], mirrored.points[..., 2, 0], atol=1e-6)
    np.testing.assert_array_equal(plain.points[..., 0, 1], mirrored.points[..., 1, 1])
    for loader in loaders:
        loader.close()


def test_an_old_folder_still_reads_and_is_refused_where_points_are_needed(shards: Path, tmp_path: Path) -> None:
    old = as_version_1(shards, tmp_path / "old")
    assert READ_VERSIONS == (1, 2)
    assert list(find_faults(old)) == []
    one, other = (Loader(path, VIEWS, seed=3, global_batch=6) for path in (shards, old))
    for a, b in zip(next(one).pixels(), next(other).pixels(), strict=True):
        np.testing.assert_array_equal(a, b)
    for loader in (one, other):
        loader.close()
    with pytest.raises(
        UserError, match=r"old \(format version 1\).*0 of 60.*pipeline.shard --template paper --size 32"
    ):
        Loader(old, VIEWS, seed=3, global_batch=6, points=True)


@pytest.mark.parametrize(
    ("opened", "known"),
    [
        (lambda root: folder(root, [], aligned=True), True),
        (lambda root: low_resolution("tinyface", root.parent), False),
    ],
)
def test_faces_that_came_aligned_have_the_templates_points_and_whole_pictures_none(
    opened: Callable[[Path], Source], known: bool, rendered: Path, tmp_path: Path
) -> None:
    root = next(path for path in (rendered / "TinyFace").rglob("Training_Set"))
    template = "centred" if known else "whole"
    shard(Plan(opened(root), Settings(template=template, size=32, min_tars=1)), tmp_path / "out", workers=1)
    index = ShardIndex.open(tmp_path / "out")
    points = index.points(np.arange(index.photos))
    if known:
        np.testing.assert_allclose(points[3], np.array(TEMPLATES["centred"].points) / 112, atol=1e-6)
    else:
        assert np.isnan(points).all()
        assert not (tmp_path / "out" / POINTS).exists()
    assert list(find_faults(tmp_path / "out")) == []


def test_other_points_than_the_tars_are_a_fault_and_copies_have_them(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_folder(shards, copy)
    assert (copy / POINTS).read_bytes() == (shards / POINTS).read_bytes()
    points = np.load(copy / POINTS)
    points["points"][7, 2, 0] += 0.01
    np.save(copy / POINTS, points)
    assert any("points.npy says" in fault.what for fault in find_faults(copy))
    (copy / POINTS).write_bytes(b"no array")
    with pytest.raises(UserError, match=r"points\.npy cannot be read"):
        Loader(copy, VIEWS, seed=0, global_batch=4, points=True)
