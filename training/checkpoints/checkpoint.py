"""Checkpoints: written whole or not at all, loaded without running code, checked before use."""

import errno
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_origin, get_type_hints

import torch

from shards.command import UserError, first_line, storage_mistake
from shards.format import Preprocessing
from shards.writer import write_atomically
from training.checkpoints.checksummed_file import load_data, write_data
from training.checkpoints.class_rows import RowsFile, check_rows
from training.checkpoints.run_folder import FINAL, checkpoint_path, numbered_checkpoints, rows_files

CHECKPOINT_VERSION = 3
_READABLE = (1, 2, CHECKPOINT_VERSION)
_KIND = "low-resolution face recognition checkpoint"


@dataclass(frozen=True)
class Best:
    """The validation of the best step of a run so far.

    Attributes:
        step: number of steps done then.
        name: of the figure that is compared, the greater the better.
        value: of the figure.
    """

    step: int
    name: str
    value: float


@dataclass(frozen=True)
class WeightsFile:
    """The file of a network that a run began with, or learns from.

    Attributes:
        file: its path then.
        sha256: of the file.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A training run at the end of a step, as plain data and tensors.

    Attributes:
        step: number of steps done.
        config: of the run, as plain data.
        recipe: name the run was started by.
        preprocessing: of the shards.
        identities: number of classes.
        shards_sha256: of the shards' manifest.
        backbone: state dict.
        head: state dict.
        optimizer: state dict.
        best: validation of the best step so far, None where nothing was validated.
        initial: the file whose weights a fine-tuned backbone began with, None for another.
        validation_due: whether the validation of this step was cut short, and is to be made up for.
        teacher: the file of the frozen network that the run learns from, None without one.
        averaged: state dict of the moving average of the backbone's weights, None without one.
        rows: the files that hold the rows of a class matrix in shards, and what the optimiser keeps for them; None
            where all that is in `head` and `optimizer`.
    """

    step: int
    config: dict[str, Any]
    recipe: str
    preprocessing: Preprocessing
    identities: int
    shards_sha256: str
    backbone: dict[str, Any]
    head: dict[str, Any]
    optimizer: dict[str, Any]
    best: Best | None = None
    initial: WeightsFile | None = None
    validation_due: bool = False
    teacher: WeightsFile | None = None
    averaged: dict | None = None
    rows: list | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically, with a SHA-256 of everything in it."""
    fields = {**vars(checkpoint), "preprocessing": checkpoint.preprocessing.to_dict()}
    fields |= {name: asdict(fields[name]) for name in ("best", "initial", "teacher") if fields[name] is not None}
    fields["rows"] = [asdict(file) for file in checkpoint.rows] if checkpoint.rows is not None else None
    versions = {"torch": str(torch.__version__)}
    data = {"kind": _KIND, "version": CHECKPOINT_VERSION, "versions": versions, **fields}
    write_atomically(path, lambda file: write_data(file, data))


def copy_checkpoint(source: Path, path: Path) -> None:
    """Give a checkpoint a second name atomically, or copy it where the file system knows one name a file.

    Checkpoints are replaced, never changed: what happens to one name does not reach the other.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        temporary.unlink(missing_ok=True)
        os.link(source, temporary)
        temporary.replace(path)
    except OSError as error:
        if storage_mistake(error) and error.errno != errno.EPERM:
            raise
        with source.open("rb") as opened:
            write_atomically(path, lambda file: shutil.copyfileobj(opened, file))
    finally:
        # Renaming one name of a file to another name of it leaves both.
        temporary.unlink(missing_ok=True)


def is_checkpoint(data: dict[str, Any]) -> bool:
    """Tell whether the content of a file is that of one of our checkpoints, of whatever version."""
    return data.get("kind") == _KIND


def load_checkpoint(path: Path, checked: bool = False) -> Checkpoint:
    """Load one of our checkpoints onto the CPU; its tensors stay in the file until they are used.

    Args:
        path: the file.
        checked: whether the whole file has been checked for damage already.

    Raises:
        UserError: missing, damaged, of another version, or something else.
    """
    data = load_data(path, checked)
    if not is_checkpoint(data):
        raise UserError(f"{path} is no checkpoint of a training run; expected a step-NNNNNNN.pt or {FINAL}")
    if data.get("version") not in _READABLE:
        raise UserError(f"{path} has version {data.get('version')!r}, this program reads {CHECKPOINT_VERSION}")
    try:
        data["preprocessing"] = Preprocessing.from_dict(data["preprocessing"])
        data["best"] = Best(**data["best"]) if data.get("best") else None
        for name in ("initial", "teacher"):
            data[name] = WeightsFile(**data[name]) if data.get(name) else None
        data.setdefault("validation_due", False)
        data.setdefault("averaged", None)
        data["rows"] = [RowsFile(**file) for file in data["rows"]] if data.get("rows") else None
        checkpoint = Checkpoint(**{name: data[name] for name in Checkpoint.__dataclass_fields__})
        _require_types(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {first_line(error)}") from error
    return checkpoint


def _require_types(described: Checkpoint | Best | WeightsFile | RowsFile) -> None:
    """Raise TypeError where a field is not of its kind, or the configuration names no network."""
    for name, hint in get_type_hints(type(described)).items():
        value = getattr(described, name)
        if not isinstance(value, get_origin(hint) or hint if not isinstance(hint, UnionType) else hint):
            raise TypeError(f"its {name} is {str(value)[:40]!r}")
        if isinstance(value, Best | WeightsFile):
            _require_types(value)
    if isinstance(described, Checkpoint):
        for file in described.rows or []:
            _require_types(file)
        model = described.config["model"]
        if not isinstance(model["backbone"], str) or type(model["embedding_size"]) is not int:
            raise TypeError(f"its network is {str(model)[:80]!r}")


def latest_checkpoint(run_dir: Path) -> Path | None:
    """Return a run's newest undamaged checkpoint; a damaged newer one is skipped with a warning."""
    for path in reversed(numbered_checkpoints(run_dir)):
        try:
            check_rows(path.parent, load_checkpoint(path).rows or [])
        except UserError as damage:
            print(f"warning: skipped: {damage}", file=sys.stderr)
        else:
            return path
    return None


def remove_old_checkpoints(run_dir: Path, keep: int, best: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and the one of step 0, and rows that belong to none that is left.

    Args:
        run_dir: folder of the run.
        keep: number of checkpoints.
        best: step whose rows stay as well.
    """
    first = checkpoint_path(run_dir, 0)
    paths = [path for path in numbered_checkpoints(run_dir) if path != first]
    for path in paths[:-keep]:
        path.unlink()
    left = {path.name for path in (first, *paths[-keep:])}
    for step, path in rows_files(run_dir):
        if step != best and checkpoint_path(run_dir, step).name not in left:
            path.unlink()
