"""Error against discarded share, against a loop that discards picture by picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics.discard import error_by_discard

QUALITIES = st.one_of(st.integers(0, 5).map(float), st.just(float("nan")), st.just(float("-inf")))


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), QUALITIES), max_size=30))
def test_as_a_loop_that_discards_the_worst(pictures: list[tuple[bool, float]]) -> None:
    shares, rest = error_by_discard([error for error, _ in pictures], [quality for _, quality in pictures])
    known = [(error, quality) for error, quality in pictures if not np.isnan(quality)]
    slow = []
    for least in sorted({quality for _, quality in known}):
        kept = [error for error, quality in known if quality >= least]
        slow.append((1 - len(kept) / len(known), np.mean(kept)))
    assert np.stack([shares, rest], axis=1) == pytest.approx(np.array(slow).reshape(-1, 2))


def test_a_quality_that_knows_the_errors_removes_them_first() -> None:
    errors = np.array([True, False, False, True])
    shares, rest = error_by_discard(errors, np.where(errors, 1.0, 2.0))
    assert shares.tolist() == [0, 0.5]
    assert rest.tolist() == [0.5, 0]
