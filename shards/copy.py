"""Copy a shard folder from or to a bucket: `python -m shards.copy s3://bucket/folder shards/folder`.

Only what is missing is copied: a tar that is there already with the SHA-256 of the manifest stays. Every tar is held
against its SHA-256 where it arrives, and the manifest comes last, so that a copy that was interrupted is no shard
folder yet; the same command finishes it. Exit status 0: a whole copy; 2: none.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shards.command import Parser, UserError, run
from shards.digest import file_sha256
from shards.format import IDENTITIES, MANIFEST, NAMES, PHOTOS, REJECTS, index_name, read_manifest
from shards.lock import locked
from shards.storage.places import Folder, RemotePath, shard_folder
from shards.writer import write_atomically

_LOCK = ".copy.lock"
_AT_ONCE = 4
_BLOCK = 8 << 20


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m shards.copy", description=__doc__)
    command.add_argument(
        "source", type=shard_folder, help="shard folder, or its address in a bucket or on a web server"
    )
    command.add_argument(
        "target", type=shard_folder, help="folder to write, or its address; new, or what is there of an earlier copy"
    )
    return command


def copy_folder(source: Folder, target: Folder) -> tuple[int, int]:
    """Copy a shard folder from or to this machine; return how many files were copied, and how many were there.

    Raises:
        UserError: the source is no shard folder, is damaged or cannot be read, or the target holds another one.
        OSError: the target cannot be written.
    """
    manifest = read_manifest(source)
    text = (source / MANIFEST).read_bytes()
    if _there(target / MANIFEST) and read_manifest(target) != manifest:
        raise UserError(f"{target} holds another shard folder than {source}; name another folder, or remove it")
    digests = {tar.name: tar.sha256 for tar in manifest.tars}
    small = [PHOTOS, IDENTITIES, NAMES, REJECTS, *(index_name(name) for name in digests)]
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


def main() -> None:
    """Copy a folder and say how much there was to do."""
    options = parser().parse_args()
    copied, kept = copy_folder(options.source, options.target)
    print(f"{options.target}: {copied} files copied, {kept} were there")


if __name__ == "__main__":
    run(main)
