"""The settings of the optimiser and of its schedule."""

from dataclasses import dataclass
from typing import Literal

from shards.command import UserError


@dataclass(frozen=True)
class Optimizer:
    """The optimiser and its schedule.

    Attributes:
        name: sgd; adamw (Loshchilov and Hutter, 2019), whose weight decay is apart from the gradient; or lora (Hu et
            al., 2022), adamw on a product of low rank that is added to each matrix of the backbone, whose vectors stay.
        rank: number of rows of the smaller factor of lora's products, at least 1.
        learning_rate: factor of the gradient in a step, before the first milestone.
        momentum: of the gradient, 0..1.
        weight_decay: factor of every parameter, added to its gradient.
        schedule: milestones: the rate is multiplied by a factor at each; cosine: it falls to 0 with the cosine of half
            a turn; polynomial: it falls to 0 as a power of the steps that are left (arcface_torch).
        milestones: steps at which the rate is multiplied by the factor.
        milestone_epochs: the same in epochs, in place of milestones (default: none).
        factor: factor of the learning rate at each milestone.
        power: of the polynomial schedule: exponent, 1 for a straight line.
        warmup_steps: steps of linear rise at the start.
        warmup_epochs: the same in epochs, which are turned into steps; in place of warmup_steps.
        backbone_rate: factor of the backbone's learning rate; the head has the full one.
        layer_decay: factor of a layer's learning rate against that of the layer after it, within the backbone.
        frozen_steps: steps for which a backbone from --init-from stays frozen; `steps` or more for the whole run.
        frozen_statistics: keep the running statistics of batch norm, and normalise by them in training too.
        undecayed: parameters without weight decay: none; norms: of normalisations; norms-and-biases: and all biases.
        largest_norm: length to which a longer gradient of a step is shortened, in units of the gradient; 0 for none.
        clipped: what largest_norm is of: all: backbone and head together; backbone: the backbone alone (arcface_torch).
        average: factor 0..1 of the old values in a moving average of the backbone's weights; 0 for no average.
    """

    name: Literal["sgd", "adamw", "lora"] = "sgd"
    rank: int = 8
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["milestones", "cosine", "polynomial"] = "milestones"
    milestones: tuple[int, ...] = (40_000, 60_000, 80_000)
    milestone_epochs: tuple[float, ...] = ()
    factor: float = 0.1
    power: float = 1.0
    warmup_steps: int = 0
    warmup_epochs: float = 0.0
    backbone_rate: float = 1.0
    layer_decay: float = 1.0
    frozen_steps: int = 0
    frozen_statistics: bool = False
    undecayed: Literal["none", "norms", "norms-and-biases"] = "none"
    largest_norm: float = 0.0
    clipped: Literal["all", "backbone"] = "all"
    average: float = 0.0

    def __post_init__(self) -> None:
        least_zero = ("backbone_rate", "layer_decay", "frozen_steps", "power", "warmup_steps", "warmup_epochs")
        for name in (*least_zero, "largest_norm"):
            if not getattr(self, name) >= 0:
                raise UserError(f"optimizer.{name} {getattr(self, name)}; give at least 0")
        if self.rank < 1:
            raise UserError(f"optimizer.rank {self.rank}; give at least 1")
        if not 0 <= self.average < 1:
            raise UserError(f"optimizer.average {self.average}; give a factor from 0 (none) to below 1, such as 0.999")
        for steps, epochs in (("milestones", "milestone_epochs"), ("warmup_steps", "warmup_epochs")):
            if getattr(self, steps) and getattr(self, epochs):
                raise UserError(
                    f"optimizer.{steps} {getattr(self, steps)} and optimizer.{epochs} {getattr(self, epochs)}; "
                    "give one of them"
                )
