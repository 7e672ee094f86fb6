"""Real small pictures in place of reduced views: of the right person, at their own size, on any number of ranks."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.sampling.crops import Crops
from pipeline.sampling.views import Views
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import folder
from shards.command import UserError
from shards.index import ShardIndex

VIEWS = Views(sizes=(32, 32, "8..20", 14), photos="paired", mirror=0.0)


def batches(folder: Path, crops: Path | None, count: int, **wanted: object) -> list[Batch]:
    loader = Loader(folder, VIEWS, crops=crops, **{"seed": 4, "global_batch": 6, **wanted})  # type: ignore[arg-type]
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


@given(share=st.floats(0, 1), step=st.integers(0, 10**9), seed=st.integers(0, 10**6))
def test_only_reduced_views_of_people_who_have_some_show_one_of_theirs(share: float, step: int, seed: int) -> None:
    starts, ends = np.array([100, 0, 103]), np.array([103, 0, 104])
    photos, labels = np.arange(40).reshape(10, 4), np.arange(10) % 3
    found = Crops(starts, ends, (2, 3), share, seed).stand_in(photos, labels, step)
    taken = found != photos
    assert not taken[:, :2].any() and not taken[labels == 1].any()
    for row, view in np.argwhere(taken):
        assert starts[labels[row]] <= found[row, view] < ends[labels[row]]
    if share in (0, 1):
        assert (taken[:, 2:][labels != 1] == bool(share)).all()


def test_they_are_uniform_and_come_at_their_share() -> None:
    crops = Crops(np.array([10]), np.array([13]), (0,), 0.25, seed=0)
    photos, labels = np.zeros((1000, 1), dtype=np.int64), np.zeros(1000, dtype=np.int64)
    found = np.concatenate([crops.stand_in(photos, labels, step) for step in range(12)]).ravel()
    counts = np.bincount(found, minlength=13)
    # Five standard deviations of 12,000 draws.
    assert abs(counts[0] / 12_000 - 0.75) < 0.02
    assert np.all(np.abs(counts[10:] / 12_000 - 0.25 / 3) < 0.013)


def test_a_view_is_the_persons_own_picture_at_its_own_size(shards: Path, crops: Path) -> None:
    people, small = ShardIndex.open(shards), ShardIndex.open(crops)
    seen = 0
    for batch in batches(shards, crops, 6, crop_share=1.0):
        sides = batch.sides()
        for row, label in enumerate(batch.labels.tolist()):
            name = people.names[label]
            for view, photo in enumerate(batch.photos[row].tolist()):
                if view < 2 or name not in small.names:
                    assert people.first[label] <= photo < people.first[label + 1]
                    continue
                place = photo - people.photos
                own = small.names.index(name)
                assert small.first[own] <= place < small.first[own + 1]
                native = int(small.records[place]["native"])
                assert native in (9, 12, 15) and sides[row, view] <= native
                if view == 3 and native < 14:
                    face = Image.open(io.BytesIO(bytes(small.read(place)))).convert("RGB")
                    expected = np.asarray(face.resize((native, native), Image.Resampling.BICUBIC))
                    drawn = batch.views[view]
                    assert not isinstance(drawn, torch.Tensor)
                    (group,) = (faces for rows, faces in zip(drawn.rows, drawn.faces, strict=True) if row in rows)
                    (found,) = (
                        faces[rows.tolist().index(row)]
                        for rows, faces in zip(drawn.rows, drawn.faces, strict=True)
                        if row in rows
                    )
                    assert group.shape[1] == native
                    np.testing.assert_array_equal(found.numpy(), expected)
                    seen += 1
    assert seen > 10


def test_ranks_share_the_batch_of_one_and_nothing_else_changes(shards: Path, crops: Path) -> None:
    mixed, plain = batches(shards, crops, 3), batches(shards, None, 3)
    parts = [batches(shards, crops, 3, rank=rank, world=2) for rank in (0, 1)]
    for step, (batch, without) in enumerate(zip(mixed, plain, strict=True)):
        assert torch.equal(batch.labels, without.labels)
        assert torch.equal(batch.photos[:, :2], without.photos[:, :2])
        assert not torch.equal(batch.photos, without.photos)
        # (V b, 3, S, S) of each rank -> (V, b, 3, S, S) -> (V B, 3, S, S)
        joined = torch.cat([part[step].network_input().unflatten(0, (4, 3)) for part in parts], dim=1)
        assert torch.equal(joined.flatten(0, 1), batch.network_input())
    later = batches(shards, crops, 1, start_step=2)[0]
    assert torch.equal(later.photos, mixed[2].photos) and torch.equal(later.network_input(), mixed[2].network_input())


def test_for_a_damaged_one_a_photo_of_the_person_stands_in(shards: Path, crops: Path, tmp_path: Path) -> None:
    copy = tmp_path / "crops"
    shutil.copytree(crops, copy)
    small, people = ShardIndex.open(copy), ShardIndex.open(shards)
    for tar in copy.glob("*.tar"):
        data = bytearray(tar.read_bytes())
        for row in range(small.photos):
            if small.folder / small.key(row)[0] == tar:
                data[int(small.records[row]["offset"]) + 40] ^= 255
        tar.write_bytes(data)
    listed = tmp_path / "quarantine.csv"
    wanted = {"crop_share": 1.0, "quarantine": listed, "largest_damaged_share": 0.9}
    for batch, plain in zip(batches(shards, copy, 3, **wanted), batches(shards, None, 3), strict=True):
        assert torch.equal(batch.photos[:, :2], plain.photos[:, :2])
        for row, label in enumerate(batch.labels.tolist()):
            assert all(people.first[label] <= photo < people.first[label + 1] for photo in batch.photos[row].tolist())
    assert "CRC-32" in listed.read_text()


def test_what_has_no_photos_to_go_with_is_told(
    shards: Path, orl_shards: Path, crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batches(shards, crops, 1)
    assert "1 of 7 identities of" in capsys.readouterr().err
    (tmp_path / "others" / "nobody").mkdir(parents=True)
    Image.new("RGB", (12, 12)).save(tmp_path / "others" / "nobody" / "1.png")
    settings = Settings(size=32, template="whole", min_photos=1)
    shard(Plan(folder(tmp_path / "others", [], aligned=True), settings), tmp_path / "small", workers=1)
    with pytest.raises(UserError, match="name the people of both alike"):
        Loader(shards, VIEWS, seed=0, global_batch=2, crops=tmp_path / "small")
    with pytest.raises(UserError, match="cannot be mixed"):
        Loader(orl_shards, Views(sizes=(64, 8)), seed=0, global_batch=2, crops=crops)
    with pytest.raises(UserError, match="without a reduced view"):
        Loader(shards, Views(sizes=(32,)), seed=0, global_batch=2, crops=crops)
