"""The order is arithmetic: every property of it is checked against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pipeline.sampling.epoch_order import epoch_order, steps_per_epoch
from pipeline.sampling.sampler import Draw, Sampler, substitutes
from pipeline.sampling.views import Views
from shards.command import UserError


def first_photos(identities: int, seed: int = 0) -> np.ndarray:
    counts = np.random.default_rng(seed).integers(1, 9, identities)
    return np.concatenate([[0], np.cumsum(counts)])


def draw_all(first: np.ndarray, step: int, batch: int, world: int, seed: int = 3) -> list[Draw]:
    sampler = Sampler.of([first], Views(), seed=seed, global_batch=batch)
    return [sampler.draw(step, rank, world) for rank in range(world)]


@settings(max_examples=60, deadline=None)
@given(identities=st.integers(1, 5000), seed=st.integers(0, 2**32), epoch=st.integers(0, 50))
def test_an_epoch_is_a_permutation(identities: int, seed: int, epoch: int) -> None:
    order = epoch_order(np.arange(identities), identities, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(identities))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(share=st.integers(1, 8), world=st.integers(1, 6), extra=st.integers(0, 20), step=st.integers(0, 10**9))
def test_ranks_put_together_are_the_global_batch(share: int, world: int, extra: int, step: int) -> None:
    batch = share * world
    first = first_photos(batch + extra)
    whole = draw_all(first, step, batch, 1)[0]
    parts = draw_all(first, step, batch, world)
    for field in ("identities", "photos", "mirrored"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field))
    assert [part.first_row for part in parts] == [rank * share for rank in range(world)]
    assert len(np.unique(whole.identities)) == batch


@settings(max_examples=60, deadline=None)
@given(identities=st.integers(4, 300), step=st.integers(0, 10**6), seed=st.integers(0, 100))
def test_every_view_is_a_photo_of_its_identity(identities: int, step: int, seed: int) -> None:
    first = first_photos(identities, seed)
    drawn = draw_all(first, step, 4, 1, seed)[0]
    assert (drawn.photos >= first[drawn.identities, None]).all()
    assert (drawn.photos < first[drawn.identities + 1, None]).all()


@pytest.mark.parametrize(("identities", "batch"), [(20, 5), (23, 5), (7, 7)])
def test_an_epoch_visits_identities_at_most_once(identities: int, batch: int) -> None:
    first = first_photos(identities)
    steps = steps_per_epoch(identities, batch)
    for epoch in range(3):
        visited = np.concatenate([draw_all(first, epoch * steps + s, batch, 1)[0].identities for s in range(steps)])
        assert len(np.unique(visited)) == len(visited) == steps * batch


def test_epochs_and_seeds_give_other_orders() -> None:
    places = np.arange(500)
    orders = [epoch_order(places, 500, seed=s, epoch=e) for s in range(3) for e in range(3)]
    agreement = [(a == b).mean() for i, a in enumerate(orders) for b in orders[:i]]
    assert max(agreement) < 0.02


@pytest.mark.slow
def test_orders_are_uniform() -> None:
    counts = np.zeros((10, 10))
    for epoch in range(3000):
        counts[np.arange(10), epoch_order(np.arange(10), 10, seed=1, epoch=epoch)] += 1
    assert chisquare(counts.ravel()).pvalue > 1e-4


@pytest.mark.slow
def test_photos_and_mirrors_are_uniform_and_independent() -> None:
    first = np.arange(0, 45, 5)
    draws = [draw_all(first, step, 8, 1)[0] for step in range(2000)]
    offsets = np.concatenate([d.photos - first[d.identities, None] for d in draws])
    mirrored = np.concatenate([d.mirrored for d in draws])
    for view in range(4):
        assert chisquare(np.bincount(offsets[:, view], minlength=5)).pvalue > 1e-4
    pairs = np.bincount(offsets[:, 0] * 5 + offsets[:, 1], minlength=25)
    assert chisquare(pairs).pvalue > 1e-4
    assert abs(mirrored.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(mirrored.T) - np.eye(4)).max() < 0.05


def test_one_pinned_draw() -> None:
    """A golden order: a change here breaks the resumption of every run already started."""
    drawn = Sampler.of([np.arange(0, 1001, 10)], Views(), seed=0, global_batch=4).draw(7)
    assert drawn.identities.tolist() == [68, 59, 91, 8]
    assert drawn.photos.tolist() == [
        [681, 680, 685, 684],
        [597, 597, 596, 593],
        [911, 915, 918, 915],
        [84, 80, 88, 80],
    ]
    assert drawn.mirrored.astype(int).tolist() == [[0, 0, 1, 0], [0, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 1]]
    ranges = Sampler.of([np.arange(0, 1001, 10)], Views(sizes=(128, "8..32", "8..32")), seed=0, global_batch=4)
    assert ranges.draw(7).sides.tolist() == [[128, 27, 31], [128, 32, 13], [128, 9, 19], [128, 16, 27]]


@pytest.mark.slow
def test_views_are_mirrored_as_often_as_asked() -> None:
    views = Views(sizes=(128, 8, 12), mirror=(0.0, 0.2, 1.0))
    sampler = Sampler.of([np.arange(0, 45, 5)], views, seed=3, global_batch=8)
    never, seldom, always = np.concatenate([sampler.draw(step).mirrored for step in range(500)]).mean(axis=0)
    assert (never, always) == (0, 1)
    assert abs(seldom - 0.2) < 0.03


def test_substitutes_are_every_photo_once() -> None:
    order = substitutes(30, 41, seed=1, step=2, row=3, view=0)
    assert sorted(order.tolist()) == list(range(30, 41))
    place = {"seed": 1, "step": 2, "row": 3, "view": 0}
    for name, value in place.items():
        assert order.tolist() != substitutes(30, 41, **{**place, name: value + 1}).tolist(), name


def test_paired_views_show_the_same_photo_in_full_and_reduced() -> None:
    views = Views(sizes=(64, 64, 8, "8..12"), photos="paired")
    sampler = Sampler.of([np.arange(0, 90, 10)], views, seed=0, global_batch=8)
    draws = [sampler.draw(step) for step in range(40)]
    photos = np.concatenate([draw.photos for draw in draws])
    np.testing.assert_array_equal(photos[:, :2], photos[:, 2:])
    assert (photos[:, 0] != photos[:, 1]).mean() > 0.8
    parts = [sampler.draw(3, rank, 4).photos for rank in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts), draws[3].photos)
    with pytest.raises(UserError, match="even number"):
        Views(sizes=(64, 8, 12), photos="paired")
