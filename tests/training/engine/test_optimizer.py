"""The learning rate of a step."""

import pytest

from training.engine.optimizer import learning_rate


def test_the_rate_falls_at_its_milestones() -> None:
    rates = [learning_rate(step, base=0.1, milestones=(4, 6), factor=0.1) for step in range(8)]
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_the_rate_rises_from_the_first_step_on() -> None:
    rates = [learning_rate(step, base=0.4, milestones=(5,), factor=0.5, warmup_steps=4) for step in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.2])
