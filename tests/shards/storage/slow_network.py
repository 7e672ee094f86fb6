"""A network between a client and a server of this machine: it passes bytes on late, slowly, not at all, or breaks."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_BLOCK = 1 << 16


@dataclass
class Network:
    """What happens to what a client sends and a server answers; may be changed at any time.

    Attributes:
        address: "host:port" for the client.
        latency_s: seconds before each block of an answer.
        bytes_per_s: of one connection, at most.
        broken: share 0..1 of the client's blocks after which the connection ends instead of an answer.
        silent: nothing is passed on any more.
        breaks: how many connections have been ended.
    """

    address: str = ""
    latency_s: float = 0.0
    bytes_per_s: float = 1e12
    broken: float = 0.0
    silent: bool = False
    breaks: int = 0
    draws: random.Random = field(default_factory=lambda: random.Random(0))


def _end(*ends: socket.socket) -> None:
    for one in ends:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _pass_on(network: Network, source: socket.socket, target: socket.socket, answers: bool) -> None:
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            while network.silent:
                time.sleep(0.02)
            if not answers and network.draws.random() < network.broken:
                network.breaks += 1
                break
            if answers:
                time.sleep(network.latency_s + len(block) / network.bytes_per_s)
            target.sendall(block)
    _end(source, target)


def _accept(network: Network, listening: socket.socket, server: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            behind = socket.create_connection(server)
            for ends in ((client, behind, False), (behind, client, True)):
                threading.Thread(target=_pass_on, args=(network, *ends), daemon=True).start()


@contextmanager
def network_before(server: tuple[str, int]) -> Iterator[Network]:
    """Put a network before a server (host, port); yield it."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        network = Network(f"127.0.0.1:{listening.getsockname()[1]}")
        threading.Thread(target=_accept, args=(network, listening, server), daemon=True).start()
        try:
            yield network
        finally:
            network.silent = False
            _end(listening)
