"""Device choice, deterministic arithmetic and the reuse of host memory."""

import ctypes
import os
import platform
import sys

import torch

from pipeline.loading.loader_checks import refuse_absent_gpu
from shards.command import UserError
from shards.cores import cores_of_a_process, usable_cores

# Of malloc.h: free memory at the end of the heap above which it is given back, and how many blocks may be mapped.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_DEFAULT_TRIM, _DEFAULT_MAPPED = 128 * 1024, 65_536


def processes_here() -> int:
    """Return how many processes of the run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def decoding_threads(asked: int, *, spoken: bool = False) -> int:
    """Return how many threads of each process decode; torchrun would let PyTorch have one.

    Args:
        asked: number of threads, or 0 for the process's share of this machine's usable cores.
        spoken: print how many they are.
    """
    here = processes_here()
    threads = asked or cores_of_a_process(here)
    if spoken:
        told = f"{threads} decoding thread{'s' * (threads > 1)} in each of {here} processes on this machine"
        print(f"{told}, which may use {usable_cores()} cores", flush=True)
    return threads


def chosen_device(asked: str, processes: int = 1) -> str:
    """Return "gpu" or "cpu" for what a user asked for.

    Args:
        asked: either of them, or "auto": GPUs where this machine has one for each process.
        processes: on this machine.

    Raises:
        UserError: a GPU is asked for, and there is none, or fewer than processes.
    """
    refuse_absent_gpu(asked)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = f"{found} GPU{'s' * (found > 1)}"
    if asked == "gpu" and found < processes:
        raise UserError(
            f"{processes} processes on a machine with {there}, and each needs one of its own; "
            f"start {found}, or train with --device cpu"
        )
    if asked == "auto" and 0 < found < processes:
        print(
            f"note: {processes} processes and {there}, so on the CPU; start {found} to compute there", file=sys.stderr
        )
    return "gpu" if asked != "cpu" and found >= processes else "cpu"


def prepare_machine(device: str) -> None:
    """Prepare this process for training on "cpu" or "gpu".

    A continued run repeats the losses of one never interrupted, bit by bit, on a device of the same kind.
    """
    # Read when cuBLAS is first used: only with workspaces of their own do its products repeat themselves.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # New memory would be filled, lest a result depend on what it holds; every operation here writes what it returns.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device == "cpu":
        keep_freed_memory()


def machine_name(device: torch.device) -> str:
    """Return the name of a GPU, or of what a CPU can do with how many threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees; with another C library than glibc, do nothing.

    The C library gives large blocks back to the system as soon as they are freed, and the system clears every page of
    them before it hands them out again. A training step on a CPU asks for the same gigabytes every time: kept, they
    cost nothing.
    """
    _set(trim=-1, mapped=0)


def return_freed_memory() -> None:
    """Give freed memory back to the system, as the C library does by default."""
    _set(trim=_DEFAULT_TRIM, mapped=_DEFAULT_MAPPED)
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _set(trim: int, mapped: int) -> None:
    if _is_glibc():
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, trim)
        library.mallopt(_M_MMAP_MAX, mapped)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
