"""What all benchmarks share: rounds of runs, each in a fresh process, their memory and time, tables and JSON."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ParamSpec, TypeVar

from shards.command import UserError
from shards.writer import write_atomically

P = ParamSpec("P")
T = TypeVar("T")


def require_at_least(options: Any, least: Mapping[str, int]) -> None:
    """Check options that count something.

    Raises:
        UserError: one is less than its least value.
    """
    for name, allowed in least.items():
        if getattr(options, name) < allowed:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}; give at least {allowed}")


def in_fresh_process(function: Callable[P, T], *arguments: P.args, **settings: P.kwargs) -> T:
    """Return what a function returns in a process that did nothing before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **settings).result()


def in_rounds(
    ways: Iterable[str], rounds: int, measure: Callable[[str, int], T], shown: Callable[[T], str]
) -> dict[str, list[T]]:
    """Measure every way once a round, so that a change of the machine's speed affects all ways alike.

    Args:
        ways: their names.
        rounds: measurements of each way.
        measure: returns the measurement of a way in a round, whose number starts at 0.
        shown: a measurement as text, printed as soon as it is there.

    Returns:
        by way, one measurement a round.
    """
    runs: dict[str, list[T]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, measured in runs.items():
            measured.append(measure(way, number))
            print(f"round {number + 1}: {way}: {shown(measured[-1])}", flush=True)
    return runs


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of some ratios; as text "1.20 (1.10 to 1.30)"."""

    median: float
    least: float
    largest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.largest:.2f})"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratios of measurements of the same round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of some ratios."""
    return Spread(median(values), min(values), max(values))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table as wide as its content, the first column flush left and all others flush right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)


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
