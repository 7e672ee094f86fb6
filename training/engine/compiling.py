"""torch.compile, where the machine has what it needs."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from shards.command import UserError
from training.ranks.world import World, patient_steps


def compiler_fault(device: torch.device) -> str | None:
    """Return why torch.compile cannot work here, or None where it can.

    On a CPU it writes C++ and needs a compiler: the one that the environment variable CXX names, or g++ or clang++.
    """
    if device.type == "cuda":
        return None
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if any(shutil.which(name) for name in names):
        return None
    return f"no C++ compiler ({', '.join(names)}) is installed; install g++, or set CXX"


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network that is compiled when it is first called; its parameters are the same tensors.

    Raises:
        UserError: the machine has no compiler.
    """
    if (fault := compiler_fault(device)) is not None:
        raise UserError(f"compile asked for, but {fault}, or leave --compile out")
    fast: nn.Module = torch.compile(network)  # type: ignore[assignment]
    return fast


@contextmanager
def waiting_for_compilers(world: World, timeout: int, late: float = 120) -> Iterator[None]:
    """Let a step compile: every rank waits for those that take longer, and one that takes long says so.

    Args:
        world: this process among all.
        timeout: seconds that a rank waits for the others in other steps.
        late: seconds of compiling after which a warning names this rank.
    """
    from torch._dynamo.callback import callback_handler

    begun: list[float] = []

    def begin(_: object) -> None:
        begun.append(time.monotonic())

    def end(_: object) -> None:
        begun.clear()

    def warn() -> None:
        # A rank that is done itself, and waits for another, says nothing.
        if begun and world.size > 1:
            print(
                f"warning: rank {world.rank} still compiles after {late:g} s, and the others wait for it",
                file=sys.stderr,
                flush=True,
            )

    warning = threading.Timer(late, warn)
    warning.daemon = True
    callback_handler.register_start_callback(begin)
    callback_handler.register_end_callback(end)
    warning.start()
    try:
        with patient_steps(timeout):
            yield
    finally:
        warning.cancel()
        callback_handler.remove_start_callback(begin)
        callback_handler.remove_end_callback(end)
