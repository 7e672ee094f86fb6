"""Stop a run whose losses, gradients or weights are not finite.

Losses and gradients are read from the device every few steps only, yet the first bad step is the one that is named.
"""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from shards.command import UserError
from shards.writer import write_atomically
from training.engine.finite_checks import gradient_norms, listed
from training.engine.step_losses import StepLosses, loss_names
from training.engine.training_state import TrainingState
from training.ranks.world import World, errors_end_all_ranks, gather_objects, mean_over_ranks
from training.settings.config import Config


@dataclass(frozen=True)
class _Noted:
    """A step whose losses and gradients have not been read yet."""

    batch: Batch
    values: Tensor


class FiniteGuard:
    """Keeps the losses and gradient norms of each step on the device until they are read, all at once.

    Args:
        config: of the run.
        loader: names the photos of a batch.
        state: what the steps change.
        run_dir: folder of the run, for the keys of a bad batch.
        world: this process among all.
    """

    def __init__(self, config: Config, loader: Loader, state: TrainingState, run_dir: Path, world: World) -> None:
        self._losses, self._parameters = loss_names(config), dict(state.learner.named_parameters())
        self._loader, self._state, self._run_dir, self._world = loader, state, run_dir, world
        self._noted: list[_Noted] = []

    def note(self, batch: Batch, losses: StepLosses) -> None:
        """Keep the losses of a step, and the norms of the gradients that it left; waits for nothing."""
        rows = Batch(batch.step, batch.labels, (), batch.photos, batch.size)
        values = torch.cat([losses.values(), gradient_norms(self._parameters.values())])
        self._noted.append(_Noted(rows, values))

    def read(self, before_saving: bool = False) -> dict[str, float]:
        """Return the last step's losses, the means over all ranks, after a look at every step since the last call.

        The only place that waits for the device; every rank must call it.

        Args:
            before_saving: look through weights, statistics and momentum too, of which a checkpoint is to be made.

        Raises:
            UserError: a number is not finite; names the first step, what was not finite, and the file of its photos.
        """
        noted, self._noted = self._noted, []
        # (steps, 5 + V + T + P)
        steps = mean_over_ranks(torch.stack([one.values for one in noted])).tolist()
        for one, values in zip(noted, steps, strict=True):
            if bad := self._bad(values):
                self._refuse(one.batch, bad)
        if before_saving and (names := set[str]().union(*gather_objects(self._state.not_finite()))):
            self._refuse(noted[-1].batch, f"{listed(sorted(names))} not finite")
        return dict(zip(self._losses, steps[-1], strict=False))

    def _bad(self, values: list[float]) -> str:
        """Tell what of a step is not finite, its losses or else its gradients; empty where all is well."""
        losses, norms = values[: len(self._losses)], values[len(self._losses) :]
        bad = [f"{name} {value}" for name, value in zip(self._losses, losses, strict=True) if not math.isfinite(value)]
        if bad:
            return ", ".join(bad)
        bad = [name for name, norm in zip(self._parameters, norms, strict=True) if not math.isfinite(norm)]
        return f"gradient not finite of {listed(bad)}" if bad else ""

    def _refuse(self, batch: Batch, bad: str) -> None:
        """Write down the photos of all ranks' shares, and stop all ranks with one line."""
        path = self._run_dir / f"not-finite-step-{batch.step + 1:07d}.csv"
        rows = [
            (view, label, *self._loader.photo(int(photo)))
            for label, photos in zip(batch.labels.tolist(), batch.photos, strict=True)
            for view, photo in enumerate(photos)
        ]
        shares = gather_objects(rows)
        with errors_end_all_ranks(self._world):
            if self._world.is_main:
                text = io.StringIO(newline="")
                table = csv.writer(text)
                table.writerow(("view", "label", "tar", "key", "identity"))
                table.writerows(row for share in shares for row in share)
                write_atomically(path, text.getvalue().encode())
            raise UserError(
                f"{bad} at step {batch.step + 1}; its photos are listed in {path}; lower "
                "--optimizer.learning_rate or resume from an earlier checkpoint with other data"
            )
