"""Ranges from a real web server are those of the files, whatever the server does wrong; and all is bounded."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.byte_ranges import Bytes, LocalFiles, Range, Unread
from shards.command import UserError
from shards.storage.limits import Kept, Limits
from shards.storage.places import RemotePath
from shards.storage.remote_files import RemoteFiles
from tests.shards.storage.http_server import Faults, serving

NAMES = ["a.tar", "b.tar"]
QUICK = Limits(in_flight=8, timeout_s=0.5, patience_s=20)
Served = tuple[Path, RemotePath, Faults]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(np.random.default_rng(number).bytes(300_000))
    with serving(tmp_path) as (url, faults):
        yield tmp_path, RemotePath(url, limits=QUICK), faults


def reader(folder: Path, remote: RemotePath) -> RemoteFiles:
    return RemoteFiles(remote, [(name, sha256((folder / name).read_bytes()).hexdigest()) for name in NAMES])


def checked(folder: Path, *places: tuple[int, int, int]) -> list[Range]:
    """Ranges with the CRC-32 of what the files hold there."""
    return [Range(f, o, s, crc32((folder / NAMES[f]).read_bytes()[o : o + s])) for f, o, s in places]


def some(folder: Path, count: int, seed: int = 0) -> list[Range]:
    draws = np.random.default_rng(seed).integers((0, 0, 1), (2, 290_000, 9_000), (count, 3)).tolist()
    return checked(folder, *[(f, o, s) for f, o, s in draws])


def same(found: list[Bytes | Unread], folder: Path, ranges: list[Range]) -> bool:
    told = LocalFiles([folder / name for name in NAMES]).read(ranges)
    pairs = zip(found, told, strict=True)
    return all(not isinstance(a, Unread) and not isinstance(b, Unread) and (a == b).all() for a, b in pairs)


def test_ranges_are_those_of_local_files(served: Served) -> None:
    folder, remote, faults = served
    ranges = some(folder, 60)
    found = reader(folder, remote).read(ranges)
    assert same(found, folder, ranges)
    assert all(not isinstance(one, Unread) and one.flags.writeable for one in found), "as those of a disk"
    assert faults.number < 40, "neighbours come by one request"


@pytest.mark.parametrize("fault", ["503", "429", "short", "cut", "flipped", "stalled"])
def test_a_fault_that_passes_costs_time_and_is_counted(
    served: Served, fault: str, capsys: pytest.CaptureFixture
) -> None:
    folder, remote, faults = served
    # A busy machine may take long to answer.
    remote = replace(remote, limits=replace(QUICK, timeout_s=1 if fault == "stalled" else 10))
    faults.of = lambda number, name: fault if number in (0, 2, 3) else ""
    ranges = some(folder, 20)
    assert same(reader(folder, remote).read(ranges), folder, ranges)
    assert remote.storage.faults.total() == 3 or (fault == "stalled" and remote.storage.faults.total() > 3)
    assert capsys.readouterr().err.count("warning: ") >= 1


@pytest.mark.slow
@given(st.lists(st.sampled_from(["", "503", "short", "flipped"]), max_size=40), st.integers(0, 100))
@settings(max_examples=8)
def test_no_order_of_faults_changes_a_byte(tmp_path_factory: pytest.TempPathFactory, kinds: list, seed: int) -> None:
    folder = tmp_path_factory.mktemp("served")
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(np.random.default_rng(number).bytes(300_000))
    with serving(folder) as (url, faults):
        # No more than two in a row: to a reader, five answers that differ are a storage that cannot be trusted.
        faults.of = lambda number, name: kinds[number] if number < len(kinds) and number % 3 else ""
        remote = RemotePath(url, limits=replace(QUICK, patience_s=30))
        files, ranges = reader(folder, remote), some(folder, 30, seed)
        for part in (ranges[:10], ranges[10:]):
            files.fetch_ahead(part)
        assert same(files.read(ranges), folder, ranges)


def test_what_was_fetched_ahead_is_not_fetched_again(served: Served) -> None:
    folder, remote, faults = served
    files, ranges = reader(folder, remote), some(folder, 30)
    assert files.fetch_ahead(ranges)
    assert same(files.read(ranges), folder, ranges)
    asked = faults.number
    assert files.fetch_ahead(ranges[:5])
    assert files.fetch_ahead(ranges[:5])
    for _ in range(2):
        assert same(files.read(ranges[:5]), folder, ranges[:5])
    assert faults.number - asked <= 5, "one answer for both"


def test_memory_fetched_ahead_is_bounded_and_given_back(served: Served) -> None:
    folder, remote, _ = served
    files = reader(folder, replace(remote, kept=Kept(memory=20_000)))
    steps = [checked(folder, *[(0, 10_000 * step + 1000 * k, 1000) for k in range(8)]) for step in range(20)]
    begun = 0
    while files.fetch_ahead(steps[begun]):
        begun += 1
    assert begun == 3, "8000 bytes each: the third is begun while there is room"
    assert same(files.read(steps[0]), folder, steps[0])
    assert files.fetch_ahead(steps[3])
    assert not files.fetch_ahead(steps[4])


@pytest.mark.slow
def test_what_nobody_reads_is_let_go(served: Served) -> None:
    folder, remote, _ = served
    files = reader(folder, replace(remote, kept=Kept(memory=4000)))
    for place in range(0, 60_000, 1000):
        assert files.fetch_ahead(checked(folder, (0, place, 100), (1, place, 100)))
        assert same(files.read(checked(folder, (0, place, 100))), folder, checked(folder, (0, place, 100)))


def test_requests_at_a_time_are_bounded(served: Served) -> None:
    folder, remote, faults = served
    faults.latency_s = 0.02
    far = checked(folder, *[(k % 2, 75_000 * (k // 2 % 4), 10 + k) for k in range(8)])
    for one in far:
        reader(folder, replace(remote, limits=replace(QUICK, in_flight=3))).fetch_ahead([one])
    files = reader(folder, replace(remote, limits=replace(QUICK, in_flight=3)))
    assert same(files.read(far), folder, far)
    assert 2 <= faults.most_open <= 3


def test_damage_at_rest_is_told_and_not_read_for_ever(served: Served) -> None:
    folder, remote, faults = served
    ranges = some(folder, 3)
    wrong = ranges[1]._replace(crc32=1)
    found = reader(folder, remote).read([ranges[0], wrong, ranges[2]])
    assert isinstance(found[1], Unread)
    assert "another CRC-32 than 00000001" in found[1].reason
    assert same([found[0], found[2]], folder, [ranges[0], ranges[2]])
    assert faults.number <= 5


def test_what_the_index_names_beyond_a_file_is_told_as_of_a_disk(served: Served) -> None:
    folder, remote, _ = served
    ranges = [Range(0, 299_000, 2000), Range(0, -9, 5), Range(1, 10**12, 1)]
    told = LocalFiles([folder / name for name in NAMES]).read(ranges)
    assert reader(folder, remote).read(ranges) == told


def test_a_file_that_changes_under_a_run_ends_it(served: Served) -> None:
    folder, remote, _ = served
    files, ranges = reader(folder, remote), some(folder, 4)
    assert same(files.read(ranges), folder, ranges)
    (folder / NAMES[0]).write_bytes(bytes(300_000))
    with pytest.raises(UserError, match=r"a\.tar was changed while it was read"):
        files.read(checked_before(ranges))
    (folder / NAMES[1]).unlink()
    with pytest.raises(UserError, match=r"b\.tar was there and is gone"):
        files.read([Range(1, 0, 10)])


def checked_before(ranges: list[Range]) -> list[Range]:
    return [one for one in ranges if one.file == 0]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("403", r"no permission \(HTTP 403\); give the credentials"),
        ("400", r"refuses the request \(HTTP 400\)"),
        ("503", r"no answer in \d+ tries and \d+ s, the last: HTTP 503"),
    ],
)
def test_what_does_not_pass_ends_in_one_line(served: Served, fault: str, says: str) -> None:
    folder, remote, faults = served
    faults.of = lambda number, name: fault
    with pytest.raises(UserError, match=says):
        reader(folder, replace(remote, limits=replace(QUICK, patience_s=0.4))).read([Range(0, 0, 10)])


def test_a_server_without_ranges_is_refused(served: Served) -> None:
    folder, remote, faults = served
    faults.ranges = False
    with pytest.raises(UserError, match="does not serve ranges of files"):
        reader(folder, remote).read([Range(0, 5, 10)])


def test_a_server_that_is_not_there_is_told_soon(unused: str) -> None:
    with pytest.raises(UserError, match=r"no answer in .* see that the address is right"):
        RemotePath(f"http://127.0.0.1:{unused}/x/manifest.json", limits=replace(QUICK, patience_s=0.3)).read_bytes()


@pytest.fixture
def unused() -> str:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return str(bound.getsockname()[1])
