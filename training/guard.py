"""The guard over the losses: read from the device every few steps, yet the first bad step is the one that is named."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.batch import Batch
from pipeline.loader import Loader
from shards.command import UserError
from shards.writer import write_atomically
from training.config import Config
from training.distributed import World, gather_objects, mean_over_ranks, refused_together
from training.step import StepLosses


@dataclass(frozen=True)
class _Noted:
    """A step whose losses have not been read yet."""

    batch: Batch
    values: Tensor


class LossGuard:
    """Keeps the losses of each step on the device until they are read, all at once.

    Args:
        config: of the run.
        loader: names the photos of a batch.
        run_dir: folder of the run, for the keys of a bad batch.
        world: this process among all.
    """

    def __init__(self, config: Config, loader: Loader, run_dir: Path, world: World) -> None:
        self._names, self._loader, self._run_dir, self._world = loss_names(config), loader, run_dir, world
        self._noted: list[_Noted] = []

    def note(self, batch: Batch, losses: StepLosses) -> None:
        """Keep the losses of a step; waits for nothing."""
        rows = Batch(batch.step, batch.labels, (), batch.photos, batch.size)
        self._noted.append(_Noted(rows, losses.values()))

    def read(self) -> dict[str, float]:
        """Return the last step's losses, the means over all ranks, after a look at every step since the last call.

        The only place that waits for the device; every rank must call it.

        Raises:
            UserError: a loss is not finite; names the first step, its terms and views, and the file of its photos.
        """
        noted, self._noted = self._noted, []
        # (steps, 5 + V)
        steps = mean_over_ranks(torch.stack([one.values for one in noted])).tolist()
        for one, values in zip(noted, steps, strict=True):
            bad = [
                f"{name} {value}" for name, value in zip(self._names, values, strict=True) if not math.isfinite(value)
            ]
            if bad:
                self._refuse(one.batch, bad)
        return dict(zip(self._names, steps[-1], strict=True))

    def _refuse(self, batch: Batch, bad: list[str]) -> None:
        """Write down the photos of all ranks' shares, and stop all ranks with one line."""
        path = self._run_dir / f"not-finite-step-{batch.step + 1:07d}.csv"
        rows = [
            (view, label, *self._loader.photo(int(photo)))
            for label, photos in zip(batch.labels.tolist(), batch.photos, strict=True)
            for view, photo in enumerate(photos)
        ]
        shares = gather_objects(rows)
        with refused_together(self._world):
            if self._world.is_main:
                text = io.StringIO(newline="")
                table = csv.writer(text)
                table.writerow(("view", "label", "tar", "key", "identity"))
                table.writerows(row for share in shares for row in share)
                write_atomically(path, text.getvalue().encode())
            raise UserError(
                f"{', '.join(bad)} at step {batch.step + 1}; its photos are listed in {path}; lower "
                "--optimizer.learning_rate or resume from an earlier checkpoint with other data"
            )


def loss_names(config: Config) -> list[str]:
    """Return the names of `StepLosses.values`, one for each view among them."""
    views = [f"classification/{size}px" for size in config.views.sizes]
    if len(set(views)) < len(views):
        views = [f"{name}/view{number}" for number, name in enumerate(views)]
    return ["loss", "triplet", "hardest_positive", "hardest_negative", "penalty", *views]
