"""Where a shard folder lies: a folder of a mounted file system, or an address in a bucket or on a web server."""

import os
import re
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from shards.command import UserError
from shards.storage.limits import Kept, Limits

if TYPE_CHECKING:  # they import more than a command needs to say what it does
    from shards.storage.growing_file import GrowingFile
    from shards.storage.range_cache import RangeCache
    from shards.storage.requests import FileState, Storage

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class RemotePath:
    """A folder or file in a bucket or on a web server; as much of a `Path` as reading needs.

    Attributes:
        url: its address, without credentials.
        kept: what may be kept of it.
        limits: of requests.
    """

    url: str
    kept: Kept = Kept()
    limits: Limits = Limits()

    def __truediv__(self, name: str) -> "RemotePath":
        return replace(self, url=f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def storage(self) -> "Storage":
        """The storage of the files of this folder."""
        return _storage(self.url, self.limits, os.getpid())

    @property
    def cache(self) -> "RangeCache | None":
        """The cache of what is fetched, if there is one."""
        from shards.storage.range_cache import cache_in

        return cache_in(self.kept.cache, self.kept.cache_bytes, os.getpid()) if self.kept.cache else None

    def resolve(self) -> "RemotePath":
        """Return the address itself: there are no links."""
        return self

    def state(self) -> "FileState":
        """Return the state of this file.

        Raises:
            FileNotFoundError: there is none.
            UserError: no permission, or no answer.
        """
        storage, name = self._file()
        return storage.state(name).result()

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """Fetch this file and open it: a temporary one, which is gone once it is closed.

        Raises:
            FileNotFoundError: there is none.
            UserError: no permission, or no answer.
        """
        assert mode == "rb"
        storage, name = self._file()
        file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - the caller closes it
        storage.copy(name, file, self.cache)
        file.seek(0)
        return file

    def open_in_parts(self) -> "GrowingFile":
        """Open a large file, whose parts are fetched as they are needed; raises what `open` does."""
        from shards.storage.growing_file import GrowingFile

        storage, name = self._file()
        return GrowingFile(storage, name, self.cache)

    def put(self, file: Path) -> None:
        """Upload a file of this machine under this address; raises UserError as `open` does."""
        storage, name = self._file()
        try:
            storage.put(file, name).result()
        except (FileNotFoundError, NotImplementedError) as error:
            raise UserError(f"{self} cannot be written; name a folder in a bucket that exists") from error

    def read_bytes(self) -> bytes:
        """Return the bytes of this file; raises what `open` does."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text of this file; raises what `open` does, or UnicodeDecodeError."""
        return self.read_bytes().decode(encoding, errors)

    def _file(self) -> "tuple[Storage, str]":
        folder, _, name = self.url.rpartition("/")
        return replace(self, url=folder).storage, name


@cache
def _storage(url: str, limits: Limits, process: int) -> "Storage":
    """Return the storage of a folder, one for each process: connections do not go through a fork."""
    from shards.storage.requests import Storage

    return Storage(url, limits)


Folder = Path | RemotePath
"""A shard folder, or a file in one."""


def shard_folder(text: str | Folder) -> Folder:
    """Return the folder that a user names: a path, or an address such as s3://bucket/folder; a folder is one already.

    Raises:
        UserError: the address holds credentials, or is none of a folder.
    """
    if not isinstance(text, str):
        return text
    if not _ADDRESS.match(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        raise UserError(
            f"the address {shown} comes with a user, a password or a query, which would end in logs; name the folder "
            "alone and give credentials by the environment, a profile or ~/.netrc"
        )
    if parts.scheme.lower() in ("file", "local"):
        return Path(unquote(parts.path))
    if not (path := text[len(parts.scheme) + 3 :].rstrip("/")):
        raise UserError(f"{text} names no folder; give an address such as s3://bucket/folder")
    return RemotePath(f"{parts.scheme.lower()}://{path}")
