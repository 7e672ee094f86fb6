"""The order in which photos are visited, against what it promises."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pipeline.sampling.epoch_order import PhotoOrder
from pipeline.sampling.sampler import Sampler
from pipeline.sampling.views import Views


def first_of(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])


def epoch(order: PhotoOrder, number: int) -> list[np.ndarray]:
    """The photos of every batch of an epoch; the labels are checked on the way."""
    shown = []
    for step in range(number * order.steps, (number + 1) * order.steps):
        labels, photos, ends = order.items(step, order.batch)
        assert len(np.unique(labels)) == order.batch, "identities of a batch are all different"
        assert (photos >= order.first[labels]).all()
        assert (photos < order.first[labels + 1]).all()
        assert (ends == photos + 1).all()
        shown.append(photos)
    return shown


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=60),
    batch=st.integers(1, 16),
    seed=st.integers(0, 2**40),
    number=st.integers(0, 1000),
)
def test_an_epoch_shows_every_photo_once(counts: list[int], batch: int, seed: int, number: int) -> None:
    """All photos but the rest that fills no batch, and those of an identity with more photos than batches."""
    batch = min(batch, len(counts))
    order = PhotoOrder.of(first_of(np.array(counts)), batch, seed)
    photos = np.concatenate(epoch(order, number))
    assert len(np.unique(photos)) == len(photos) == order.steps * batch
    possible = sum(min(count, order.steps) for count in counts)
    assert possible - len(photos) < batch
    # One batch more would need some identity twice, or photos that there are not.
    longer = order.steps + 1
    assert sum(min(count, longer) for count in counts) < longer * batch


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "batch"), [([10] * 25, 25), ([5] * 12, 6), (list(range(1, 41)) * 2, 20)])
def test_nothing_is_left_out_where_the_batch_divides_the_photos(counts: list[int], batch: int) -> None:
    order = PhotoOrder.of(first_of(np.array(counts)), batch, seed=1)
    for number in range(3):
        assert sorted(np.concatenate(epoch(order, number))) == list(range(sum(counts)))


@pytest.mark.slow
def test_what_is_left_out_differs_from_epoch_to_epoch() -> None:
    counts = np.array([7] * 10 + [3] * 11)
    order = PhotoOrder.of(first_of(counts), 8, seed=4)
    seen = np.zeros(counts.sum(), dtype=int)
    for number in range(150):
        seen[np.concatenate(epoch(order, number))] += 1
    assert chisquare(seen).pvalue > 1e-4


@pytest.mark.slow
def test_epochs_are_shuffled_anew_and_identities_meet_many_others() -> None:
    order = PhotoOrder.of(first_of(np.full(60, 6)), 4, seed=2)
    batches = [frozenset((photos // 6).tolist()) for number in range(3) for photos in epoch(order, number)]
    assert order.steps == 90
    assert len(set(batches)) > 0.8 * len(batches), "the same people do not keep meeting"
    met = set().union(*(batch for batch in batches[:90] if 0 in batch)) - {0}
    assert len(met) >= 10, "of 18 in six batches of four"


@pytest.mark.slow
def test_all_views_of_an_item_come_from_its_photo() -> None:
    first = first_of(np.array([3, *range(3, 33)]))
    sampler = Sampler.of([first], Views(), seed=1, global_batch=6, sampling="photo")
    steps = sampler.orders[0].steps
    seen = []
    for step in range(steps):
        drawn = sampler.draw(step)
        assert (drawn.photos == drawn.photos[:, :1]).all()
        seen.append(drawn.photos[:, 0])
        halves = [sampler.draw(step, rank, 2) for rank in range(2)]
        np.testing.assert_array_equal(np.concatenate([half.photos for half in halves]), drawn.photos)
    assert sorted(np.concatenate(seen)) == list(range(first[-1]))


def test_one_pinned_order_of_photos() -> None:
    """A golden order: a change here breaks the resumption of every run already started."""
    order = PhotoOrder.of(np.arange(0, 1001, 10), 4, seed=0)
    assert order.items(257, 4)[1].tolist() == [52, 758, 625, 988]


@pytest.mark.slow
def test_a_step_of_a_large_set_is_drawn_as_quickly_as_one_of_a_small_set() -> None:
    counts = np.random.default_rng(0).integers(1, 60, 200_000)
    seconds = []
    for people in (2_000, 200_000):
        order = PhotoOrder.of(first_of(counts[:people]), 128, seed=0)
        order.items(0, 128)
        start = time.process_time()
        for step in range(0, 200):
            order.items(step * 37 % order.steps, 128)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 5 * seconds[0]
