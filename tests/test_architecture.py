"""The order of imports is the architecture: of the packages, and of the rooms (folders) within each."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.entry_points import MODULE_OF

ROOT = Path(__file__).parents[1]
ORDER = ["shards", "pipeline", "training", "evaluation", "experiments"]
ROOMS = {
    "shards": [["storage"]],
    "pipeline": [
        ["pixels"],
        # The offline half and the online half: neither imports the other.
        ["jobs", "sources", "detection", "alignment", "tracking", "sharding"],
        ["sampling", "reading", "loading"],
        ["synthetic", "benchmarks"],
    ],
    "training": [
        [
            "settings",
            "ranks",
            "checkpoints",
            "peers",
            "networks",
            "objectives",
            "monitoring",
            "engine",
            "adaptation",
            "benchmarks",
        ],
    ],
    "evaluation": [
        [
            "metrics",
            "lists",
            "models",
            "scoring",
            "protocols",
            "reporting",
            "enrolled",
            "decisions",
            "checks",
            "benchmarks",
        ],
    ],
    "experiments": [["trials", "findings"]],
}
"""Rooms of each package in groups: a room imports from earlier rooms of its own group, and from `OPEN` groups."""
OPEN = {"pipeline": {1: [0], 2: [0], 3: [0, 1, 2]}}
"""Which groups of a package a group may import from, beside itself."""
MOST_MODULES = 15
MODULES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
# Run as a script, training/main.py has its folder on the module path: these would hide the standard ones.
SHADOWS = {"copy", "logging", "random", "types"}


@cache
def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


ENTRY_POINTS = set(MODULE_OF.values())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_from_their_left(path: Path) -> None:
    own = ORDER.index(path.relative_to(ROOT).parts[0])
    imported = imported_modules(path)
    packages = {name.split(".")[0] for name in imported}
    assert not packages & set(ORDER[own + 1 :]), "imports from the right"
    assert not packages & {"tests"}
    assert not imported & ENTRY_POINTS, "imports an entry point"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Whether a circle is closed by a type alone or inside a function, who reads it goes round."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    # Raises CycleError, which names the circle.
    TopologicalSorter({name: imported_modules(path) & names.keys() for name, path in names.items()}).prepare()


def room_of(module: str) -> tuple[str, str] | None:
    """Return package and room of a dotted module, None for the top of a package and for packages without rooms."""
    package, *rest = module.split(".")
    return (package, rest[0]) if len(rest) > 1 and package in ROOMS else None


def allowed_rooms(package: str, room: str) -> set[str]:
    """Return the rooms of its package that a room may import from."""
    for number, group in enumerate(ROOMS[package]):
        if room in group:
            others = [ROOMS[package][other] for other in OPEN.get(package, {}).get(number, [])]
            return {*group[: group.index(room) + 1], *(name for other in others for name in other)}
    raise AssertionError(f"{package}/{room} is not in ROOMS")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_from_rooms_before_them(path: Path) -> None:
    own = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own is None:
        return
    package, room = own
    rooms = {found for name in imported_modules(path) if (found := room_of(name)) and found[0] == package}
    # `from pipeline.pixels import resample` names the room alone.
    known = {name for group in ROOMS[package] for name in group}
    assert {name for _, name in rooms if name in known} <= allowed_rooms(package, room)


def test_every_folder_of_modules_is_a_room_of_a_readable_size() -> None:
    for package, groups in ROOMS.items():
        folders = {path.parent.name for path in (ROOT / package).glob("*/*.py")}
        assert folders == {name for group in groups for name in group}
    for folder in {path.parent for path in MODULES}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES, folder


def test_tests_lie_in_the_rooms_of_what_they_test() -> None:
    for package, groups in ROOMS.items():
        folders = {path.parent.name for path in (ROOT / "tests" / package).glob("*/test_*.py")}
        assert folders <= {name for group in groups for name in group}


def test_there_are_modules_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(ORDER)
    assert {"pipeline.shard", "training.main", "evaluation.__main__"} <= ENTRY_POINTS


def test_no_module_hides_a_standard_one_or_collects_leftovers() -> None:
    names = {path.stem for path in MODULES}
    assert "utils" not in names
    assert not {path.stem for path in MODULES if path.parent == ROOT / "training"} & SHADOWS


def test_top_level_holds_what_was_agreed() -> None:
    for name in [*ORDER, "docker", "requirements.txt", "README.md", "LICENSE", "compose.yaml", "Makefile"]:
        assert (ROOT / name).exists(), name
