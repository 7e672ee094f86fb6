"""Atomic files and tars that other programs read."""

import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.writer import dali_index, write_atomically, write_tar


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")

    def fails(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "disk full")

    with pytest.raises(OSError, match=f"disk full: '{path}'"):
        write_atomically(path, fails)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second"


@settings(max_examples=30, deadline=None)
@given(contents=st.lists(st.binary(max_size=1500), max_size=8))
@example(contents=[bytes(512), b"", bytes(1024), b"x"])  # members that fill their blocks
def test_a_tar_is_read_back_at_the_offsets_it_named(
    contents: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    members = [(f"{number:05d}.jpg", content) for number, content in enumerate(contents)]
    placed, digest = write_tar(path, members)
    data = path.read_bytes()
    assert [data[m.offset : m.offset + m.size] for m in placed] == contents
    with tarfile.open(path) as tar:
        assert tar.format in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT)
        read = [(m.name, tar.extractfile(m).read(), m.offset_data) for m in tar]  # type: ignore[union-attr]
        assert read == [(*m, p.offset) for m, p in zip(members, placed, strict=True)]
    assert len(data) % tarfile.RECORDSIZE == 0
    assert data[-1024:] == bytes(1024), "two empty blocks end a tar"
    again, same_digest = write_tar(path.with_name("b.tar"), members)
    assert (again, same_digest) == (placed, digest)
    if contents:
        assert data[257:263] == b"ustar\0", "USTAR, which DALI reads"
        assert data[136:148] == b"00000000000\0", "no time stamp"


def test_dali_index_groups_a_photos_members(tmp_path: Path) -> None:
    placed, _ = write_tar(tmp_path / "a.tar", [("1.jpg", b"x" * 600), ("1.label", b"1234"), ("2.jpg", b"y")])
    assert dali_index(placed) == "v1.2 2\njpg 512 600 1.jpg label 2048 4 1.label\njpg 3072 1 2.jpg\n"
