"""What an adaptation gained: the figures of two networks on the people who were set aside, size by size."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shards.command import UserError
from shards.json_file import read_object

_REDUCED = re.compile(r"(\d+) px: (.+)")
_SHOWN = ("rank-1", "TPIR at FPIR 1 %")


@dataclass(frozen=True)
class Gain:
    """A figure at one size of the probes.

    Attributes:
        size: side in pixels, "full" for probes as they are.
        figure: its name.
        values: of each model in per cent, None where it could not be measured.
        n: number of trials behind the first value.
    """

    size: str
    figure: str
    values: tuple[float | None, ...]
    n: int


def read_gains(results: Path) -> tuple[list[str], list[Gain]]:
    """Read the models' labels and their figures by size from the results.json of an evaluation.

    Raises:
        UserError: the file cannot be read or is none of an evaluation.
    """
    try:
        data = read_object(results)
        of_models = data["protocols"][0]["results"]
        labels = [str(one["model"]) for one in of_models]
        return labels, gains([_by_name(one["figures"]) for one in of_models])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{results} holds no results of an evaluation ({error}); run the same command again") from error


def gains(of_models: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Gain]:
    """Put the same figure of several models side by side, smallest probes first and full ones last.

    Args:
        of_models: of each model, figures by name, as shares 0..1 or None.
    """
    found = []
    for name, figure in of_models[0].items():
        match = _REDUCED.fullmatch(name)
        size, kind = (match[1], match[2]) if match else ("full", name)
        if kind in _SHOWN:
            shares = [one[name]["value"] if name in one else None for one in of_models]
            values = tuple(None if share is None else 100 * share for share in shares)
            if any(value is not None for value in values):
                found.append(Gain(size, kind, values, int(figure["n"])))
    return sorted(found, key=lambda one: (_SHOWN.index(one.figure), one.size == "full", len(one.size), one.size))


def _by_name(figures: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(figure["name"]): figure for figure in figures}


def print_gains(results: Path, people: int) -> None:
    """Print the figures before and after, on so many people."""
    labels, found = read_gains(results)
    table = Table(title=f"per cent, on {people} people who were not trained on")
    for head in ("figure", "probe, pixels", *labels, "n"):
        table.add_column(head, justify="left" if head == "figure" else "right")
    for one in found:
        values = ("-" if value is None else f"{value:.1f}" for value in one.values)
        table.add_row(one.figure, one.size, *values, f"{one.n:,}")
    Console().print(table)
