"""The training state: how it is saved to a checkpoint and restored, on any number of ranks."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shards.command import UserError, first_line
from shards.format import Preprocessing
from training.checkpoints.checkpoint import (
    Best,
    Checkpoint,
    WeightsFile,
    copy_checkpoint,
    load_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from training.checkpoints.run_folder import BEST, FINAL, checkpoint_path
from training.engine.finite_checks import listed, not_finite
from training.engine.optimizer import build_optimizer
from training.engine.step import Learner, build_learner
from training.engine.weight_average import WeightAverage
from training.networks.backbones import channels_last
from training.objectives.class_shards import full_state, shard_state
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import World, errors_end_all_ranks
from training.settings.config import Config

_GRACE_S = 30


def _is_of_rows(moment: Any) -> bool:
    """Tell whether a moment of a class matrix has its rows, unlike AdamW's count of steps."""
    return torch.is_tensor(moment) and moment.dim() > 0


@dataclass(frozen=True)
class Origin:
    """The origin that every checkpoint of a run records; see `Checkpoint`."""

    config: dict[str, Any]
    recipe: str
    preprocessing: Preprocessing
    identities: int
    shards_sha256: str
    initial: WeightsFile | None = None
    teacher: WeightsFile | None = None


@dataclass
class TrainingState:
    """What the steps of a run change.

    Attributes:
        learner: backbone and head.
        optimizer: over the learner's parameters.
        average: moving average of the backbone's weights, None where there is none.
        step: number of steps done.
        best: validation of the best step so far, if there was any.
        validation_due: whether the validation of this step was cut short.
    """

    learner: Learner
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None = None
    step: int = 0
    best: Best | None = None
    validation_due: bool = False

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint; of a sharded class matrix only this rank's rows.

        Raises:
            UserError: its tensors are not those of this run.
        """
        try:
            self._restore(checkpoint)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(
                f"the checkpoint of step {checkpoint.step} does not fit the run ({first_line(error)}); "
                "remove it to continue from the one before"
            ) from error
        if bad := self.not_finite():
            raise UserError(
                f"the checkpoint of step {checkpoint.step} holds numbers that are not finite, in {listed(bad)}; "
                "remove it to continue from the one before"
            )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.step, self.best, self.validation_due = checkpoint.step, checkpoint.best, checkpoint.validation_due
        self.learner.backbone.load_state_dict(checkpoint.backbone)
        if self.average is not None:
            self.average.restore(checkpoint.averaged)
        head, saved = self.learner.head, checkpoint.optimizer["state"]
        sharded = self._place_of(head.weight) if isinstance(head, ShardedHead) else None
        # Copies: the file is mapped into memory, and the optimiser would keep its tensors.
        moments = {
            place: {name: value.clone() if torch.is_tensor(value) else value for name, value in kept.items()}
            for place, kept in saved.items()
            if place != sharded
        }
        if isinstance(head, ShardedHead):
            head.load_full_state(checkpoint.head)
            if sharded in saved:
                moments[sharded] = {
                    name: shard_state(value, head.world.rank, head.world.size) if _is_of_rows(value) else value
                    for name, value in saved[sharded].items()
                }
        else:
            head.load_state_dict(checkpoint.head)
        self.optimizer.load_state_dict({**checkpoint.optimizer, "state": moments})

    def gathered(self) -> dict[str, Any] | None:
        """Return the state dicts of backbone, head and optimiser at rank 0, None elsewhere; every rank must call it.

        Shards of a class matrix and of its momentum travel to rank 0 in blocks; no other rank ever holds the whole.
        """
        head, optimizer = self.learner.head, self.optimizer.state_dict()
        if isinstance(head, ShardedHead):
            head_state = head.full_state()
            if moments := self.optimizer.state[head.weight]:
                full = {
                    name: full_state(value, head.identities, head.world) if _is_of_rows(value) else value
                    for name, value in moments.items()
                }
                place = self._place_of(head.weight)
                optimizer = {**optimizer, "state": {**optimizer["state"], place: full}}
            if head_state is None:
                return None
        else:
            head_state = head.state_dict()
        averaged = self.average.values if self.average is not None else None
        backbone = self.learner.backbone.state_dict()
        return {"backbone": backbone, "averaged": averaged, "head": head_state, "optimizer": optimizer}

    def not_finite(self) -> list[str]:
        """Return the names of this rank's tensors that hold a NaN or an infinity; waits for the device."""
        names: dict[torch.Tensor, str] = {one: name for name, one in self.learner.named_parameters()}
        kept = {
            f"{what} of {names[parameter]}": value
            for parameter, moments in self.optimizer.state.items()
            for what, value in moments.items()
            if torch.is_tensor(value)
        }
        averaged = self.average.values if self.average is not None else {}
        kept |= {f"average of {name}": value for name, value in averaged.items()}
        return not_finite({**self.learner.state_dict(), **kept})

    def _place_of(self, parameter: torch.nn.Parameter) -> int:
        """Return the number under which the optimiser's state dict has a parameter."""
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        return next(place for place, one in enumerate(parameters) if one is parameter)


def new_state(config: Config, identities: int, world: World, backbone: torch.nn.Module | None = None) -> TrainingState:
    """Return the state of a run at step 0, with a backbone of its own or the one that is given."""
    learner = channels_last(build_learner(config, identities, world, backbone)).to(world.device)
    average = WeightAverage(learner.backbone, config.optimizer.average) if config.optimizer.average else None
    return TrainingState(learner, build_optimizer(config.optimizer, learner), average)


def save(
    run_dir: Path, state: TrainingState, origin: Origin, config: Config, world: World, is_best: bool = False
) -> None:
    """Write a checkpoint of the state, and remove old ones; every rank must call it and waits for the main process.

    What cannot be written ends all ranks.

    Args:
        run_dir: folder of the run.
        state: of the run.
        origin: of the run.
        config: says which checkpoints stay, and which step is the last.
        world: this process among all.
        is_best: whether the validation of this step was the best so far.
    """
    gathered = state.gathered()
    with errors_end_all_ranks(world):
        if world.is_main:
            assert gathered is not None
            due = state.validation_due
            checkpoint = Checkpoint(step=state.step, best=state.best, validation_due=due, **vars(origin), **gathered)
            # The numbered checkpoint is written last, because it marks a run as finished and a best step as known.
            names = [FINAL] * (state.step >= config.steps and not due) + [BEST] * is_best
            if FINAL in names and config.trained_share < 1:
                names.remove(FINAL)
                begun = load_checkpoint(checkpoint_path(run_dir, 0)).backbone
                mixed, averaged = (
                    interpolated(begun, trained, config.trained_share) if trained is not None else None
                    for trained in (checkpoint.backbone, checkpoint.averaged)
                )
                assert mixed is not None
                save_checkpoint(run_dir / FINAL, replace(checkpoint, backbone=mixed, averaged=averaged))
            first, *others = [*(run_dir / name for name in names), checkpoint_path(run_dir, state.step)]
            save_checkpoint(first, checkpoint)
            for path in others:
                copy_checkpoint(first, path)
            remove_old_checkpoints(run_dir, config.keep_checkpoints)


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
