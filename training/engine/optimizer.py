"""The optimiser of a run, and its learning rate as a function of the step."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from training.engine.step import Learner
from training.settings.config import Optimizer


def build_optimizer(settings: Optimizer, learner: Learner) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters of a learner.

    Each group of parameters has a `factor` of the learning rate: 1 for the head, `backbone_rate` for the last layer of
    the backbone, and `layer_decay` times the factor of the layer after it for every layer before.
    """
    factors = backbone_factors(settings, learner.backbone)
    groups: list[dict[str, object]] = [
        {"params": parameters, "factor": factor} for factor, parameters in factors.items() if parameters
    ]
    head = list(learner.head.parameters())
    if list(factors) == [1.0]:
        groups = [{"params": [*factors[1.0], *head], "factor": 1.0}]
    elif head:
        groups.append({"params": head, "factor": 1.0})
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        # The same numbers in one pass over the memory.
        fused=True,
    )


def backbone_factors(settings: Optimizer, backbone: nn.Module) -> dict[float, list[nn.Parameter]]:
    """Return the parameters of a backbone by the factor of their learning rate, the earliest layers first.

    A layer is a module with parameters that is no plain sequence of others. Parameters outside all layers go with
    the first.
    """
    layers = list(_layers(backbone)) or [backbone]
    found: dict[float, list[nn.Parameter]] = {}
    taken: set[int] = set()
    for number, layer in enumerate(layers):
        factor = settings.backbone_rate * settings.layer_decay ** (len(layers) - 1 - number)
        own = [one for one in layer.parameters() if id(one) not in taken]
        taken.update(map(id, own))
        found.setdefault(factor, []).extend(own)
    first = next(iter(found))
    found[first] += [one for one in backbone.parameters() if id(one) not in taken]
    return found


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a module in their order."""
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield from _layers(child)
        elif any(True for _ in child.parameters()):
            yield child


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: Optimizer, step: int) -> float:
    """Give the optimiser the learning rate of a step, times the factor of each group, and return it."""
    rate = learning_rate(
        step,
        base=settings.learning_rate,
        milestones=settings.milestones,
        factor=settings.factor,
        warmup_steps=settings.warmup_steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
    return rate


def learning_rate(step: int, *, base: float, milestones: Sequence[int], factor: float, warmup_steps: int = 0) -> float:
    """Return the learning rate of a step, counted from 0.

    >>> [learning_rate(s, base=0.1, milestones=(4, 6), factor=0.1) for s in (0, 3, 4, 6)]
    [0.1, 0.1, 0.010000000000000002, 0.0010000000000000002]

    Args:
        step: number of the step.
        base: rate before the first milestone.
        milestones: steps from which on the rate is multiplied by `factor`, once each.
        factor: of each milestone.
        warmup_steps: steps over which the rate rises linearly from base / warmup_steps.
    """
    rate = base * factor ** sum(step >= milestone for milestone in milestones)
    return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else rate
