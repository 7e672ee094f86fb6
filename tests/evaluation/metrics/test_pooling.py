"""Pooling against a slow loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics.pooling import pool


@given(st.integers(0, 999), st.integers(0, 12), st.integers(1, 4))
def test_pooling_is_that_of_a_loop(seed: int, faces: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, sizes = rng.normal(size=(faces, 5)), rng.uniform(8, 80, faces)
    tracks = rng.integers(0, count, faces)
    pooled = pool(vectors, sizes, tracks, count)
    assert pooled.weighted.shape == pooled.plain.shape == (count, 5)
    for track in range(count):
        weighted, plain, total = np.zeros(5), np.zeros(5), 0.0
        for row in np.flatnonzero(tracks == track):
            norm = np.sqrt(sum(value**2 for value in vectors[row]))
            unit = vectors[row] / norm
            weighted, plain = weighted + sizes[row] * norm * unit, plain + unit
            total += sizes[row] * norm
        if not total:
            assert not pooled.weighted[track].any() and not pooled.plain[track].any()
            continue
        assert pooled.weighted[track] == pytest.approx(weighted / np.linalg.norm(weighted))
        assert pooled.plain[track] == pytest.approx(plain / np.linalg.norm(plain))
        own = tracks == track
        assert pooled.weights[own].sum() == pytest.approx(1)
        assert pooled.weights[own] == pytest.approx(sizes[own] * np.linalg.norm(vectors[own], axis=1) / total)


def test_one_face_pools_to_itself_and_order_and_scale_of_sizes_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    vectors, sizes, order = rng.normal(size=(6, 4)), rng.uniform(8, 80, 6), rng.permutation(6)
    one = pool(vectors[:1], sizes[:1], [0], 1)
    assert one.weighted[0] == pytest.approx(vectors[0] / np.linalg.norm(vectors[0]))
    here = pool(vectors, sizes, np.zeros(6, dtype=int), 1)
    there = pool(vectors[order], 3 * sizes[order], np.zeros(6, dtype=int), 1)
    assert here.weighted == pytest.approx(there.weighted) and here.plain == pytest.approx(there.plain)
