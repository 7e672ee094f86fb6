"""Real gloo processes for the tests: the same work on worlds of several sizes."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp

from tests.forked import origin
from training.ranks.world import World, joined_world

Work = Callable[..., dict[str, torch.Tensor]]


def _join(rank: int, work: Work, size: int, environment: dict[str, str], out: Path, arguments: tuple) -> None:
    said = os.open(out / f"said-{size}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(environment, RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size))
    with joined_world(environment.get("FOUND_BY_RANKS", "cpu " * size).split()[rank]) as world:
        torch.set_num_threads(1)
        torch.save(work(world, *arguments), out / f"{size}-{rank}.pt")


def _fork(work: Work, size: int, *arguments: object) -> None:
    mp.start_processes(_join, (work, size, *arguments), nprocs=size, start_method="fork")


def on_world(size: int, work: Work, out: Path, *arguments: object, **environment: str) -> list[dict[str, torch.Tensor]]:
    """Run `work(world, *arguments)` on every rank and return what each rank returned.

    What the ranks print goes to this process's stderr when they have ended. FOUND_BY_RANKS names the device that each
    rank found, "cpu" by default.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said = out / f"said-{size}.txt"
    try:
        origin().submit(_fork, work, size, environment, out, arguments).result()
    finally:
        if said.exists():
            sys.stderr.write(said.read_text())
            said.unlink()
    return [torch.load(out / f"{size}-{rank}.pt") for rank in range(size)]


def share(rows: torch.Tensor, world: World) -> torch.Tensor:
    """Return this rank's equal share of the rows."""
    return rows.chunk(world.size)[world.rank]
