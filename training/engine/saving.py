"""Saving: each process writes its own part of a checkpoint, in the background where training goes on meanwhile."""

import math
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shards.command import UserError, storage_mistake
from training.checkpoints.checkpoint import (
    Best,
    Checkpoint,
    copy_checkpoint,
    load_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from training.checkpoints.class_rows import RowsFile, write_rows
from training.checkpoints.run_folder import BEST, FINAL, checkpoint_path, rows_path
from training.engine.training_state import Origin, TrainingState
from training.ranks.world import World, end_all_ranks, gather_objects
from training.settings.config import Config

_GRACE_S = 30


@dataclass(frozen=True)
class Snapshot:
    """What a process writes of a step.

    Attributes:
        step, best, validation_due: as of `TrainingState`.
        whole: the state dicts of a checkpoint, without the rows of a class matrix in shards; of the main process.
        rows: of the class matrix, and of what the optimiser keeps for them; None where the head is in one piece.
        classes: of the rows.
    """

    step: int
    best: Best | None
    validation_due: bool
    whole: dict[str, Any] | None
    rows: dict[str, Tensor] | None
    classes: range

    @staticmethod
    def of(state: TrainingState, world: World, *, copied: bool) -> "Snapshot":
        """Take a snapshot.

        Args:
            state: of the run.
            world: this process among all.
            copied: to the CPU's memory, so that training may go on; else the tensors are those of the state.
        """
        whole, rows, classes = state.divided()
        kept = whole if world.is_main else None
        if copied:
            kept, rows = _copied(kept), _copied(rows)
        return Snapshot(state.step, state.best, state.validation_due, kept, rows, classes)


def _copied(value: Any) -> Any:
    """Return plain data and tensors as others in the CPU's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


class Saver:
    """Writes checkpoints of a run; every process has one and calls it at the same steps.

    Args:
        run_dir: folder of the run.
        origin: of the run.
        config: says which checkpoints stay, and which step is the last.
        world: this process among all.
    """

    def __init__(self, run_dir: Path, origin: Origin, config: Config, world: World) -> None:
        self._run_dir, self._origin, self._config, self._world = run_dir, origin, config, world
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[tuple[str | None, float]] | None = None

    def save(self, state: TrainingState, *, is_best: bool = False, background: bool = False) -> None:
        """Write a checkpoint of the state, and remove old ones.

        What could not be written ends all processes: at once, or from the background with the next call.

        Args:
            state: of the run.
            is_best: whether the validation of this step was the best so far.
            background: go on as soon as the state is copied.
        """
        self.wait()
        snapshot = Snapshot.of(state, self._world, copied=background)
        self._under_way = self._thread.submit(self._write, snapshot, is_best)
        if not background:
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint under way, if there is one."""
        if self._under_way is None:
            return
        mistake, seconds = self._under_way.result()
        self._under_way = None
        if mistake is not None:
            end_all_ranks(self._world, mistake)
        if self._world.is_main and (told := late_save(seconds)):
            print(told, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Let a checkpoint under way be finished, whatever comes of it."""
        self._thread.shutdown(wait=True)

    def _write(self, snapshot: Snapshot, is_best: bool) -> tuple[str | None, float]:
        """Write this process's part, and in the main process the checkpoint once all parts are there.

        Returns:
            what could not be written, the same on all processes, and the seconds that it took.
        """
        started, file, mistake = time.monotonic(), None, None
        if snapshot.rows is not None:
            path = rows_path(self._run_dir, snapshot.step, self._world.rank, self._world.size)
            try:
                file = write_rows(path, snapshot.rows, snapshot.classes)
            except OSError as error:
                mistake = _told(error)
        found = gather_objects((file, mistake), self._world.saving)
        mistake = next((told for _, told in found if told is not None), None)
        if mistake is None and self._world.is_main:
            try:
                self._write_checkpoint(snapshot, [one for one, _ in found if one is not None] or None, is_best)
            except (UserError, OSError) as error:
                mistake = _told(error)
        return gather_objects(mistake, self._world.saving)[0], time.monotonic() - started

    def _write_checkpoint(self, snapshot: Snapshot, rows: list[RowsFile] | None, is_best: bool) -> None:
        assert snapshot.whole is not None
        step, due, run_dir = snapshot.step, snapshot.validation_due, self._run_dir
        about = {**vars(self._origin), "best": snapshot.best, "validation_due": due, "rows": rows}
        checkpoint = Checkpoint(step=step, **about, **snapshot.whole)
        # The numbered checkpoint is written last, because it marks a run as finished and a best step as known.
        names = [FINAL] * (step >= self._config.steps and not due) + [BEST] * is_best
        if FINAL in names and self._config.trained_share < 1:
            names.remove(FINAL)
            begun = load_checkpoint(checkpoint_path(run_dir, 0)).backbone
            mixed, averaged = (
                interpolated(begun, trained, self._config.trained_share) if trained is not None else None
                for trained in (checkpoint.backbone, checkpoint.averaged)
            )
            assert mixed is not None
            save_checkpoint(run_dir / FINAL, replace(checkpoint, backbone=mixed, averaged=averaged))
        first, *others = [*(run_dir / name for name in names), checkpoint_path(run_dir, step)]
        save_checkpoint(first, checkpoint)
        for path in others:
            copy_checkpoint(first, path)
        remove_old_checkpoints(run_dir, self._config.keep_checkpoints, snapshot.best.step if snapshot.best else None)


def _told(error: UserError | OSError) -> str:
    """Return a user's mistake as text.

    Raises:
        OSError: it is none.
    """
    mistake = error if isinstance(error, UserError) else storage_mistake(error)
    if mistake is None:
        raise error
    return str(mistake)


def late_save(seconds: float) -> str:
    """Return a notice where a checkpoint took so long that one asked for by SIGTERM may be lost; nothing otherwise."""
    if seconds <= _GRACE_S / 2:
        return ""
    return (
        f"note: the checkpoint took {seconds:.0f} s, and torchrun ends its processes {_GRACE_S} s after SIGTERM: "
        f"start it with --shutdown-timeout {max(60, 60 * math.ceil(4 * seconds / 60))}, so that none is lost"
    )


def interpolated(begun: dict[str, Any], trained: dict[str, Any], share: float) -> dict[str, Any]:
    """Return weights interpolated between the initial and the trained ones (Wortsman et al., 2022, eq. 1).

    Args:
        begun: state dict.
        trained: state dict with the same names and shapes.
        share: 0..1 of the trained weights; whole numbers, such as counts, are the trained ones.
    """
    return {
        name: torch.lerp(begun[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }
