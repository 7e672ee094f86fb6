"""A web server that serves ranges of files after a given latency, in a process of its own: a bucket to measure with."""

import asyncio
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from pathlib import Path

_REQUEST = re.compile(rb"(GET|HEAD) /(\S*) HTTP/1.1\r\n")
_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)\r\n", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """Answers one request after another; as few steps as can be, for it has the cores of what is measured."""

    def __init__(self, folder: Path, latency_s: float) -> None:
        self._folder, self._latency_s, self._received = folder, latency_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self._latency_s, self._answer, request + b"\r\n")

    def _answer(self, request: bytes) -> None:
        first, asked = _REQUEST.match(request), _RANGE.search(request)
        path = self._folder / Path(first[2].decode()).name if first else self._folder
        if first is None or not path.is_file():
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size = path.stat().st_size
        start, stop = (int(asked[1]), min(int(asked[2] or size) + 1, size)) if asked else (0, size)
        status = "206 Partial Content" if asked else "200 OK"
        place = f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n" if asked else ""
        head = f'HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\n{place}ETag: "{size}"\r\n\r\n'.encode()
        self._transport.write(head)
        if first[1] == b"GET":
            with path.open("rb", buffering=0) as file:
                self._transport.write(os.pread(file.fileno(), stop - start, start))


def _serve(folder: Path, latency_s: float, told: "SimpleQueue[int]") -> None:
    async def forever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(folder, latency_s), "127.0.0.1", 0, backlog=512)
        told.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


@contextmanager
def served(folder: Path, latency_s: float) -> Iterator[str]:
    """Serve a folder on this machine, each answer after a latency in seconds; yield its address."""
    context = multiprocessing.get_context("spawn")
    told: SimpleQueue[int] = context.SimpleQueue()
    server = context.Process(target=_serve, args=(folder, latency_s, told), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{told.get()}"
    finally:
        server.terminate()
        server.join()
