"""Requests to a bucket or web server: many in flight, repeated where they fail, bounded in number and time."""

import asyncio
import os
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.request import getproxies

from shards.command import UserError
from shards.storage.limits import Limits, share_of_process
from shards.storage.range_cache import RangeCache, content_key

T = TypeVar("T")
_INSTALL = "install its client with `pip install -r requirements-storage.txt`, that of gs:// with `pip install gcsfs`"
# Until a server has answered once, a wrong name is likelier than a fault that passes.
_FIRST_PATIENCE_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 8.0
PIECE = 8 << 20
"""Whole files are fetched in pieces of so many bytes."""
_PIECES_AHEAD = 8
# Bytes a second: an upload that is slower is begun anew.
_SLOWEST_UPLOAD = 1 << 20
# What the slowest request took counts less with each one after it.
_OLD_COUNTS = 0.9995
# Defects of ours, and the end of the process; a request that fails by one is not repeated.
_DEFECTS = (TypeError, AttributeError, NameError, AssertionError, LookupError, RuntimeError)
_WITHOUT_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}


@dataclass(frozen=True)
class FileState:
    """A file as the storage describes it: its size in bytes, and a text that changes with its content ("" if none)."""

    size: int
    tag: str


class Storage:
    """The files of one folder in a bucket or on a web server, read through fsspec. Threads may share it.

    Args:
        url: of the folder.
        limits: of its requests.

    Attributes:
        faults: how often requests failed and were repeated, by the kind of fault.
        latency_s: seconds that the slowest of the last thousands of requests took, with its repetitions.

    Raises:
        UserError: there is no client for such an address.
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self.url, self._limits = url, limits
        self._client = _client(url, limits)
        self._places = asyncio.Semaphore(share_of_process(limits.in_flight))
        self.faults: Counter[str] = Counter()
        self.latency_s = 0.0
        self._lock, self._answered = threading.Lock(), False

    def fetch(self, name: str, start: int, stop: int) -> Future[bytes]:
        """Begin to fetch bytes of a file; the future gives all of them.

        Raises (through the future):
            FileNotFoundError: there is no such file.
            UserError: no permission, or no answer in time.
        """
        path = self._path(name)

        async def ask() -> bytes:
            data: bytes = await self._client._cat_file(path, start=start, end=stop)
            if len(data) > stop - start:
                raise UserError(
                    f"{self.url} answers a request for {stop - start} bytes of {name} with {len(data)}: it does not "
                    "serve ranges of files; use a server that does, such as nginx or a bucket"
                )
            if len(data) < stop - start:
                raise _ShortError("an answer that ends early")
            return data

        return asyncio.run_coroutine_threadsafe(self._patiently(name, ask), self._client.loop)

    def state(self, name: str) -> Future[FileState]:
        """Begin to ask for a file's state; raises, through the future, what `fetch` does."""
        path = self._path(name)

        async def ask() -> FileState:
            # A listing that is held would hide a change.
            self._client.invalidate_cache()
            about = await self._client._info(path)
            if about.get("type") == "directory":
                raise FileNotFoundError(path)
            if about.get("size") is None:
                raise UserError(f"{self.url} does not tell the size of {name}; use a server that does, such as nginx")
            marks = [about[key] for key in ("ETag", "etag", "Last-Modified", "LastModified", "mtime") if key in about]
            return FileState(int(about["size"]), str(marks[0]) if marks else "")

        return asyncio.run_coroutine_threadsafe(self._patiently(name, ask), self._client.loop)

    def copy(self, name: str, out: BinaryIO, cache: RangeCache | None = None) -> None:
        """Write a whole file into an open one, a few pieces ahead, and keep it in a cache if there is one.

        Raises:
            FileNotFoundError, UserError: see `fetch`.
        """
        state = self.state(name).result()
        content = content_key(f"{self.url}/{name} {state.size} {state.tag}")
        cache = cache if state.tag else None
        waiting: deque[tuple[int, bytes | Future[bytes]]] = deque()

        def write_next() -> None:
            number, piece = waiting.popleft()
            data = piece if isinstance(piece, bytes) else piece.result()
            out.write(data)
            if cache is not None and not isinstance(piece, bytes):
                cache.put_piece(content, number, data)

        for number, start in enumerate(range(0, state.size, PIECE)):
            kept = cache.piece(content, number) if cache is not None else None
            waiting.append((number, kept or self.fetch(name, start, min(start + PIECE, state.size))))
            if len(waiting) >= _PIECES_AHEAD:
                write_next()
        while waiting:
            write_next()

    def put(self, file: Path, name: str) -> Future[None]:
        """Begin to upload a file; raises, through the future, what `fetch` does."""
        path = self._path(name)

        async def ask() -> None:
            await self._client._put_file(str(file), path)

        slowest_s = file.stat().st_size / _SLOWEST_UPLOAD
        return asyncio.run_coroutine_threadsafe(self._patiently(name, ask, slowest_s), self._client.loop)

    def _path(self, name: str) -> str:
        path: str = self._client._strip_protocol(f"{self.url}/{name}")
        return path

    async def _patiently(self, name: str, ask: Callable[[], Awaitable[T]], longer_s: float = 0) -> T:
        began, asked = time.monotonic(), 0.0
        for tries in count():
            try:
                async with self._places:
                    # Not the time before: the more is asked for ahead, the longer that is.
                    asked = asked or time.monotonic()
                    answer = await asyncio.wait_for(ask(), self._limits.timeout_s + longer_s)
                self._answered = True
                if not longer_s:
                    self.latency_s = max(time.monotonic() - asked, self.latency_s * _OLD_COUNTS)
                return answer
            except (UserError, *_DEFECTS):
                raise
            except Exception as error:  # clients have exceptions of their own
                fault = self._passing(error, name)
            self.note(fault)
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**tries) * random.uniform(0.5, 1.5)
            patience = self._limits.patience_s if self._answered else min(self._limits.patience_s, _FIRST_PATIENCE_S)
            spent = time.monotonic() - began
            if spent + pause > patience:
                raise UserError(
                    f"{self.url}/{name}: no answer in {tries + 1} tries and {spent:.0f} s, the last: {fault}; see that "
                    "the address is right and can be reached from here, then run the command again (training: --resume)"
                )
            await asyncio.sleep(pause)
        raise AssertionError("a count ends")

    def _passing(self, error: Exception, name: str) -> str:
        """Return the name of a fault that may pass; raise what any other means."""
        # The web client tells of every fault of a description as of a file that is not there.
        of_web = self.url.startswith("http") and isinstance(error, FileNotFoundError)
        cause = error.__cause__ or error if of_web else error
        if isinstance(cause, RuntimeError):
            raise cause  # the end of the process
        status = getattr(cause, "status", None)
        if status in (404, 410) or (isinstance(cause, FileNotFoundError) and status is None):
            raise FileNotFoundError(f"{self.url}/{name}") from error
        if status in (401, 403) or isinstance(cause, PermissionError) or type(cause).__name__ in _WITHOUT_CREDENTIALS:
            raise UserError(
                f"{self.url}/{name}: no permission{f' (HTTP {status})' if status else ''}; give the "
                "credentials of the storage by environment variables or a profile"
            ) from error
        if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
            raise UserError(f"{self.url}/{name}: the server refuses the request (HTTP {status})") from error
        if isinstance(status, int):
            return f"HTTP {status}"
        if isinstance(cause, TimeoutError):
            return f"no answer within {self._limits.timeout_s:g} s"
        if isinstance(cause, _ShortError):
            return str(cause)
        return getattr(cause, "strerror", None) or type(cause).__name__

    def note(self, fault: str) -> None:
        """Count a fault after which bytes are asked for again, and tell of it the first, tenth, hundredth time..."""
        with self._lock:
            self.faults[fault] += 1
            times = self.faults[fault]
        if str(times).rstrip("0") == "1":
            print(f"warning: {self.url}: {fault}, asked again ({times} times so far)", file=sys.stderr)


class _ShortError(Exception):
    """An answer that ends early."""


async def _web_client(loop: asyncio.AbstractEventLoop, **settings: Any) -> Any:
    """Return a session without a bound of its own on connections: requests are bounded before they reach it."""
    import aiohttp

    # To look for a proxy and a password takes a thread for every request: only where there is one to be found.
    netrc = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    trusting = bool(getproxies()) or netrc.is_file()
    return aiohttp.ClientSession(loop=loop, trust_env=trusting, connector=aiohttp.TCPConnector(limit=0), **settings)


def _client(url: str, limits: Limits) -> Any:
    """Return fsspec's client for an address; all its methods can be awaited."""
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    protocol = url.split("://", 1)[0]
    settings: dict[str, Any] = {}
    if protocol in ("http", "https"):
        # Compressed on the way, offsets would not be those of the file.
        settings = {"headers": {"Accept-Encoding": "identity"}, "get_client": _web_client}
    elif protocol in ("s3", "s3a"):
        # Repeating is done here, where it is counted.
        settings = {"config_kwargs": {"max_pool_connections": limits.in_flight, "retries": {"max_attempts": 0}}}
    try:
        client = fsspec.filesystem(protocol, **settings)
    except ImportError as error:
        raise UserError(f"{url} cannot be read ({error.name or error}): {_INSTALL}") from error
    except ValueError as error:
        raise UserError(
            f"{url}: no storage of the kind {protocol}:// is known; name s3://, gs:// or https://"
        ) from error
    if protocol in ("s3", "s3a"):
        client.retries = 1
    return client if client.async_impl else AsyncFileSystemWrapper(client, asynchronous=False)
