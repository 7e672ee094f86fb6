"""The page of a run: how far it came, its curves, its settings and where it comes from, in one file."""

import base64
import json
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shards.command import UserError
from shards.json_file import read_object
from shards.writer import write_atomically
from training.checkpoints.run_folder import CONFIG, CURVES, METRICS, PAGE, PROVENANCE, VALIDATION
from training.monitoring.curves import Curve, draw_curves, read_curves, readable
from training.monitoring.page_templates import page_environment
from training.settings.config import flat

_TEMPLATES = Path(__file__).parent / "templates"


def note_start(run_dir: Path, origin: dict[str, Any], *, step: int, processes: int, device: str) -> None:
    """Add to a run's provenance that it was started, or continued, here and now.

    Args:
        run_dir: folder of the run.
        origin: of its checkpoints, as plain data.
        step: steps done before.
        processes: number of them.
        device: name of what one of them computes on.
    """
    import torch

    start = {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processes": processes,
        "device": device,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    path = run_dir / PROVENANCE
    starts = read_provenance(run_dir).get("starts", [])
    write_atomically(path, (json.dumps({**origin, "starts": [*starts, start]}, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Summary:
    """What a page shows.

    Attributes:
        recipe: name.
        config: settings by their full names.
        changed: names of the settings that are not the recipe's.
        step: of the last line of metrics.
        steps: of the whole run.
        losses: last values, by name.
        validation: by figure, its values at the best and at the last validated step.
        best_step: by validation, or None.
        last_step: validated last, or None.
        provenance: what `note_start` wrote; empty for a run without.
    """

    recipe: str
    config: dict[str, Any]
    changed: frozenset[str]
    step: int
    steps: int
    losses: dict[str, float]
    validation: dict[str, tuple[float, float]]
    best_step: int | None
    last_step: int | None
    provenance: dict[str, Any]


def write_page(run_dir: Path) -> Path:
    """Write a run's summary.html, which needs no other file, and its curves as PNG; return the page's path.

    Raises:
        UserError: the folder holds no run, or its config.json is damaged.
    """
    about = _read_config(run_dir)
    curves = read_curves(run_dir / METRICS)
    summary = summarised(about, curves, read_provenance(run_dir))
    plots = draw_curves(curves, summary.best_step)
    (run_dir / CURVES).mkdir(exist_ok=True)
    for plot in plots:
        write_atomically(run_dir / CURVES / plot.name, plot.png)
    environment = page_environment(_TEMPLATES)
    pictures = [{"title": plot.title, "data": base64.b64encode(plot.png).decode()} for plot in plots]
    page = run_dir / PAGE
    text = environment.get_template("summary.html").render(run=summary, plots=pictures)
    write_atomically(page, text.encode())
    return page


def try_to_write_page(run_dir: Path) -> None:
    """Write a run's page; if that fails, print a warning and continue training."""
    try:
        write_page(run_dir)
    except Exception as error:  # whatever it is, the checkpoints matter more
        print(f"warning: no {PAGE} in {run_dir}: {error!r}", file=sys.stderr)


def summarised(about: dict[str, Any], curves: dict[str, Curve], provenance: dict[str, Any]) -> Summary:
    """Put together what a page shows, from config.json, the curves and the provenance."""
    from training.settings.recipes import RECIPES

    config = flat(about["config"])
    named = flat(RECIPES[about["recipe"]].to_dict()) if about["recipe"] in RECIPES else config
    losses = {name: curve.values[-1] for name, curve in curves.items() if not name.startswith(VALIDATION)}
    validations = {name: curve for name, curve in curves.items() if name.startswith(VALIDATION)}
    best_step, last_step, validation = None, None, {}
    if validations:
        criterion = next(iter(validations.values()))
        # The first of equals, as the run itself keeps it.
        best_step = max(zip(criterion.values, (-step for step in criterion.steps), strict=True))[1] * -1
        last_step = criterion.steps[-1]
        for name, curve in validations.items():
            at = dict(zip(curve.steps, curve.values, strict=True))
            validation[readable(name.removeprefix(VALIDATION))] = (at[best_step], at[last_step])
    return Summary(
        about["recipe"],
        config,
        frozenset(name for name, value in config.items() if named.get(name) != value),
        max((curve.steps[-1] for curve in curves.values()), default=0),
        about["config"]["steps"],
        losses,
        validation,
        best_step,
        last_step,
        provenance,
    )


def _read_config(run_dir: Path) -> dict[str, Any]:
    """Read a run's config.json."""
    path = run_dir / CONFIG
    if not path.is_file():
        raise UserError(f"{run_dir} holds no run; name the --run-dir of training/main.py")
    try:
        about = read_object(path)
        steps = about["config"]["steps"]
        if type(steps) is not int or steps < 1 or not isinstance(about["recipe"], str):
            raise ValueError("it names no recipe or no number of steps")
        if not isinstance(flat(about["config"]).get("model.backbone"), str):
            raise ValueError("it names no backbone")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); training with --resume writes it again") from error
    return about


def read_provenance(run_dir: Path) -> dict[str, Any]:
    """Return what `note_start` wrote; empty if there is none, and with a warning if it is damaged."""
    path = run_dir / PROVENANCE
    if not path.is_file():
        return {}
    try:
        found = read_object(path)
        _require(found, {"identities": int, "shards_sha256": str, "preprocessing": dict, "starts": list})
        _require(found["preprocessing"], {"size": int, "template": str, "warp": str})
        for start in found["starts"]:
            _require(start, {"time": str, "step": int, "processes": int, "device": str, "torch": str, "python": str})
    except ValueError as error:
        print(f"warning: skipped: {path} is damaged ({error})", file=sys.stderr)
        return {}
    return found


def _require(data: Any, kinds: dict[str, type]) -> None:
    """Raise ValueError where a field of plain data is not of its kind."""
    for name, kind in kinds.items():
        if not isinstance(data, dict) or not isinstance(data.get(name), kind):
            raise ValueError(f"its {name} is no {kind.__name__}")
