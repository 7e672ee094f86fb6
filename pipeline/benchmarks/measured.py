"""Memory and time of processes, and of a run of batches; imports the standard library alone."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One run of one way.

    Attributes:
        identities: delivered while it was measured.
        identities_per_second: by the clock.
        core_seconds: that its processes spent on cores meanwhile.
        peak_mib: largest resident memory of its processes.
    """

    identities: int
    identities_per_second: float
    core_seconds: float
    peak_mib: float


def measured(
    source: Iterator[object], warm_up: int, batches: int, batch: int, wait: Callable[[], None] = lambda: None
) -> Measured:
    """Take batches and measure.

    Args:
        source: of batches.
        warm_up: batches before those that are measured.
        batches: measured ones.
        batch: identities in each.
        wait: returns when a device has done what it was given.
    """
    for _ in range(warm_up):
        next(source)
    wait()
    processes = family()
    spent, start = cpu_seconds(processes), time.perf_counter()
    for _ in range(batches):
        next(source)
    wait()
    seconds, spent = time.perf_counter() - start, cpu_seconds(processes) - spent
    return Measured(batches * batch, batches * batch / seconds, spent, peak_mib(processes))


def family() -> list[int]:
    """Return the ids of this process and of those that it started through multiprocessing."""
    return [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid is not None)]


def peak_mib(processes: Iterable[int]) -> float:
    """Return the largest resident memory of processes so far, in MiB, summed; what they share counts for each."""
    return sum(_status(process, "VmHWM") for process in processes) / 1024


def resident_mib(process: int | None = None) -> float:
    """Return the resident memory of a process, by default this one, that is not a mapped file, in MiB."""
    return _status(os.getpid() if process is None else process, "RssAnon") / 1024


def cpu_seconds(processes: Iterable[int]) -> float:
    """Return the time that processes have spent on cores so far, in seconds, summed."""
    ticks = 0
    for process in processes:
        # The fields after the command's name, which may hold spaces: user and system time are the 14th and 15th.
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _status(process: int, name: str) -> int:
    """Return a field of a process's status in KiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {name} in /proc/{process}/status")
