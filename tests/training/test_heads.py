"""Every head against its formula, a row at a time in plain Python."""

import math

import pytest
import torch

from shards.command import UserError
from training.heads import HEADS, build_head

SCALE, MARGIN = 30.0, 0.35


def formula(name: str, cosine: float) -> float:
    """The true class's logit over the scale."""
    if name in ("am-softmax", "cosface"):
        return cosine - MARGIN
    if name == "arcface":
        angle = math.acos(cosine)
        beyond = angle > math.pi - MARGIN
        return cosine - MARGIN * math.sin(MARGIN) if beyond else math.cos(angle + MARGIN)
    return cosine


@pytest.mark.parametrize("name", sorted(HEADS))
def test_logits_equal_the_formula(name: str) -> None:
    torch.manual_seed(0)
    head = build_head(name, 7, 5, SCALE, MARGIN).double()
    embeddings = torch.randn(40, 5, dtype=torch.float64)
    embeddings[0] = -head.weight[3].detach()  # the angle beyond pi - margin
    labels = torch.arange(40) % 7
    labels[0] = 3
    logits = head(embeddings, labels)
    for row in range(40):
        e = embeddings[row].tolist()
        for column in range(7):
            w = head.weight[column].tolist()
            dot = sum(a * b for a, b in zip(e, w, strict=True))
            cosine = dot / math.sqrt(sum(a * a for a in e)) / math.sqrt(sum(b * b for b in w))
            cosine = max(-1.0, min(1.0, cosine))
            expected = formula(name, cosine) if column == labels[row] else cosine
            assert math.isclose(logits[row, column].item(), SCALE * expected, abs_tol=1e-6)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_gradients_are_right_and_finite(name: str) -> None:
    torch.manual_seed(1)
    head = build_head(name, 4, 3, SCALE, MARGIN).double()
    labels = torch.tensor([0, 1, 3])
    embeddings = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: head(x, labels), (embeddings,))
    extreme = torch.stack([head.weight[0], -head.weight[1], torch.zeros(3).double()]).detach().requires_grad_()
    head(extreme, labels).sum().backward()
    assert torch.isfinite(extreme.grad).all()  # type: ignore[arg-type]


def test_the_class_matrix_starts_uniform() -> None:
    weight = build_head("am-softmax", 200, 100, SCALE, MARGIN).weight
    assert weight.shape == (200, 100)
    assert -1 <= weight.min() < -0.99
    assert 0.99 < weight.max() <= 1
    assert abs(weight.var().item() - 1 / 3) < 0.01


def test_an_unknown_head_lists_the_known() -> None:
    with pytest.raises(UserError, match="am-softmax"):
        build_head("nothing", 2, 2, SCALE, MARGIN)
