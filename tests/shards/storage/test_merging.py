"""Requests cover every range once, merge what lies close, and stay within their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.byte_ranges import Range
from shards.storage.merging import merged

RANGES = st.lists(st.builds(Range, st.integers(0, 2), st.integers(0, 300), st.integers(0, 40)), max_size=30)


@pytest.mark.slow
@given(RANGES, st.integers(0, 30), st.integers(10, 100))
def test_every_range_is_covered_and_no_request_is_too_large(ranges: list[Range], gap: int, most: int) -> None:
    requests = merged(ranges, gap, most)
    assert sorted(place for request in requests for place in request.places) == list(range(len(ranges)))
    for (file, start, size, _), places in requests:
        wanted = {byte for place in places for byte in range(ranges[place].offset, sum(ranges[place][1:3]))}
        assert all(ranges[place].file == file for place in places)
        assert wanted <= set(range(start, start + size))
        assert size <= most or len(places) == 1 or size == max(ranges[place].size for place in places)
        unwanted = [byte not in wanted for byte in range(start, start + size)]
        assert longest(unwanted) <= gap


def longest(flags: list[bool]) -> int:
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


@pytest.mark.slow
@given(RANGES)
def test_without_bounds_each_file_is_one_request(ranges: list[Range]) -> None:
    assert len(merged(ranges, 10**6, 10**6)) == len({one.file for one in ranges})
