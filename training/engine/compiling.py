"""torch.compile, where the machine has what it needs."""

import os
import shutil

import torch
from torch import nn

from shards.command import UserError


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
