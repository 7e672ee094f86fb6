"""The optimiser of a run, and its learning rate as a function of the step."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from training.engine.low_rank import LowRankAdamW
from training.engine.step import Learner
from training.settings.config import Optimizer

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def build_optimizer(settings: Optimizer, learner: Learner) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters of a learner.

    Each group of parameters has a `factor` of the learning rate: 1 for the head, `backbone_rate` for the last layer of
    the backbone, and `layer_decay` times the factor of the layer after it for every layer before. Parameters without
    weight decay, as the settings say, form groups of their own.
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
    if settings.undecayed != "none":
        groups = _parted(groups, undecayed(settings, learner))
    if settings.name == "lora":
        adapted = list(learner.backbone.parameters())
        return LowRankAdamW(groups, adapted, settings.rank, settings.learning_rate, settings.weight_decay)
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


def undecayed(settings: Optimizer, learner: Learner) -> set[nn.Parameter]:
    """Return the parameters of a learner without weight decay: of its normalisations, and perhaps all biases."""
    found = {one for part in learner.modules() if isinstance(part, _NORMS) for one in part.parameters(recurse=False)}
    if settings.undecayed == "norms-and-biases":
        found |= {one for name, one in learner.named_parameters() if name.split(".")[-1] == "bias"}
    return found


def _parted(groups: list[dict[str, object]], without: set[nn.Parameter]) -> list[dict[str, object]]:
    """Part each group into one with weight decay and one without; empty ones are left out."""
    found: list[dict[str, object]] = []
    for group in groups:
        parameters: list[nn.Parameter] = group["params"]  # type: ignore[assignment]
        decayed = [one for one in parameters if one not in without]
        kept = [one for one in parameters if one in without]
        found += [{**group, "params": decayed}] if decayed else []
        found += [{**group, "params": kept, "weight_decay": 0.0}] if kept else []
    return found


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


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: Optimizer, step: int, steps: int = 0) -> float:
    """Give the optimiser the learning rate of a step of so many, times the factor of each group, and return it."""
    rate = learning_rate(
        step,
        base=settings.learning_rate,
        milestones=settings.milestones,
        factor=settings.factor,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        steps=steps,
        power=settings.power,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
    return rate


def learning_rate(
    step: int,
    *,
    base: float,
    milestones: Sequence[int] = (),
    factor: float = 1.0,
    warmup_steps: int = 0,
    schedule: Literal["milestones", "cosine", "polynomial"] = "milestones",
    steps: int = 0,
    power: float = 1.0,
) -> float:
    """Return the learning rate of a step, counted from 0.

    >>> [learning_rate(s, base=0.1, milestones=(4, 6), factor=0.1) for s in (0, 3, 4, 6)]
    [0.1, 0.1, 0.010000000000000002, 0.0010000000000000002]
    >>> [learning_rate(s, base=4.0, schedule="polynomial", warmup_steps=2, steps=6) for s in range(6)]
    [0.0, 2.0, 4.0, 3.0, 2.0, 1.0]

    Args:
        step: number of the step.
        base: the highest rate.
        milestones: steps from which on the rate is multiplied by `factor`, once each.
        factor: of each milestone.
        warmup_steps: w, steps over which the rate rises linearly: to base at step w - 1 with milestones; with the other
            schedules from 0 at step 0 to base at step w, as in the code that they come from.
        schedule: milestones; cosine, base (1 + cos(pi d)) / 2; or polynomial, base (1 - d)**power, the closed form of
            arcface_torch's scheduler, where d = (step - w) / (steps - w).
        steps: of the run, where cosine and polynomial reach 0.
        power: of the polynomial.
    """
    if schedule == "milestones":
        rate = base * factor ** sum(step >= milestone for milestone in milestones)
        return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else rate
    if step < warmup_steps:
        return base * step / warmup_steps
    left = max(0, steps - step) / (steps - warmup_steps)
    return base * (left**power if schedule == "polynomial" else (1 - math.cos(math.pi * left)) / 2)
