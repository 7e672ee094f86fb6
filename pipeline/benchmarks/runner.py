"""What all benchmarks share: a process of its own for every run, memory and time of its children, and figures."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from shards.writer import write_atomically

P = ParamSpec("P")
T = TypeVar("T")


def in_fresh_process(deed: Callable[P, T], *arguments: P.args, **settings: P.kwargs) -> T:
    """Return what a function returns in a process that did nothing before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(deed, *arguments, **settings).result()


def write_figures(out: Path | None, name: str, data: dict) -> None:
    """Write figures as JSON into a folder, if one is named."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / name, (json.dumps(data, indent=1) + "\n").encode())


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
