"""Files that are there whole or not at all, and tars that look the same whoever writes them."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from shards.format import TAR_BLOCK, next_member


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name, force it to disk, then give it its name.

    Args:
        path: the file; an older one of this name is replaced.
        content: its bytes, or a function that writes them to an open file.

    Raises:
        OSError: the disk is full or the folder cannot be written; no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Member:
    """A file inside a tar: name, place of its bytes, and their count."""

    name: str
    offset: int
    size: int


class _Hashing:
    """A file to which bytes go only through its SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> tuple[list[Member], str]:
    """Write a USTAR tar atomically, with no owner and no time in it.

    Args:
        path: of the tar.
        members: names (at most 100 ASCII characters) and contents, in order.

    Returns:
        where each member's bytes lie, and the tar's SHA-256 as hexadecimal text.
    """
    placed: list[Member] = []
    digest = ""

    def write(file: BinaryIO) -> None:
        nonlocal digest
        hashing = _Hashing(file)
        with tarfile.open(
            fileobj=cast(BinaryIO, hashing), mode="w|", format=tarfile.USTAR_FORMAT, bufsize=1 << 20
        ) as tar:
            # The bytes of a member begin after its header.
            offset = TAR_BLOCK
            for name, content in members:
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
                placed.append(Member(name, offset, len(content)))
                offset = next_member(offset, len(content))
        digest = hashing.sha256.hexdigest()

    write_atomically(path, write)
    return placed, digest


def dali_index(members: Iterable[Member]) -> str:
    """Return the text index (v1.2) by which DALI's webdataset reader opens a tar without scanning it.

    Members of one photo stand together: the part of the name before its first dot is the photo's key.
    """
    samples: dict[str, list[str]] = {}
    for member in members:
        key, extension = member.name.split(".", 1)
        samples.setdefault(key, []).append(f"{extension} {member.offset} {member.size} {member.name}")
    return "\n".join([f"v1.2 {len(samples)}", *(" ".join(parts) for parts in samples.values())]) + "\n"
