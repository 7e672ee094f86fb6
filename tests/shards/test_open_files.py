"""However many files are read, few are open; and too few are told."""

import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.open_files import OpenFiles, raise_limit


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / str(number) for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes((number * 7 + place) % 256 for place in range(300)))
    return paths


def read(opened: OpenFiles, path: Path, offset: int, size: int) -> bytes:
    memory = bytearray(size)
    return bytes(memory[: opened.read_into(memoryview(memory), str(path), offset)])


def descriptors(folder: Path) -> int:
    """Descriptors of files in folder. Others come and go with what earlier tests left to collect."""
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += one.readlink().parent == folder
    return found


@pytest.mark.slow
@given(
    most=st.integers(1, 5),
    asked=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 310), st.integers(0, 310)), max_size=40),
)
def test_reads_what_the_file_holds_with_at_most_so_many_open(
    files: list[Path], most: int, asked: list[tuple[int, int, int]]
) -> None:
    opened, folder = OpenFiles(most), files[0].parent.resolve()
    assert descriptors(folder) == 0
    for number, offset, size in asked:
        expected = files[number].read_bytes()[offset : offset + size]
        assert read(opened, files[number], offset, size) == expected
        assert len(opened) <= most
        assert descriptors(folder) == len(opened)
    del opened
    assert descriptors(folder) == 0


def test_threads_read_from_files_that_others_put_away(files: list[Path]) -> None:
    opened = OpenFiles(2)
    expected = [path.read_bytes() for path in files]

    def same(turn: int) -> bool:
        number = turn * 7 % len(files)
        return read(opened, files[number], 0, 300) == expected[number]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, range(2000)))
    assert len(opened) <= 2


def test_a_limit_that_others_use_up_is_met_by_keeping_fewer_open(files: list[Path]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = OpenFiles(100)
    try:
        used = {int(one.name) for one in Path("/proc/self/fd").iterdir()}
        free = [number for number in range(len(used) + 10) if number not in used]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[6], hard))
        for _ in range(2):
            for number, path in enumerate(files):
                assert read(opened, path, 0, 1) == bytes([number * 7 % 256])
        assert 0 < len(opened) < 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_is_raised_to_what_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert raise_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
