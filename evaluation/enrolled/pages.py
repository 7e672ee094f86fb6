"""How the commands on decisions write: texts that only their owner may read, tables as CSV, pages from templates."""

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment

from shards.writer import write_atomically
from training.monitoring.page_templates import page_environment

_TEMPLATES = Path(__file__).parent / "templates"


def decisions_environment(*more: Path) -> Environment:
    """Return the environment of the templates of pages on a gallery and on decisions, and of more folders."""
    environment = page_environment(_TEMPLATES, *more)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment


def write_private(path: Path, text: str) -> None:
    """Write a text, whole or not at all, readable by its owner alone."""
    write_atomically(path, text.encode(), private=True)


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
