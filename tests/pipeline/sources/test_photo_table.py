"""Records on disk: several sources kept apart, and memory that does not grow with their number."""

import multiprocessing
import resource
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.datasets import Source
from pipeline.sources.landmark_list import LANDMARK_COLUMNS
from pipeline.sources.photo_table import PhotoTable
from pipeline.sources.source_records import OUTSIDE
from shards.command import UserError

names = st.text("ab/ü'\",%\n", min_size=1, max_size=4)


def table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    piece = pd.DataFrame(rows, columns=["identity", "path"])
    return piece.assign(**dict.fromkeys(LANDMARK_COLUMNS, 1.0))


def settled_slowly(listed: list[tuple[str, str]], on_disk: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return path, identity and reason of every input, "" for a usable one, by plain loops."""
    seen: set[str] = set()
    out = []
    for identity, path in listed:
        present = any(path == other for _, other in on_disk)
        fault = "line break in the name" if "\n" in identity else ""
        found = OUTSIDE if path.startswith("/") else fault if present else "missing"
        out.append((path, identity, "duplicate record" if path in seen else found))
        seen.add(path)
    return sorted([*out, *((path, identity, "no record") for identity, path in on_disk if path not in seen)])


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    listed=st.lists(st.tuples(names, names), min_size=1, max_size=12),
    on_disk=st.lists(st.tuples(names, names), min_size=1, max_size=12, unique_by=lambda row: row[1]),
)
def test_every_input_is_settled_as_by_a_slow_loop(
    listed: list[tuple[str, str]], on_disk: list[tuple[str, str]]
) -> None:
    source = Source("a", Path("root"), lambda: iter([table(listed)]), lambda: iter(on_disk), held_against_disk=True)
    with PhotoTable([source]) as records:
        usable = records.sample(1000)
        found = [*zip(usable["path"], usable["identity"], [""] * len(usable), strict=True), *records.rejects()]
    assert sorted(found) == settled_slowly(listed, on_disk)


def test_people_of_the_same_name_in_two_sources_stay_apart() -> None:
    rows = [("p1", f"p1/{photo}.jpg") for photo in range(3)]
    pair = [Source(name, Path(name), lambda: iter([table(rows)]), framing="whole") for name in ("one", "two")]
    with PhotoTable(pair) as records:
        people, counts = records.identities()
        assert (people, counts.tolist()) == (["one/p1", "two/p1"], [3, 3])
        records.deal(["two/p1"], np.array([0]), np.array([0]), "too few")
        assert set(records.of_tar(0)["source"]) == {1}
        assert [path for path, _, _ in records.rejects()] == [f"one/p1/{photo}.jpg" for photo in range(3)]


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(UserError, match="holds no photos; expected identity folders"):
        PhotoTable([Source("a", Path("root"), lambda: iter([table([])]))])


def peak_memory(photos: int) -> float:
    """Return the peak memory in MiB of a process that plans so many records and goes through all the work."""

    def listed() -> Iterator[pd.DataFrame]:
        for start in range(0, photos, 5_000):
            yield table(
                [
                    (f"n{photo // 100:06d}", f"n{photo // 100:06d}/{photo:09d}.jpg")
                    for photo in range(start, min(start + 5_000, photos))
                ]
            )

    with PhotoTable([Source("a", Path("root"), listed)]) as records:
        people, _ = records.identities()
        order = np.random.default_rng(0).permutation(len(people))
        records.deal([people[label] for label in order], order, np.arange(len(people)) // 20, "too few")
        assert records.photos_per_tar().sum() == photos
        assert sum(len(records.of_tar(tar)) for tar in range((len(people) + 19) // 20)) == photos
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.soak
def test_memory_does_not_grow_with_the_records() -> None:
    peaks = []
    for photos in (10_000, 300_000):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peaks.append(pool.submit(peak_memory, photos).result())
    # In memory 300,000 rows of ten numbers and two names would take 100 MiB by themselves, and their sorting as much.
    assert peaks[1] - peaks[0] < 100, peaks


def test_the_folders_of_killed_commands_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = tmp_path / "records-killed"
    killed.mkdir()
    (killed / "held").touch()
    (killed / "records.duckdb").write_bytes(b"much")
    other = tmp_path / "records-of-another-program"
    other.mkdir()
    source = Source("a", Path("root"), lambda: iter([table([("a", "a/1")])]))
    with PhotoTable([source]), PhotoTable([source]) as alive:
        assert not killed.exists()
        assert other.exists()
        assert len(list(tmp_path.glob("records-*/held"))) == 2
        assert alive.inputs == 1
    assert list(tmp_path.iterdir()) == [other]
