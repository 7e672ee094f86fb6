"""Atomic file writing and reproducible tar files."""

import hashlib
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shards.format import TAR_BLOCK, next_member


def write_atomically(
    path: Path,
    content: bytes | Callable[[BinaryIO], object],
    staging: Path | None = None,
    *,
    private: bool = False,
) -> None:
    """Write a file under a temporary name, force it to disk, then give it its name.

    Args:
        path: the file; an older one of this name is replaced.
        content: its bytes, or a function that writes them to an open file.
        staging: folder of the temporary file, on the same file system; by default the file's own. Once somebody
            has removed it, nothing written there can appear any more.
        private: only the owner may read the file.

    Raises:
        OSError: the disk is full or the folder cannot be written, with the file's own name; no temporary file is left.
    """
    temporary = (staging or path.parent) / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "wb", opener=_private if private else None) as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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


# The header of a file with neither owner nor time, into which name, size and checksum are written.
_HEADER = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_BARE_SUM = sum(_HEADER) - sum(_HEADER[_SIZE]) - sum(_HEADER[_CHECKSUM]) + 8 * ord(" ")


def _header(name: str, size: int) -> bytes:
    """Return the USTAR header of a member; the same bytes as `tarfile`'s, several times faster."""
    text, octal = name.encode("ascii"), b"%011o\0" % size
    assert 0 < len(text) <= 100 and len(octal) == 12
    header = bytearray(_HEADER)
    header[_NAME] = text.ljust(100, b"\0")
    header[_SIZE] = octal
    header[_CHECKSUM] = b"%06o\0 " % (_BARE_SUM + sum(text) + sum(octal))
    return bytes(header)


def write_tar(
    path: Path, members: Iterable[tuple[str, bytes]], staging: Path | None = None
) -> tuple[list[Member], str]:
    """Write a USTAR tar atomically, with no owner and no time in it.

    Args:
        path: of the tar.
        members: names (at most 100 ASCII characters) and contents, in order.
        staging: as for `write_atomically`.

    Returns:
        where each member's bytes lie, and the tar's SHA-256 as hexadecimal text.
    """
    placed: list[Member] = []
    sha256 = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        # The bytes of a member begin after its header.
        offset = TAR_BLOCK
        for name, content in members:
            block = b"".join((_header(name, len(content)), content, bytes(-len(content) % TAR_BLOCK)))
            sha256.update(block)
            file.write(block)
            placed.append(Member(name, offset, len(content)))
            offset = next_member(offset, len(content))
        length = offset - TAR_BLOCK
        # Two empty blocks end a tar, whose length is a multiple of the record size.
        end = bytes(2 * TAR_BLOCK + -(length + 2 * TAR_BLOCK) % tarfile.RECORDSIZE)
        sha256.update(end)
        file.write(end)

    write_atomically(path, write, staging)
    return placed, sha256.hexdigest()


def dali_index(members: Iterable[Member]) -> str:
    """Return the text index (v1.2) by which DALI's webdataset reader opens a tar without scanning it.

    Members of one photo stand together: the part of the name before its first dot is the photo's key.
    """
    samples: dict[str, list[str]] = {}
    for member in members:
        key, extension = member.name.split(".", 1)
        samples.setdefault(key, []).append(f"{extension} {member.offset} {member.size} {member.name}")
    return "\n".join([f"v1.2 {len(samples)}", *(" ".join(parts) for parts in samples.values())]) + "\n"
