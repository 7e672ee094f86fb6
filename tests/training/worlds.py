"""Real gloo processes for the tests: the same work on worlds of several sizes."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp

from training.ranks.world import World, joined_world

Work = Callable[..., dict[str, torch.Tensor]]


def _join(rank: int, work: Work, size: int, port: int, out: Path, arguments: tuple) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with joined_world("cpu") as world:
        torch.set_num_threads(1)
        torch.save(work(world, *arguments), out / f"{size}-{rank}.pt")


def on_world(size: int, work: Work, out: Path, *arguments: object) -> list[dict[str, torch.Tensor]]:
    """Run `work(world, *arguments)` on every rank and return what each rank returned."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_join, (work, size, port, out, arguments), nprocs=size)
    return [torch.load(out / f"{size}-{rank}.pt") for rank in range(size)]


def share(rows: torch.Tensor, world: World) -> torch.Tensor:
    """Return this rank's equal share of the rows."""
    return rows.chunk(world.size)[world.rank]
