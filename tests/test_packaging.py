"""The requirements files and pyproject.toml pin the same packages."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> set[str]:
    """Return the packages that a requirements file pins; other files and the project itself are left out."""
    lines = (line.strip() for line in (ROOT / name).read_text().splitlines())
    return {line.replace('"', "'") for line in lines if line and not line.startswith(("#", "-"))}


@pytest.mark.parametrize(
    ("file", "listed"),
    [
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-dev.txt", PROJECT["optional-dependencies"]["dev"][1:]),
        ("requirements-storage.txt", PROJECT["optional-dependencies"]["storage"]),
        ("requirements-landmarks.txt", PROJECT["optional-dependencies"]["landmarks"]),
    ],
)
def test_both_ways_to_install_bring_the_same_versions(file: str, listed: list[str]) -> None:
    assert pins(file) == set(listed)
    assert all("==" in package for package in listed)


def test_the_stated_python_versions_begin_with_the_oldest_allowed() -> None:
    stated = [line.rpartition(" ")[2] for line in PROJECT["classifiers"]]
    assert PROJECT["requires-python"] == f">={stated[0]}"
