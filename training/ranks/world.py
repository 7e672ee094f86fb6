"""Processes, ranks and the communication between them."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _set_pg_timeout

from shards.command import UserError, fail, storage_mistake, tell_launcher
from shards.cores import cores_of_a_process
from training.ranks.machine import processes_here

_PATIENCE = timedelta(hours=2)
_STORE_PORT = "low-resolution face recognition: port of the store"
_TO_CONNECT = timedelta(seconds=3)
# Of NCCL, for what is wrong on this machine: memory, a driver, a network card.
_OWN_FAULTS = ("unhandled cuda error", "unhandled system error", "internal error", "invalid usage", "invalid argument")
_TO_START = 180.0
"""Seconds for which processes wait for the first one to start."""


@dataclass(frozen=True)
class World:
    """A process among all processes of the run.

    Attributes:
        rank: 0..size - 1.
        size: number of processes.
        device: where this process computes.
        patient: group of all processes with a long timeout, for waiting while one validates, for example.
        saving: the same for the threads that write checkpoints while training goes on.
    """

    rank: int
    size: int
    device: torch.device
    patient: dist.ProcessGroup | None = None
    saving: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.rank == 0


ALONE = World(0, 1, torch.device("cpu"))


@contextmanager
def joined_world(device: str, timeout: int = 45) -> Iterator[World]:
    """Join the processes that torchrun started; a process without torchrun forms a world of one.

    A process whose peer has died, or has not answered for the timeout, says so in one line and ends with status 1,
    so that torchrun ends the others or restarts all.

    Args:
        device: "cpu" (gloo) or "gpu" (NCCL, one GPU a process); where machines found different ones, all take the CPU.
        timeout: seconds that a process waits for the others in a step.
    """
    rank = int(os.environ.get("RANK", "0"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_size = processes_here()
    limit = timedelta(seconds=timeout)
    store = _store(rank, size, limit) if size > 1 else None
    if store is not None:
        device = _agreed_device(device, rank, size, store)
    place = torch.device("cuda", local_rank) if device == "gpu" else torch.device("cpu")
    if device == "gpu":
        torch.cuda.set_device(place)
    else:
        torch.set_num_threads(cores_of_a_process(local_size))
    if size > 1:
        # Tensors on the GPU are sent by NCCL; stop requests are on the CPU and sent by gloo.
        backend = "cpu:gloo,cuda:nccl" if device == "gpu" else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=limit, store=store)
    groups = [dist.new_group(backend="gloo", timeout=_PATIENCE) for _ in range(2)] if size > 1 else []
    try:
        yield World(rank, size, place, *groups)
    except RuntimeError as error:
        if size == 1 or not _is_of_communication(error):
            raise
        message = f"rank {rank} {fault_of_communication(error)}"
        tell_launcher(message)
        print(message, file=sys.stderr, flush=True)
        # Destroying the group would wait for the lost process.
        os._exit(1)
    if size > 1:
        dist.destroy_process_group()


def _agreed_device(device: str, rank: int, size: int, store: dist.Store) -> str:
    """Return the device that every process found; the CPU where some found no GPU, which is said."""
    store.set(f"device of rank {rank}", device)
    found = [store.get(f"device of rank {other}").decode() for other in range(size)]
    if len(set(found)) > 1 and rank == 0:
        without = ", ".join(str(other) for other, one in enumerate(found) if one == "cpu")
        print(f"note: ranks {without} have no GPU of their own, so all compute on the CPU", file=sys.stderr)
    return device if len(set(found)) == 1 else "cpu"


def _store(rank: int, size: int, timeout: timedelta) -> dist.Store:
    """Return the store by which the processes of this start find each other.

    torchrun shares one store among all restarts of a job: after a restart by `--max-restarts`, processes would
    read the addresses of processes that have ended. So the first process opens a new store, and only its port is passed
    through torchrun's store. The port of the previous start does not answer: the others retry until the new one is set.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        store, _, _ = next(dist.rendezvous("env://", rank, size, timeout=timeout))
        return store
    host, lent_port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    lent = dist.TCPStore(host, lent_port, None, False, timeout=timeout)
    if rank == 0:
        own = dist.TCPStore(host, 0, size, True, timeout=timeout, wait_for_workers=False)
        lent.set(_STORE_PORT, str(own.port))
        return own
    deadline = time.monotonic() + _TO_START
    while True:
        try:
            port = int(lent.get(_STORE_PORT))
            own = dist.TCPStore(host, port, size, False, timeout=_TO_CONNECT, wait_for_workers=False)
            own.set_timeout(timeout)
            return own
        except dist.DistError:
            if time.monotonic() > deadline:
                raise


def fault_of_communication(error: RuntimeError) -> str:
    """Say whether a process lost another one or failed itself, with the first and the last lines of the error.

    >>> fault_of_communication(RuntimeError("NCCL error: unhandled cuda error\\nLast error:\\nout of memory"))
    'could not communicate: NCCL error: unhandled cuda error ... Last error: out of memory'
    """
    lines = [line.strip()[:300] for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = " ... ".join([lines[0], *([" ".join(lines[1:][-4:])] if len(lines) > 1 else [])])
    own = any(sign in str(error) for sign in _OWN_FAULTS)
    return f"could not communicate: {text}" if own else f"lost another process, whose own message says why: {text}"


def _is_of_communication(error: RuntimeError) -> bool:
    """Return whether an error is that of a collective operation."""
    return isinstance(error, dist.DistError) or any(
        sign in str(error) for sign in ("gloo", "Connection closed by peer", "Connection reset by peer")
    )


@contextmanager
def patient_steps(timeout: int) -> Iterator[None]:
    """Let the processes wait for each other in the block as long as they do for a checkpoint.

    Args:
        timeout: of `joined_world`, which counts again after the block.
    """
    if not dist.is_initialized():
        yield
        return
    _set_pg_timeout(_PATIENCE)
    try:
        yield
    finally:
        _set_pg_timeout(timedelta(seconds=timeout))


def wait_for_all(world: World) -> None:
    """Wait until every rank has reached this point."""
    if world.size > 1:
        dist.barrier(group=world.patient)


def end_all_ranks(world: World, message: str) -> NoReturn:
    """End all ranks with a user's mistake, printed once; every rank must call it.

    Raises:
        UserError: in a world of one process.
        SystemExit: with status 2 in a larger one, once the main process has printed the line.
    """
    if world.size == 1:
        raise UserError(message)
    try:
        if world.is_main:
            fail(message)
    finally:
        # If another process ended first, torchrun would end this one before it prints.
        wait_for_all(world)
    raise SystemExit(2)


@contextmanager
def errors_end_all_ranks(world: World) -> Iterator[None]:
    """Run a block, and if any rank finds a user's mistake or a full disk in it, end all ranks with one message.

    Inside the block no rank may wait for another.
    """
    mistake = None
    try:
        yield
    except UserError as error:
        mistake = str(error)
    except OSError as error:
        full = storage_mistake(error)
        if full is None:
            raise
        mistake = str(full)
    # The block of one rank may take longer than a step: the main process checks a whole checkpoint.
    wait_for_all(world)
    told = [message for message in gather_objects(mistake) if message is not None]
    if told:
        end_all_ranks(world, told[0])


def raise_on_all_ranks(world: World, mistake: UserError | None) -> None:
    """End all ranks if any of them has a mistake to report; every rank must call it."""
    with errors_end_all_ranks(world):
        if mistake is not None:
            raise mistake


class _GatherRows(torch.autograd.Function):
    """Gathers the rows of all ranks, and returns gradients to the rank that each row came from."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Put the rows of all ranks together: (N, D) -> (W N, D)."""
        ctx.place = slice(dist.get_rank() * len(rows), (dist.get_rank() + 1) * len(rows))
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up every rank's gradient of this rank's rows: (W N, D) -> (N, D)."""
        # A copy: autograd may hand the same gradient to others.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.place]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all ranks in order of rank: (N, ...) -> (W N, ...); gradients flow back."""
    if not dist.is_initialized():
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the mean of a detached tensor over all ranks."""
    if not dist.is_initialized():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def any_rank(*flags: bool, group: dist.ProcessGroup | None = None) -> tuple[bool, ...]:
    """Return, on every rank, which flags any rank raised; the flags are on the CPU, so no GPU waits for them.

    Args:
        flags: of this rank.
        group: of all ranks, whose timeout counts; by default that of a step.
    """
    if not dist.is_initialized():
        return flags
    raised = torch.tensor(flags, dtype=torch.int64)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX, group=group)
    return tuple(map(bool, raised.tolist()))


def gather_objects(mine: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Return every rank's object, in order of rank; for small plain data, by a group of all ranks."""
    if not dist.is_initialized():
        return [mine]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, mine, group=group)
    return gathered


def broadcast_from_main(mine: Any) -> Any:
    """Return the main process's object, on every rank; for small plain data."""
    return gather_objects(mine)[0]
