"""The whole layout of a run's folder.

config.json                   recipe, configuration and initial weights; written again at each start
provenance.json               shards, and every start: step, time, processes, device, versions
.lock                         held by the job that trains
checkpoints/step-0000000.pt   the newest few, and that of step 0
checkpoints/rows-S-R-of-W.pt  of a class matrix in shards: the rows of process R of W at step S
best.pt, final.pt             the best step by validation, and the last step
metrics.jsonl                 a step and its figures a line; those of validations begin with `VALIDATION`
tensorboard/                  the same for TensorBoard
summary.html, curves/         the page of the run, and its curves as PNG
quarantine-R.csv              damaged photos that process R skipped
not-finite-step-0000000.csv   photos of the batch with which a loss or a gradient was not finite
"""

import re
from pathlib import Path

CONFIG = "config.json"
PROVENANCE = "provenance.json"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
BEST = "best.pt"
FINAL = "final.pt"
METRICS = "metrics.jsonl"
VALIDATION = "validation/"
PAGE = "summary.html"
CURVES = "curves"
ROWS_NAME = r"rows-(\d+)-\d+-of-\d+\.pt"
"""What a file of rows is called, with the step."""


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """Return the path of a step's checkpoint."""
    return run_dir / CHECKPOINTS / f"step-{step:07d}.pt"


def numbered_checkpoints(run_dir: Path) -> list[Path]:
    """Return the checkpoints of steps that are there, the earliest first."""
    # By the length of the name first: beyond 9,999,999 steps a number has more digits.
    return sorted((run_dir / CHECKPOINTS).glob("step-*.pt"), key=lambda path: (len(path.name), path.name))


def rows_path(run_dir: Path, step: int, rank: int, size: int) -> Path:
    """Return the path of a process's rows of a class matrix."""
    return run_dir / CHECKPOINTS / f"rows-{step:07d}-{rank}-of-{size}.pt"


def rows_files(run_dir: Path) -> list[tuple[int, Path]]:
    """Return the step and the path of each file of rows that is there."""
    found = [(re.fullmatch(ROWS_NAME, path.name), path) for path in (run_dir / CHECKPOINTS).glob("rows-*.pt")]
    return [(int(match[1]), path) for match, path in found if match is not None]
