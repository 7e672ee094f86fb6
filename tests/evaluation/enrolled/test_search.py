"""The search gives what all cosines in double precision give, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evaluation.enrolled.search
from evaluation.enrolled.search import GallerySearch
from evaluation.metrics.identification import cosines


def by_hand(
    probes: np.ndarray, gallery: np.ndarray, people: np.ndarray, count: int
) -> tuple[list[list[int]], list[list[int]], list[list[float]]]:
    every = cosines(probes, gallery)
    people_found, rows_found, scores_found = [], [], []
    for scores in every:
        best: dict[int, tuple[float, int]] = {}
        for row, (person, score) in enumerate(zip(people, scores, strict=True)):
            if person not in best or score > best[person][0]:
                best[int(person)] = (float(score), row)
        ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[1][1]))[:count]
        blank = count - len(ranked)
        people_found.append([person for person, _ in ranked] + [-1] * blank)
        rows_found.append([row for _, (_, row) in ranked] + [-1] * blank)
        scores_found.append([score for _, (score, _) in ranked] + [-np.inf] * blank)
    return people_found, rows_found, scores_found


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    people=st.integers(1, 12),
    probes=st.integers(1, 40),
    count=st.integers(1, 6),
    levels=st.sampled_from([2, 3, 1000]),
    block=st.sampled_from([1, 64, 1 << 20]),
)
def test_search_is_that_of_a_slow_loop(
    seed: int, rows: int, people: int, probes: int, count: int, levels: int, block: int
) -> None:
    """Few levels make many ties, and rows of zeros."""
    draw = np.random.default_rng(seed)
    gallery = draw.integers(0, levels, (rows, 5)).astype(np.float32) * np.float32(0.37)
    owners = np.sort(draw.integers(0, people, rows))
    queries = draw.integers(0, levels, (probes, 5)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.enrolled.search, "_BLOCK_BYTES", block)
        found = GallerySearch(gallery, owners).find(queries, count)
    expected = by_hand(queries, gallery, owners, count)
    assert (found.people.tolist(), found.rows.tolist()) == expected[:2]
    # The order of additions decides on which side of a half the last of twelve digits is rounded.
    np.testing.assert_allclose(found.scores, expected[2], rtol=0, atol=2e-12)


def test_neighbours_that_single_precision_cannot_tell_apart_are_ranked_exactly() -> None:
    draw = np.random.default_rng(0)
    centre = draw.normal(size=64)
    gallery = (centre + 1e-6 * draw.normal(size=(300, 64))).astype(np.float32)
    owners = np.arange(300)
    found = GallerySearch(gallery, owners).find(centre[None], 5)
    assert found.people.tolist() == by_hand(centre[None], gallery, owners, 5)[0]


def test_nobody_enrolled_gives_no_candidate() -> None:
    found = GallerySearch(np.empty((0, 4), dtype=np.float32), []).find(np.ones((2, 4)), 3)
    assert found.people.tolist() == [[-1] * 3] * 2
