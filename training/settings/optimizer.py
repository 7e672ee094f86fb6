"""The settings of the optimiser and of its schedule."""

from dataclasses import dataclass
from typing import Literal

from shards.command import UserError


@dataclass(frozen=True)
class Optimizer:
    """The optimiser and its schedule.

    Attributes:
        name: sgd, or adamw (Loshchilov and Hutter, 2019), whose weight decay is apart from the gradient.
        learning_rate: factor of the gradient in a step, before the first milestone.
        momentum: of the gradient, 0..1.
        weight_decay: factor of every parameter, added to its gradient.
        milestones: steps at which the rate is multiplied by the factor.
        factor: factor of the learning rate at each milestone.
        warmup_steps: steps of linear rise at the start.
        backbone_rate: factor of the backbone's learning rate; the head has the full one.
        layer_decay: factor of a layer's learning rate against that of the layer after it, within the backbone.
        frozen_steps: steps for which a backbone from --init-from stays frozen; `steps` or more for the whole run.
        frozen_statistics: keep the running statistics of batch norm, and normalise by them in training too.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (40_000, 60_000, 80_000)
    factor: float = 0.1
    warmup_steps: int = 0
    backbone_rate: float = 1.0
    layer_decay: float = 1.0
    frozen_steps: int = 0
    frozen_statistics: bool = False

    def __post_init__(self) -> None:
        for name in ("backbone_rate", "layer_decay", "frozen_steps"):
            if getattr(self, name) < 0:
                raise UserError(f"optimizer.{name} {getattr(self, name)}; give at least 0")
