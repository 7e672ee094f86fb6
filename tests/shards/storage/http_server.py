"""A web server of a folder that serves ranges, and has on purpose the faults that storage has."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[[int, str], str]
"""From the number of a request for bytes, from 0, and the name of its file to a fault; "" for none.

"503" and other statuses; "short": an answer that ends early and says so; "cut": a connection that ends early;
"flipped": a byte of it is wrong, each time another one; "stalled": nothing comes.
"""


@dataclass
class Faults:
    """What a server does wrong, and what it was asked.

    Attributes:
        of: the fault of each request for bytes.
        latency_s: seconds before each answer.
        ranges: whether ranges are served.
        asked: how often each file was asked for.
        bytes: how many were sent.
        most_open: largest number of requests at a time.
    """

    of: Fault = lambda number, name: ""
    latency_s: float = 0.0
    ranges: bool = True
    asked: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    most_open: int = 0
    open: int = 0
    number: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    faults: Faults

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        faults = self.faults
        with faults.lock:
            faults.open += 1
            faults.most_open = max(faults.most_open, faults.open)
        try:
            self._answer(body=True)
        finally:
            with faults.lock:
                faults.open -= 1

    def _answer(self, *, body: bool) -> None:
        faults, name = self.faults, self.path.lstrip("/")
        time.sleep(faults.latency_s)
        with faults.lock:
            number, fault = faults.number, ""
            if body:
                faults.number += 1
                faults.asked[name] += 1
                fault = faults.of(number, name)
        path = self.folder / name
        if fault.isdigit() or not path.is_file():
            self._status(int(fault or 404))
            return
        if fault == "stalled":
            faults.stopped.wait(20)
            self.close_connection = True
            return
        content, tag = path.read_bytes(), f'"{path.stat().st_mtime_ns}-{path.stat().st_size}"'
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = content
        if asked and faults.ranges:
            part = content[int(asked[1]) : int(asked[2]) + 1]
            if not part:
                self._status(416)
                return
        self.send_response(206 if asked and faults.ranges else 200)
        sent = part[: len(part) // 2] if fault in ("short", "cut") else part
        if fault == "flipped":
            sent = bytes([part[0] ^ (1 + number % 255)]) + part[1:]
        self.send_header("Content-Length", str(len(sent) if fault == "short" else len(part)))
        if asked and faults.ranges:
            self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        self.end_headers()
        if body:
            faults.bytes += len(sent)
            self.wfile.write(sent)
        self.close_connection = self.close_connection or fault == "cut"

    def _status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is no fault of the server."""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Faults]]:
    """Serve a folder on this machine; yield its address and what it is to do wrong."""
    faults = Faults()
    handler = type("Handler", (_Handler,), {"folder": folder, "faults": faults})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        faults.stopped.set()
        server.shutdown()
        server.server_close()
