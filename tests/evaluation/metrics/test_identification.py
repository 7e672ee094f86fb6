"""Identification metrics against slow loops, and at the sizes of the real sets."""

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from evaluation.metrics import identification
from evaluation.metrics.identification import (
    MatedRanks,
    average_precisions,
    best_scores,
    cmc,
    cosines,
    l2_normalised,
    mated_ranks,
    mean_templates,
    pair_cosines,
    rank_rate,
    tpir_area,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.metrics.verification import threshold_at_rate


def embeddings(n: int, seed: int, coarse: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], (n, 3)) if coarse else rng.normal(size=(n, 5))


def standing(ranks: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> MatedRanks:
    none = np.full(len(ranks), -1)
    return MatedRanks(np.asarray(ranks, dtype=np.int64), np.asarray(scores, dtype=float), none, none, none - np.inf)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 999), coarse=st.booleans(), people=st.integers(1, 6))
def test_ranks_equal_the_slow_loop(seed: int, coarse: bool, people: int) -> None:
    rng = np.random.default_rng(seed)
    probes, gallery = embeddings(9, seed, coarse), embeddings(7, seed + 1, coarse)
    probe_ids, gallery_ids = rng.integers(0, people, 9), rng.integers(0, people, 7)
    found = mated_ranks(probes, probe_ids, gallery, gallery_ids)
    scores = np.round(l2_normalised(probes) @ l2_normalised(gallery).T, 12)
    for row in range(9):
        true = [scores[row, c] for c in range(7) if gallery_ids[c] == probe_ids[row]]
        others = [scores[row, c] for c in range(7) if gallery_ids[c] != probe_ids[row]]
        if others:
            assert found.rival_scores[row] == max(others) == scores[row, found.rivals[row]]
            assert gallery_ids[found.rivals[row]] != probe_ids[row]
        else:
            assert (found.rivals[row], found.rival_scores[row]) == (-1, -np.inf)
        if not true:
            assert (found.ranks[row], found.matches[row], found.scores[row]) == (0, -1, -np.inf)
            continue
        assert found.ranks[row] == 1 + sum(score >= max(true) for score in others)
        assert found.scores[row] == max(true) == scores[row, found.matches[row]]
        assert gallery_ids[found.matches[row]] == probe_ids[row]
        assert found.matches[row] == min(
            c for c in range(7) if gallery_ids[c] == probe_ids[row] and scores[row, c] == max(true)
        )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999))
def test_average_precision_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probes, gallery = embeddings(6, seed, False), embeddings(15, seed + 1, False)
    probe_ids, gallery_ids = rng.integers(0, 4, 6), rng.integers(0, 4, 15)
    found = average_precisions(probes, probe_ids, gallery, gallery_ids)
    scores = l2_normalised(probes) @ l2_normalised(gallery).T
    for row in range(6):
        truth = gallery_ids == probe_ids[row]
        expected = average_precision_score(truth, scores[row]) if truth.any() else 0.0
        assert math.isclose(found[row], expected, abs_tol=1e-9)


def test_among_equal_scores_the_true_ones_stand_last() -> None:
    same = np.ones((3, 2))
    assert average_precisions(same[:1], ["a"], same, ["a", "b", "c"]).tolist() == [1 / 3]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    probes, gallery = rng.normal(size=(50, 96)), rng.normal(size=(20, 96))
    ids = np.arange(50) % 20
    whole = mated_ranks(probes, ids, gallery, np.arange(20))
    best, row = best_scores(probes, gallery)
    precisions = average_precisions(probes, ids, gallery, np.arange(20))
    for rows in (1, 7):
        monkeypatch.setattr(identification, "_BLOCK_BYTES", 8 * 20 * rows)
        monkeypatch.setattr(identification, "_ROWS", 3)
        parts = mated_ranks(probes, ids, gallery, np.arange(20))
        for field in ("ranks", "scores", "matches", "rivals", "rival_scores"):
            np.testing.assert_array_equal(getattr(whole, field), getattr(parts, field))
        np.testing.assert_array_equal(best, best_scores(probes, gallery)[0])
        np.testing.assert_array_equal(row, best_scores(probes, gallery)[1])
        np.testing.assert_array_equal(precisions, average_precisions(probes, ids, gallery, np.arange(20)))
        templates, _ = mean_templates(probes, ids)
        np.testing.assert_allclose(templates[3], l2_normalised(l2_normalised(probes)[[3, 23, 43]].sum(0)[None])[0])


def test_copies_of_a_picture_tie_wherever_they_stand() -> None:
    """A product of matrices rounds its last columns differently; two equal pictures must still score the same."""
    rng = np.random.default_rng(1)
    probes, one = rng.normal(size=(64, 512)), rng.normal(size=512)
    for size in (7, 130, 1001):
        gallery = np.tile(one, (size, 1))
        assert len(np.unique(cosines(probes[:1], gallery))) == 1
        found = mated_ranks(probes, np.zeros(64), gallery, np.arange(size))
        assert (found.ranks == size).all(), "every copy ties with the true one, and a tie counts against"
        assert (found.scores == found.rival_scores).all()
    np.testing.assert_array_equal(pair_cosines(probes, np.tile(one, (64, 1))), cosines(probes, one[None])[:, 0])


def test_identities_may_be_text_or_numbers() -> None:
    probes, gallery = embeddings(9, 3, False), embeddings(7, 4, False)
    probe_ids, gallery_ids = np.arange(9) % 4, np.arange(7) % 5
    numbers = mated_ranks(probes, probe_ids, gallery, gallery_ids)
    text = mated_ranks(probes, [f"p{n}" for n in probe_ids], gallery, [f"p{n}" for n in gallery_ids])
    np.testing.assert_array_equal(numbers.ranks, text.ranks)


_REAL_SIZE = """
import resource
import numpy as np
from evaluation.metrics.identification import average_precisions, best_scores, mated_ranks, mean_templates

rng = np.random.default_rng(0)
def vectors(count):
    return rng.standard_normal((count, {size}), dtype=np.float32)

gallery, mated, unmated = vectors({gallery}), vectors({mated}), vectors({unmated})
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
owners, people = np.arange(len(gallery)) % {people}, np.arange(len(mated)) % {people}
templates, names = mean_templates(gallery, owners.astype(str))
ranked = mated_ranks(mated, people.astype(str), templates, names)
best, _ = best_scores(unmated, templates)
precisions = average_precisions(mated[:{searched}], people[:{searched}], gallery, owners)
assert (ranked.ranks >= 1).all() and np.isfinite(best).all() and (precisions > 0).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) // 1024)
"""


@pytest.mark.soak
def test_memory_is_bounded_at_real_sizes() -> None:
    """Open-set SurvFace's 60,294 gallery and 182,159 probe pictures; TinyFace's gallery is of the same kind.

    The vectors are short, so that the test is quick. What is bounded is what is beside them: a block of scores,
    and the gallery in double precision. A whole matrix of scores would take 4 gigabytes here.
    """
    sizes = {"size": 8, "gallery": 60_294, "mated": 60_423, "unmated": 121_736, "people": 1_500, "searched": 500}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _REAL_SIZE.format(**sizes)], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 900, f"{done.stdout.strip()} MiB beside the embeddings"


def test_cmc_counts_places() -> None:
    ranks, share = cmc([1, 2, 2, 5, 0], 4)
    assert ranks.tolist() == [1, 2, 3, 4]
    assert share.tolist() == [0.2, 0.6, 0.6, 0.6]
    assert np.isnan(cmc([], 2)[1]).all()


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
    mated = standing(rng.integers(0, 5, 30), np.round(rng.random(30), 1))
    unmated = np.round(rng.random(40), 1)
    threshold = threshold_at_rate(unmated, fpir)
    hits = sum(1 <= r <= rank and s > threshold for r, s in zip(mated.ranks, mated.scores, strict=True))
    assert tpir_at_fpir(mated, unmated, fpir, rank) == hits / 30
    assert (unmated > threshold).mean() <= fpir


def test_the_area_is_that_of_the_steps() -> None:
    mated = standing([1, 1, 0, 21], [0.9, 0.35, 0.99, 0.8])
    unmated = [0.5, 0.4, 0.3, 0.1]
    fpir, tpir = tpir_curve(mated, unmated)
    assert fpir.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tpir.tolist() == [0.25, 0.25, 0.5, 0.5, 0.5]
    assert tpir_area(mated, unmated) == pytest.approx(0.25 * (0.25 + 0.25 + 0.5 + 0.5))
    fine = np.mean([tpir_at_fpir(mated, unmated, k / 1000) for k in range(1000)])
    assert tpir_area(mated, unmated) == pytest.approx(fine)


def test_nothing_to_measure_is_nan() -> None:
    empty = standing([], [])
    assert math.isnan(rank_rate([], 1))
    assert math.isnan(tpir_at_fpir(empty, [0.1], 0.1))
    assert math.isnan(tpir_area(empty, [0.1]))
    assert [len(part) for part in tpir_curve(empty, [0.1])] == [0, 0]
    assert [len(part) for part in tpir_curve(standing([1], [0.5]), [])] == [0, 0]
    assert best_scores(np.empty((0, 3)), np.ones((2, 3)))[0].size == 0
    assert best_scores(np.ones((2, 3)), np.empty((0, 3)))[0].tolist() == [-np.inf, -np.inf]
    assert mated_ranks(np.ones((2, 3)), [1, 2], np.empty((0, 3)), []).ranks.tolist() == [0, 0]
    assert average_precisions(np.empty((0, 3)), [], np.ones((2, 3)), [1, 2]).size == 0
