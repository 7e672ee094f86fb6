"""The lines of metrics.jsonl: a step and its figures each."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.json_file import parse_object

_LARGEST = 2**53
"""Steps beyond are no steps, and do not fit the float64 of a plot."""


@dataclass(frozen=True)
class Line:
    """A line of metrics.jsonl: its step, its figures by name, and its text without the line's end."""

    step: int
    figures: dict[str, float]
    text: str


def read_lines(path: Path) -> list[Line]:
    """Read metrics.jsonl, of a run that may not have started.

    A damaged line is left out with a warning; the last one, which the end of a process may have cut off, without.
    """
    # Not splitlines: of text it would also divide at signs that stand inside a line.
    rows = path.read_bytes().split(b"\n") if path.is_file() else []
    found = [_line(row) for row in rows if row.strip()]
    if damaged := found[:-1].count(None):
        print(f"warning: skipped {damaged} damaged lines of {path}", file=sys.stderr)
    return [line for line in found if line is not None]


def _line(row: bytes) -> Line | None:
    """Parse a line; None where it is not whole."""
    try:
        text = row.decode().rstrip("\r")
        data = parse_object(text)
        step = data.pop("step")
        if type(step) is not int or not 0 <= step < _LARGEST:
            return None
        return Line(step, dict(_figures(data)), text)
    except (ValueError, KeyError, OverflowError):
        return None


def _figures(data: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in data.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is no number")
        yield name, float(value)
