"""Validation during a run, by a function that is named and imported at run time.

The figures are the evaluation's own, and training knows no evaluation: who starts a run names the function, by default
`evaluation.validate:held_out`. It is called once with the shards of held-out people and returns the validation.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from shards.command import UserError
from shards.storage.places import Folder
from training.engine.run import Run
from training.networks.backbones import named_with_points
from training.ranks.world import World, errors_end_all_ranks
from training.settings.import_path import imported

Validate = Callable[[nn.Module, int], dict[str, float]]
"""Figures of a backbone, in evaluation mode, after a number of steps, by name; of the first, more is better, and it
chooses the best step."""


@dataclass(frozen=True)
class HeldOut:
    """What a validation is made of.

    Attributes:
        shards: folder of people who are not trained on, written by pipeline.shard.
        training_shards: folders of those who are.
        sizes: sides in pixels of the low-resolution probes.
        device: where the backbone is.
        points: whether the backbone takes the face's five points.
    """

    shards: Folder
    training_shards: tuple[Folder, ...]
    sizes: tuple[int, ...]
    device: torch.device
    points: bool = False


def open_validation(by: str, held_out: HeldOut) -> Validate:
    """Return the validation that a function, named by its import path, makes of held-out people.

    Nothing that it draws changes the run: the states of the generators are put back, so that a run with validation
    and one without have the same losses, bit by bit.

    Args:
        by: `package.module:callable`, called with a `HeldOut`; the function returns a `Validate`.
        held_out: the people.

    Raises:
        UserError: there is nothing at the import path, or the people do not fit the run.
    """
    validate = imported(by, "validation")(held_out)

    def with_restored_generators(backbone: nn.Module, step: int) -> dict[str, float]:
        devices = [held_out.device] if held_out.device.type == "cuda" else []
        before, numpy_before = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(devices=devices):
                figures: dict[str, float] = validate(backbone, step)
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)
        return figures

    return with_restored_generators


def validation_of_run(run: Run, world: World, shards: Folder | None, by: str) -> Validate | None:
    """Return the validation of a run, None where it is to have none; every rank must call it.

    Its low resolutions are the sides of the run's views, of a range its two ends.

    Raises:
        UserError: see `open_validation`, or only one of folder and number of steps is given.
    """
    every, size = run.config.validate_every, run.config.size
    validate: Validate | None = None
    with errors_end_all_ranks(world):
        if shards is None and not every:
            return None
        if shards is None or not every:
            found = f"--validate_every {every}" if shards is None else f"--validation-shards {shards}"
            raise UserError(f"{found} alone; give --validation-shards DIR and --validate_every STEPS, or neither")
        sizes = sorted({side for ends in run.config.views.ranges for side in ends if side < size})
        if world.is_main:
            points = named_with_points(run.config.model.backbone)
            validate = open_validation(by, HeldOut(shards, run.folders, tuple(sizes), world.device, points))
    return validate or _in_the_main_process


def _in_the_main_process(backbone: nn.Module, step: int) -> dict[str, float]:
    raise AssertionError("only the main process validates")
