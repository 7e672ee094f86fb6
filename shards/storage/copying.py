"""Copies of shard folders from or to a bucket: verified, only what is missing, the manifest last."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shards.command import UserError
from shards.digest import file_sha256
from shards.format import IDENTITIES, MANIFEST, NAMES, PHOTOS, POINTS, REJECTS, index_name, read_manifest
from shards.lock import locked
from shards.storage.places import Folder, RemotePath
from shards.writer import write_atomically

_LOCK = ".copy.lock"
_AT_ONCE = 4
_BLOCK = 8 << 20


def copy_folder(source: Folder, target: Folder, known: "Uploads | None" = None) -> tuple[int, int]:
    """Copy a shard folder from or to this machine; return how many files were copied, and how many were there.

    Args:
        source: the shard folder.
        target: new, or what is there of an earlier copy.
        known: tars that were uploaded to the target already.

    Raises:
        UserError: the source is no shard folder, is damaged or cannot be read, or the target holds another one.
        OSError: the target cannot be written.
    """
    manifest = read_manifest(source)
    text = (source / MANIFEST).read_bytes()
    if _there(target / MANIFEST) and read_manifest(target) != manifest:
        raise UserError(f"{target} holds another shard folder than {source}; name another folder, or remove it")
    digests = {tar.name: tar.sha256 for tar in manifest.tars}
    points = [POINTS] if manifest.pointed else []
    small = [PHOTOS, *points, IDENTITIES, NAMES, REJECTS, *(index_name(name) for name in digests)]
    if known is not None:
        digests = {name: sha256 for name, sha256 in digests.items() if not known.has(name, sha256)}
    with _alone_in(target), ThreadPoolExecutor(_AT_ONCE) as pool:
        copied = list(pool.map(lambda name: _copy_file(source, target, name, digests.get(name)), [*digests, *small]))
        if (source / MANIFEST).read_bytes() != text:
            raise UserError(f"{source} was written anew while it was copied; run the command again")
        _copy_file(source, target, MANIFEST, None)
    return sum(copied), len(copied) - sum(copied)


@contextmanager
def _alone_in(target: Folder) -> Iterator[None]:
    """Keep other copies out of a folder of this machine; a bucket has no locks."""
    if isinstance(target, RemotePath):
        yield
        return
    target.mkdir(parents=True, exist_ok=True)
    with locked(target / _LOCK, target, "copy to another folder"):
        yield
        (target / _LOCK).unlink()


def _there(file: Folder) -> bool:
    if isinstance(file, Path):
        return file.is_file()
    try:
        return file.state().size >= 0
    except FileNotFoundError:
        return False


def _copy_file(source: Folder, target: Folder, name: str, sha256: str | None) -> bool:
    """Copy a file, unless it is there; return whether it was not.

    Raises:
        UserError: the file is missing in the source, or has another SHA-256 than is given.
    """
    out, file = target / name, source / name
    if sha256 is not None and _there(out) and file_sha256(out) == sha256:
        return False
    try:
        if isinstance(out, Path):
            with file.open("rb") as opened:
                write_atomically(out, lambda written: _pour(opened, written))
        elif isinstance(file, Path):
            if sha256 is not None and file_sha256(file) != sha256:
                raise _not_as_written(file)
            out.put(file)
        else:
            raise UserError(f"{source} and {target} are both not on this machine; copy by way of a local folder")
    except FileNotFoundError as error:
        raise UserError(f"{source} lacks {name}; run `python -m shards.verify {source}`") from error
    if sha256 is not None and file_sha256(out) != sha256:
        if isinstance(out, Path):
            out.unlink()
        raise _not_as_written(file)
    return True


def _not_as_written(file: Folder) -> UserError:
    return UserError(f"{file} is not what the manifest says; run `python -m shards.verify` on its folder")


def _pour(file: BinaryIO, out: BinaryIO) -> None:
    while block := file.read(_BLOCK):
        out.write(block)


class Uploads:
    """Uploads files of a folder of this machine while others are still being written; each is verified.

    Args:
        source: the folder.
        target: where they go.
    """

    def __init__(self, source: Path, target: RemotePath) -> None:
        self._source, self._target = source, target
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="uploads")
        self._digests: dict[str, Future[str]] = {}

    def add(self, name: str) -> None:
        """Begin to upload a file that is finished, unless it is there.

        Raises:
            UserError: an earlier one could not be uploaded.
        """
        for done in [one for one in self._digests.values() if one.done()]:
            done.result()
        if name not in self._digests:
            self._digests[name] = self._pool.submit(self._upload, name)

    def has(self, name: str, sha256: str) -> bool:
        """Wait for a file; return whether it was uploaded with this SHA-256. Raises as `add`."""
        return name in self._digests and self._digests[name].result() == sha256

    def close(self) -> None:
        """Begin with no further file, and wait for those that are on their way."""
        self._pool.shutdown(cancel_futures=True)

    def _upload(self, name: str) -> str:
        sha256 = file_sha256(self._source / name)
        try:
            _copy_file(self._source, self._target, name, sha256)
        except UserError:
            if file_sha256(self._source / name) == sha256:
                raise
            # It was written anew meanwhile: whoever asks learns that it is not there.
            return ""
        return sha256
