"""The order of imports is the architecture: shards < pipeline < training < evaluation < experiments."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.entry_points import MODULE_OF

ROOT = Path(__file__).parents[1]
ORDER = ["shards", "pipeline", "training", "evaluation", "experiments"]
MODULES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
# Run as a script, training/main.py has its folder on the module path: these would hide the standard ones.
SHADOWS = {"copy", "logging", "random", "types"}


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
