"""The requirements files and pyproject.toml pin the same packages."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def locked() -> list[tuple[Requirement, str]]:
    """Every package of the lock, and the lines of its hashes."""
    text = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"^(\S+==[^\\\n]+)\\\n((?:    --hash=.+\n)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)), "a package without a hash"
    return [(Requirement(name), hashes) for name, hashes in entries]


def versions_here() -> dict[str, str]:
    """Versions of the lock's packages that are meant for this machine, by name."""
    chosen = [one for one, _ in locked() if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in chosen}


def test_the_lock_has_a_hash_for_every_package_and_the_pinned_versions() -> None:
    assert all(re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64} ?\\?\n)+", hashes) for _, hashes in locked())
    versions = versions_here()
    pinned = pins("requirements.txt") | pins("requirements-landmarks.txt") | pins("requirements-storage.txt")
    for pin in map(Requirement, pinned):
        if pin.marker is None or pin.marker.evaluate():
            assert str(pin.specifier) == f"=={versions.get(canonicalize_name(pin.name))}", f"run `make lock` for {pin}"


def test_the_lock_covers_what_the_packages_need() -> None:
    versions, extras = versions_here(), {canonicalize_name(one.name): one.extras for one, _ in locked()}
    for pin in map(Requirement, pins("requirements.txt")):
        extras[canonicalize_name(pin.name)] = pin.extras
    checked = 0
    for name in versions:
        try:
            needed = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # of a GPU's build, or not installed here
            continue
        for need in needed:
            chosen = (
                [need.marker.evaluate({"extra": extra}) for extra in ("", *extras[name])] if need.marker else [True]
            )
            if any(chosen):
                found = versions.get(canonicalize_name(need.name))
                assert found is not None and need.specifier.contains(found, prereleases=True), f"{name} needs {need}"
                checked += 1
    assert checked > 100


def test_the_page_of_licences_names_every_locked_package() -> None:
    named = set(re.findall(r"[a-z0-9-]+", (ROOT / "docs/licences.md").read_text().lower()))
    assert not {canonicalize_name(one.name) for one, _ in locked()} - named, "run `make licences`"


def test_the_stated_python_versions_begin_with_the_oldest_allowed() -> None:
    stated = [line.rpartition(" ")[2] for line in PROJECT["classifiers"]]
    assert PROJECT["requires-python"] == f">={stated[0]}"
