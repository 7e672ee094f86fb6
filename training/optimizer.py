"""The optimiser of a run, and its rate as the schedule has it."""

import torch

from training.config import Config, Optimizer
from training.schedule import learning_rate
from training.step import Learner


def build_optimizer(config: Config, learner: Learner) -> torch.optim.SGD:
    """Return stochastic gradient descent over all parameters of a learner."""
    settings = config.optimizer
    return torch.optim.SGD(
        learner.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: Optimizer, step: int) -> float:
    """Give the optimiser the learning rate of a step, and return it."""
    rate = learning_rate(
        step,
        base=settings.learning_rate,
        milestones=settings.milestones,
        factor=settings.factor,
        warmup_steps=settings.warmup_steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
