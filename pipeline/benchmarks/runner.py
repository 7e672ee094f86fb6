"""What all benchmarks share: rounds of runs, each in a fresh process, tables and JSON."""

import json
import multiprocessing
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
