"""The learning rate as a function of the step."""

from collections.abc import Sequence


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
