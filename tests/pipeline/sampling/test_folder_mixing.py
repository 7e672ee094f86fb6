"""Several folders in one batch: exact shares, labels that follow each other, and what cannot be mixed."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.sampling.folder_mixing import identities_before_step, most_identities_per_batch, read_shares
from pipeline.sampling.sampler import Sampler
from pipeline.sampling.shard_folders import ShardFolders
from pipeline.sampling.views import Views
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import low_resolution, vggface2
from shards.command import UserError
from shards.index import ShardIndex


@settings(max_examples=100, deadline=None)
@given(
    mix=st.lists(st.integers(1, 1000), min_size=1, max_size=5), batch=st.integers(1, 200), start=st.integers(0, 10**7)
)
def test_shares_are_exact_over_steps(mix: list[int], batch: int, start: int) -> None:
    shares = read_shares(mix, len(mix))
    assert sum(shares) == 1
    most = most_identities_per_batch(shares, batch)
    before = identities_before_step(shares, batch, start)
    for step in range(start + 1, start + 6):
        after = identities_before_step(shares, batch, step)
        counts = [b - a for a, b in zip(before, after, strict=True)]
        assert sum(counts) == batch
        assert all(0 <= count <= limit for count, limit in zip(counts, most, strict=True))
        assert all(abs(total - step * batch * share) < len(mix) for total, share in zip(after, shares, strict=True))
        before = after


def test_shares_that_divide_the_batch_are_the_same_in_every_step() -> None:
    shares = read_shares([0.7, 0.3], 2)
    assert shares == (Fraction(7, 10), Fraction(3, 10))
    assert {
        tuple(np.subtract(identities_before_step(shares, 10, s + 1), identities_before_step(shares, 10, s)))
        for s in range(100)
    } == {(7, 3)}
    assert [
        b - a
        for a, b in zip(identities_before_step(shares, 128, 0), identities_before_step(shares, 128, 1000), strict=True)
    ] == [89_600, 38_400]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    identities=st.lists(st.integers(20, 60), min_size=2, max_size=3),
    share=st.integers(1, 5),
    world=st.integers(1, 3),
    sampling=st.sampled_from(["identity", "photo"]),
    seed=st.integers(0, 1000),
)
def test_every_batch_is_one_global_batch_of_different_identities(
    identities: list[int], share: int, world: int, sampling: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    firsts = [np.concatenate([[0], np.cumsum(random.integers(1, 9, n))]) for n in identities]
    shares = read_shares(random.integers(1, 20, len(identities)).tolist(), len(identities))
    sampler = Sampler.of(
        firsts,
        Views(),
        seed=seed,
        global_batch=share * world,
        sampling=sampling,
        shares=shares,  # type: ignore[arg-type]
    )
    first_label = np.cumsum([0, *identities])
    first_photo = np.cumsum([0, *(int(first[-1]) for first in firsts)])
    before = identities_before_step(shares, share * world, 0)
    for step in range(12):
        whole = sampler.draw(step)
        assert len(np.unique(whole.identities)) == share * world
        after = identities_before_step(shares, share * world, step + 1)
        folder = np.searchsorted(first_label, whole.identities, side="right") - 1
        assert np.bincount(folder, minlength=len(shares)).tolist() == np.subtract(after, before).tolist()
        for label, photos, k in zip(whole.identities, whole.photos, folder, strict=True):
            local = label - first_label[k]
            assert (photos >= firsts[k][local] + first_photo[k]).all()
            assert (photos < firsts[k][local + 1] + first_photo[k]).all()
        parts = [sampler.draw(step, rank, world) for rank in range(world)]
        for field in ("identities", "photos", "mirrored", "sides"):
            joined = np.concatenate([getattr(part, field) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, field))
        before = after


def test_a_folder_visits_its_identities_once_an_epoch_and_in_its_own_order() -> None:
    firsts = [np.arange(0, 41, 2), np.arange(0, 41, 2)]
    sampler = Sampler.of(firsts, Views(), seed=1, global_batch=8, shares=read_shares([1, 1], 2))
    steps = [sampler.draw(step).identities for step in range(5)]
    for k in range(2):
        mine = [labels[(labels >= 20 * k) & (labels < 20 * (k + 1))] - 20 * k for labels in steps]
        assert sorted(np.concatenate(mine).tolist()) == list(range(20))
    assert sorted(steps[0][steps[0] < 20].tolist()) != sorted((steps[0][steps[0] >= 20] - 20).tolist())


def test_a_folder_whose_share_varies_meets_nobody_twice_in_an_epoch() -> None:
    firsts = [np.arange(0, 41, 2), np.arange(0, 41, 2)]
    sampler = Sampler.of(firsts, Views(), seed=1, global_batch=5, shares=read_shares([1, 1], 2))
    # Two or three a step of each folder: an epoch of 20 identities is 6 steps, the most that can be served.
    for epoch in range(4):
        seen = np.concatenate([sampler.draw(6 * epoch + step).identities for step in range(6)])
        assert len(seen) == len(np.unique(seen)) == 30


def test_every_photo_is_found_in_its_folder(shards: Path, whole_pictures: Path) -> None:
    folders = ShardFolders.open([shards, whole_pictures])
    first, second = folders.indexes
    expected = [(first, row) for row in range(first.photos)] + [(second, row) for row in range(second.photos)]
    assert [folders.locate(photo) for photo in range(folders.photos)] == expected


@pytest.fixture(scope="module")
def whole_pictures(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered surveillance pictures, 32 x 32, natively smaller."""
    out = tmp_path_factory.mktemp("mixing") / "survface"
    root = rendered / "QMUL-SurvFace" / "QMUL-SurvFace"
    shard(Plan(low_resolution("survface", root), Settings(size=32, template="whole")), out, workers=1)
    return out


def batches(folders: list[Path], count: int, views: Views, **wanted: object) -> list[Batch]:
    loader = Loader(folders, views, **{"seed": 2, "global_batch": 8, **wanted})  # type: ignore[arg-type]
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


def test_two_folders_make_one_batch(shards: Path, whole_pictures: Path) -> None:
    views = Views(sizes=(32, "8..20"), mirror=0.0)
    mixed = batches([shards, whole_pictures], 6, views, mix=[3, 1])
    indexes = [ShardIndex.open(folder) for folder in (shards, whole_pictures)]
    for batch in mixed:
        second = batch.labels >= indexes[0].identities
        assert second.sum() == 2
        assert ((batch.photos >= indexes[0].photos) == second[:, None]).all()
        alone = [batch.photos[row, 0].item() for row in range(8)]
        full = batch.views[0]
        assert isinstance(full, torch.Tensor)
        for row, photo in enumerate(alone):
            index = indexes[int(second[row])]
            local = photo - int(second[row]) * indexes[0].photos
            face = np.asarray(Image.open(io.BytesIO(bytes(index.read(local)))).convert("RGB"))
            np.testing.assert_array_equal(full[row].numpy(), face)
    parts = [batches([shards, whole_pictures], 6, views, mix=[3, 1], rank=r, world=2) for r in range(2)]
    for step, batch in enumerate(mixed):
        # (V b, 3, S, S) of each rank -> (V, b, 3, S, S) -> (V B, 3, S, S)
        joined = torch.cat([part[step].network_input().unflatten(0, (2, 4)) for part in parts], dim=1)
        assert torch.equal(joined.flatten(0, 1), batch.network_input())


def test_folders_that_do_not_go_together_are_refused(
    shards: Path, orl_shards: Path, whole_pictures: Path, rendered: Path, train_list: Path, tmp_path: Path
) -> None:
    views = Views(sizes=(32, 8))
    with pytest.raises(UserError, match=r"orl and .*vggface2 cannot be mixed: size 64 against 32"):
        batches([shards, orl_shards], 1, views)
    centred = tmp_path / "centred"
    shard(
        Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=32, template="centred")), centred, workers=1
    )
    with pytest.raises(UserError, match="cannot be mixed: template centred against paper"):
        batches([whole_pictures, shards, centred], 1, views)
    assert Loader([whole_pictures, centred], views, seed=0, global_batch=4).preprocessing.template == "centred"
    with pytest.raises(UserError, match="named twice"):
        batches([shards, shards], 1, views)
    for mix, says in (([1], "1 mix shares for 2"), ([1, 0], "a positive number"), ([1, float("nan")], "a positive")):
        with pytest.raises(UserError, match=says):
            batches([shards, whole_pictures], 1, views, mix=mix)
    with pytest.raises(UserError, match=r"a batch of 13 identities needed from .*vggface2, .* or a smaller share"):
        batches([shards, whole_pictures], 1, views, global_batch=14, mix=[13, 1])
