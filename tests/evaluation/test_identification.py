"""Identification metrics against slow loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from evaluation import identification
from evaluation.identification import (
    MatedRanks,
    average_precisions,
    best_scores,
    l2_normalised,
    mated_ranks,
    mean_templates,
    pair_cosines,
    rank_rate,
    tpir_area,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.verification import threshold_at_rate


def embeddings(n: int, seed: int, coarse: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], (n, 3)) if coarse else rng.normal(size=(n, 5))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 999), coarse=st.booleans(), people=st.integers(1, 6))
def test_ranks_equal_the_slow_loop(seed: int, coarse: bool, people: int) -> None:
    rng = np.random.default_rng(seed)
    probes, gallery = embeddings(9, seed, coarse), embeddings(7, seed + 1, coarse)
    probe_ids, gallery_ids = rng.integers(0, people, 9), rng.integers(0, people, 7)
    found = mated_ranks(probes, probe_ids, gallery, gallery_ids)
    cosines = l2_normalised(probes) @ l2_normalised(gallery).T
    for row in range(9):
        true = [cosines[row, c] for c in range(7) if gallery_ids[c] == probe_ids[row]]
        if not true:
            assert found.ranks[row] == 0
            continue
        ahead = sum(cosines[row, c] >= max(true) for c in range(7) if gallery_ids[c] != probe_ids[row])
        assert found.ranks[row] == 1 + ahead
        assert found.scores[row] == max(true)
        assert cosines[row, found.best[row]] == cosines[row].max()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999))
def test_average_precision_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probes, gallery = embeddings(6, seed, False), embeddings(15, seed + 1, False)
    probe_ids, gallery_ids = rng.integers(0, 4, 6), rng.integers(0, 4, 15)
    found = average_precisions(probes, probe_ids, gallery, gallery_ids)
    cosines = l2_normalised(probes) @ l2_normalised(gallery).T
    for row in range(6):
        truth = gallery_ids == probe_ids[row]
        expected = average_precision_score(truth, cosines[row]) if truth.any() else 0.0
        assert math.isclose(found[row], expected, abs_tol=1e-9)


def test_among_equal_scores_the_true_ones_stand_last() -> None:
    same = np.ones((3, 2))
    assert average_precisions(same[:1], ["a"], same, ["a", "b", "c"]).tolist() == [1 / 3]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    probes, gallery = embeddings(50, 0, False), embeddings(20, 1, False)
    ids = np.arange(50) % 20
    whole = mated_ranks(probes, ids, gallery, np.arange(20))
    best = best_scores(probes, gallery)
    monkeypatch.setattr(identification, "_BLOCK_BYTES", 8 * 20 * 7)
    parts = mated_ranks(probes, ids, gallery, np.arange(20))
    np.testing.assert_array_equal(whole.ranks, parts.ranks)
    np.testing.assert_allclose(best, best_scores(probes, gallery))


def test_templates_are_means_of_directions() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 9.0], [0.0, -1.0]])
    templates, names = mean_templates(vectors, ["a", "a", "b"])
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(templates, [[math.sqrt(0.5), math.sqrt(0.5)], [0, -1]])


def test_cosines_of_pairs() -> None:
    np.testing.assert_allclose(pair_cosines([[1.0, 0], [1, 1]], [[0.0, 2], [3, 3]]), [0, 1], atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 999), rank=st.integers(1, 4), fpir=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0]))
def test_tpir_equals_its_definition(seed: int, rank: int, fpir: float) -> None:
    rng = np.random.default_rng(seed)
    mated = MatedRanks(rng.integers(0, 5, 30), np.round(rng.random(30), 1), np.zeros(30, dtype=np.int64))
    unmated = np.round(rng.random(40), 1)
    threshold = threshold_at_rate(unmated, fpir)
    hits = sum(1 <= r <= rank and s > threshold for r, s in zip(mated.ranks, mated.scores, strict=True))
    assert tpir_at_fpir(mated, unmated, fpir, rank) == hits / 30
    assert (unmated > threshold).mean() <= fpir


def test_the_area_is_that_of_the_steps() -> None:
    mated = MatedRanks(np.array([1, 1, 0, 21]), np.array([0.9, 0.35, 0.99, 0.8]), np.zeros(4, dtype=np.int64))
    unmated = [0.5, 0.4, 0.3, 0.1]
    fpir, tpir = tpir_curve(mated, unmated)
    assert fpir.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tpir.tolist() == [0.25, 0.25, 0.5, 0.5, 0.5]
    assert tpir_area(mated, unmated) == pytest.approx(0.25 * (0.25 + 0.25 + 0.5 + 0.5))
    fine = np.mean([tpir_at_fpir(mated, unmated, k / 1000) for k in range(1000)])
    assert tpir_area(mated, unmated) == pytest.approx(fine)


def test_nothing_to_measure_is_nan() -> None:
    empty = MatedRanks(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=np.int64))
    assert math.isnan(rank_rate([], 1))
    assert math.isnan(tpir_at_fpir(empty, [0.1], 0.1))
    assert math.isnan(tpir_area(empty, [0.1]))
    assert best_scores(np.empty((0, 3)), np.ones((2, 3))).size == 0
