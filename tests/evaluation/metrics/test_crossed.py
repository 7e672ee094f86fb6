"""Verification over all comparisons, counted block by block, equals that over all scores kept in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics import crossed as module
from evaluation.metrics.crossed import Crossed, cross
from evaluation.metrics.identification import cosines, mated_ranks
from evaluation.metrics.verification import auc, equal_error_rate, tar_at_far, threshold_at_rate

FARS = (1.0, 0.5, 0.3, 0.1, 0.01)


def drawn(seed: int, people: int, coarse: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return probes and their people, gallery and its people; coarse ones have many equal scores."""
    rng = np.random.default_rng(seed)
    probe_ids = rng.integers(0, people + 1, rng.integers(1, 12))
    probes, gallery = rng.normal(size=(len(probe_ids), 3)), rng.normal(size=(people, 3))
    if coarse:
        probes, gallery = np.sign(probes), np.sign(gallery)
    return probes, probe_ids.astype(str), gallery, np.arange(people).astype(str)


def kept_in_memory(
    probes: np.ndarray, ids: np.ndarray, gallery: np.ndarray, owners: np.ndarray, lost: int
) -> tuple[np.ndarray, np.ndarray]:
    scores, same = cosines(probes, gallery), ids[:, None] == owners[None]
    return np.concatenate([scores[same], np.full(lost, -np.inf)]), scores[~same]


def crossed(data: tuple[np.ndarray, ...], lost: int, kept: int = 1000) -> Crossed:
    ranked = mated_ranks(*data)
    mated = np.concatenate([ranked.scores[ranked.ranks > 0], np.full(lost, -np.inf)])
    return cross(*data, mated, kept=kept)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.booleans(), st.integers(0, 2))
def test_figures_are_those_of_all_scores(seed: int, people: int, coarse: bool, lost: int) -> None:
    data = drawn(seed, people, coarse)
    found = crossed(data, lost)
    up, un = kept_in_memory(*data, lost)
    assert (len(found.mated), found.count) == (len(up), len(un))
    np.testing.assert_array_equal(np.sort(found.scores), np.sort(un))
    np.testing.assert_equal(found.auc(), auc(up, un))
    np.testing.assert_allclose(found.equal_error_rate(), equal_error_rate(up, un), atol=1e-12)
    for far in FARS:
        np.testing.assert_equal(found.tar_at_far(far), tar_at_far(up, un, far))
        if len(un):
            assert found.threshold(far) == (threshold_at_rate(un, far) if far < 1 else None)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_small_memory_moves_no_figure(seed: int, coarse: bool) -> None:
    data = drawn(seed, 8, coarse)
    whole, small = crossed(data, 1), crossed(data, 1, kept=6)
    assert small.count == whole.count
    if small.count > 6:
        assert len(small.highest) == 3
    for far in FARS:
        np.testing.assert_equal(small.tar_at_far(far), whole.tar_at_far(far))
    np.testing.assert_equal(small.auc(), whole.auc())
    np.testing.assert_equal(small.equal_error_rate(), whole.equal_error_rate())
    np.testing.assert_array_equal(small.highest, whole.highest[: len(small.highest)])


def test_blocks_of_one_probe_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = drawn(3, 8, coarse=False)
    whole = crossed(data, 0)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    again = crossed(data, 0)
    np.testing.assert_array_equal(again.at_least, whole.at_least)
    np.testing.assert_array_equal(again.scores, whole.scores)


def test_the_sample_stands_for_the_rest() -> None:
    rng = np.random.default_rng(0)
    probes, gallery = rng.normal(size=(300, 8)), rng.normal(size=(50, 8))
    ids = np.arange(300) % 50
    ranked = mated_ranks(probes, ids, gallery, np.arange(50))
    found = cross(probes, ids, gallery, np.arange(50), ranked.scores, kept=4_000)
    assert found.count == 300 * 49
    assert found.weights.sum() == pytest.approx(found.count)
    assert (found.weights[:2_000] == 1).all()
    scores = cosines(probes, gallery)
    np.testing.assert_array_equal(found.scores, scores[found.rows, found.columns])
    assert np.average(found.scores, weights=found.weights) == pytest.approx(
        scores[ids[:, None] != np.arange(50)].mean(), abs=0.02
    )


def test_a_collapsed_network_needs_no_more_memory() -> None:
    """All scores are equal: they do not all count among the highest."""
    probes, ids = np.ones((40, 2)), np.arange(40)
    found = cross(probes, ids, probes, ids, np.ones(40), kept=100)
    assert len(found.highest) == 50
    assert len(found.scores) <= 150
    assert (found.auc(), found.equal_error_rate(), found.tar_at_far(0.1)) == (0.5, 0.5, 0.0)
