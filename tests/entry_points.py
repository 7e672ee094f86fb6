"""The commands of the project, found by what a file looks like that is run."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = [name for name in ("shards", "pipeline", "training", "evaluation", "experiments") if (ROOT / name).is_dir()]


def is_entry_point(path: Path) -> bool:
    """Tell whether a file is run, not imported."""
    return 'if __name__ == "__main__"' in path.read_text(encoding="utf-8") or path.stem == "__main__"


def _name(module: str) -> str:
    """Return what a user types after `python -m`, or the script that torchrun starts."""
    return "training/main.py" if module == "training.main" else module.removesuffix(".__main__")


MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULE_OF = {
    _name(module): module
    for module in (".".join(p.relative_to(ROOT).with_suffix("").parts) for p in MODULES if is_entry_point(p))
}
"""Name on the command line -> module."""
