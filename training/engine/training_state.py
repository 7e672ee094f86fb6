"""The training state: what a checkpoint holds of it, and how it is restored on any number of ranks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shards.command import UserError, first_line
from shards.format import Preprocessing
from training.checkpoints.checkpoint import Best, Checkpoint, WeightsFile
from training.checkpoints.class_rows import read_rows
from training.engine.finite_checks import listed, not_finite
from training.engine.optimizer import build_optimizer
from training.engine.step import Learner, build_learner
from training.engine.weight_average import WeightAverage
from training.networks.backbones import channels_last
from training.objectives.class_shards import shard_state
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import World
from training.settings.config import Config


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

    def restore(self, checkpoint: Checkpoint, folder: Path | None = None) -> None:
        """Load a checkpoint; of a sharded class matrix only this rank's rows.

        Args:
            checkpoint: of the run, on any number of processes.
            folder: of its files of rows, if it has any.

        Raises:
            UserError: its tensors are not those of this run.
        """
        try:
            self._restore(checkpoint, folder)
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

    def _restore(self, checkpoint: Checkpoint, folder: Path | None) -> None:
        self.step, self.best, self.validation_due = checkpoint.step, checkpoint.best, checkpoint.validation_due
        self.learner.backbone.load_state_dict(checkpoint.backbone)
        if self.average is not None:
            self.average.restore(checkpoint.averaged)
        head, saved = self.learner.head, checkpoint.optimizer["state"]
        rows = self._rows_of(checkpoint, folder)
        place = self._place_of(head.get_parameter("weight")) if rows is not None else None
        # Copies: the file is mapped into memory, and the optimiser would keep its tensors.
        moments = {
            number: {
                name: value.clone() if torch.is_tensor(value) else value
                for name, value in kept.items()
                if number != place or not _is_of_rows(value)
            }
            for number, kept in saved.items()
        }
        if rows is None:
            head.load_state_dict(checkpoint.head)
        else:
            weight = rows.pop("weight")
            if isinstance(head, ShardedHead):
                head.load_rows(weight, checkpoint.head)
            else:
                head.load_state_dict({**checkpoint.head, "weight": weight})
            if place is not None and rows:
                moments[place] = {**moments.get(place, {}), **rows}
        self.optimizer.load_state_dict({**checkpoint.optimizer, "state": moments})

    def _rows_of(self, checkpoint: Checkpoint, folder: Path | None) -> dict[str, torch.Tensor] | None:
        """Return the class matrix and its moments as this rank holds them; None where they are in one piece."""
        head = self.learner.head
        if checkpoint.rows is not None:
            assert folder is not None
            classes = head.classes if isinstance(head, ShardedHead) else range(checkpoint.identities)
            return read_rows(folder, checkpoint.rows, classes)
        if not isinstance(head, ShardedHead):
            return None
        kept = checkpoint.optimizer["state"].get(self._place_of(head.weight), {})
        whole = {"weight": checkpoint.head["weight"], **{name: one for name, one in kept.items() if _is_of_rows(one)}}
        return {name: shard_state(one, head.world.rank, head.world.size) for name, one in whole.items()}

    def divided(self) -> tuple[dict[str, Any], dict[str, torch.Tensor] | None, range]:
        """Return what a checkpoint holds, in the parts that processes write.

        Returns:
            the state dicts of backbone, average, head and optimiser, the same on every rank; of a sharded class matrix
            this rank's rows and their moments, which the former then lack, else None; and the classes of the rows.
        """
        head, optimizer = self.learner.head, self.optimizer.state_dict()
        averaged = self.average.values if self.average is not None else None
        whole = {"backbone": self.learner.backbone.state_dict(), "averaged": averaged}
        if not isinstance(head, ShardedHead):
            return {**whole, "head": head.state_dict(), "optimizer": optimizer}, None, range(0)
        rows = {"weight": head.weight.detach()}
        place = self._place_of(head.weight)
        if (moments := optimizer["state"].get(place)) is not None:
            rows |= {name: value for name, value in moments.items() if _is_of_rows(value)}
            scalars = {name: value for name, value in moments.items() if name not in rows}
            optimizer = {**optimizer, "state": {**optimizer["state"], place: scalars}}
        others = {name: value for name, value in head.state_dict().items() if name != "weight"}
        return {**whole, "head": others, "optimizer": optimizer}, rows, head.classes

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
