"""Render HTML templates: escaped by default, and a missing name is an error."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def page_environment(*templates: Path) -> Environment:
    """Return the environment that renders the templates of a folder, or of several."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
