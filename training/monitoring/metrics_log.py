"""Log a run: metrics.jsonl, TensorBoard scalars, and a line or a bar on the screen."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from shards.writer import write_atomically
from training.checkpoints.run_folder import METRICS, VALIDATION
from training.monitoring.metrics_file import read_lines


def truncate_metrics(path: Path, step: int) -> None:
    """Keep the lines up to a step, so that a continued run's file is that of one never interrupted."""
    if not path.is_file():
        return
    kept = (f"{line.text}\n" for line in read_lines(path) if line.step <= step)
    write_atomically(path, "".join(kept).encode())


class MetricsLog:
    """Writes metrics every few steps and shows progress. For the main process.

    Args:
        run_dir: folder of the run.
        start_step: steps done before.
        steps: of the whole run.
        pictures_per_step: of the global batch.
    """

    def __init__(self, run_dir: Path, *, start_step: int, steps: int, pictures_per_step: int) -> None:
        truncate_metrics(run_dir / METRICS, start_step)
        self._file = (run_dir / METRICS).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start_step + 1)
        self._steps, self._pictures = steps, pictures_per_step
        self._logged_step, self._logged_time = start_step, time.monotonic()
        console = Console(stderr=True)
        self._on_terminal = console.is_terminal
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}, {task.fields[rate]:,.0f} pictures/s,"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._on_terminal,
        )
        self._task = self._bar.add_task("", total=steps, completed=start_step, loss=float("nan"), rate=0.0)
        self._bar.start()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step)

    def log(self, step: int, values: dict[str, float], seconds_waiting: float) -> None:
        """Write the metrics of a step: its losses, and rates since the line before.

        Args:
            step: steps done.
            values: losses and learning rate by name.
            seconds_waiting: for data, since the line before.
        """
        now = time.monotonic()
        seconds = max(now - self._logged_time, 1e-9)
        rates = {
            "pictures_per_second": (step - self._logged_step) * self._pictures / seconds,
            "share_waiting_for_data": seconds_waiting / seconds,
        }
        self._logged_step, self._logged_time = step, now
        line: dict[str, Any] = {"step": step, **values, **rates}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in {**values, **rates}.items():
            self._board.add_scalar(name, value, step)
        self._bar.update(self._task, loss=values["loss"], rate=rates["pictures_per_second"])
        if not self._on_terminal:
            self._print(step, values["loss"], rates["pictures_per_second"])

    def validated(self, step: int, figures: dict[str, float], seconds: float) -> None:
        """Write the figures of a validation.

        Args:
            step: steps done.
            figures: by name.
            seconds: that it took; they do not count as training.
        """
        self._logged_time += seconds
        line = {"step": step, **{f"{VALIDATION}{name}": value for name, value in figures.items()}}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._board.add_scalar(f"{VALIDATION}{name}", value, step)
        if not self._on_terminal:
            name, value = next(iter(figures.items()))
            print(f"validation at step {step}: {name} {value:.4f}, {seconds:.1f} s", file=sys.stderr, flush=True)

    def _print(self, step: int, loss: float, rate: float) -> None:
        left = (self._steps - step) * self._pictures / rate
        print(
            f"step {step}/{self._steps}  loss {loss:.4f}  {rate:,.0f} pictures/s  {left:,.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    def sync(self) -> None:
        """Force the lines so far to disk: no checkpoint outlives the metrics of its steps."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, the board and the bar."""
        self._bar.stop()
        self._file.close()
        self._board.close()
