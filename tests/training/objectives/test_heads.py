"""Every head against its formula, a row at a time in plain Python, and against pytorch-metric-learning."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as pml
from torch import Tensor

from shards.command import UserError
from training.objectives.adacos import DynamicAdaCos
from training.objectives.center_loss import CenterSoftmax
from training.objectives.cosine_heads import ClassificationHead, SphereFace
from training.objectives.heads import HEADS, build_head
from training.objectives.margins import multiplied_angle
from training.settings.config import Head

CLASSES, LENGTH = 7, 5
NAMES = sorted(HEADS)
SINCE_2020 = ("adaface", "combined", "curricularface", "elastic-arcface", "elastic-cosface", "magface")
"""Held to their formulas by test_margin_rules."""


def settings(name: str) -> Head:
    """Of a head as the slow formulas below have it."""
    return Head(
        name=name,
        margin=4 if name == "sphereface" else 0.35,
        annealing=False,
        # Lengths of the embeddings here, some of them beyond.
        norm_range=(1.5, 2.5),
        margin_deviation=0.3,
        elastic_sorted=name == "elastic-cosface",
        m1=0.9,
        m2=0.4,
        m3=0.15,
        filter_above=0.3,
    )


def double_head(name: str, classes: int = CLASSES, length: int = LENGTH) -> ClassificationHead:
    return build_head(settings(name), classes, length).double()


def psi(angle: float, m: int) -> float:
    """The piecewise function of SphereFace, from its definition."""
    k = min(int(angle / (math.pi / m)), m - 1)
    return (-1) ** k * math.cos(m * angle) - 2 * k


def slow_row(name: str, x: list[float], rows: list[list[float]], bias: list[float], label: int) -> list[float]:
    """The logits of one embedding, by the formula of each paper."""
    dots = [sum(a * b for a, b in zip(x, w, strict=True)) for w in rows]
    if name in ("softmax", "center-loss"):
        return [dot + b for dot, b in zip(dots, bias, strict=True)]
    cosines = [max(-1.0, min(1.0, dot / math.hypot(*x) / math.hypot(*w))) for dot, w in zip(dots, rows, strict=True)]
    scale, own = 30.0, cosines[label]
    if name == "sphereface":
        scale = math.hypot(*x)
    elif name.startswith("adacos"):  # dynamic AdaCos before its first batch too
        scale = math.sqrt(2) * math.log(len(rows) - 1)
    elif name == "arcface":
        beyond = math.acos(own) > math.pi - 0.35
        cosines[label] = own - 0.35 * math.sin(0.35) if beyond else math.cos(math.acos(own) + 0.35)
    elif name in ("am-softmax", "cosface", "sv-softmax"):
        cosines[label] = own - 0.35
    if name == "sphereface":
        cosines[label] = psi(math.acos(own), 4)
    if name == "sv-softmax":
        for k, cosine in enumerate(cosines):
            if k != label and cosine > cosines[label]:
                # log h(t, cos, 1) / s added to the cosine
                cosines[k] = cosine + (1.2 - 1) * (cosine + 1)
    return [scale * cosine for cosine in cosines]


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SINCE_2020)))
def test_logits_equal_the_formula(name: str) -> None:
    torch.manual_seed(0)
    head = double_head(name).eval()
    weight = head.get_parameter("weight").detach()
    bias = head.get_parameter("bias").tolist() if hasattr(head, "bias") else []
    embeddings = torch.randn(40, LENGTH, dtype=torch.float64)
    embeddings[0], embeddings[1] = -weight[3], 2 * weight[4]  # the angles pi and 0
    labels = torch.arange(40) % CLASSES
    labels[0], labels[1] = 3, 4
    logits = head(embeddings, labels)
    for row in range(40):
        expected = slow_row(name, embeddings[row].tolist(), weight.tolist(), bias, int(labels[row]))
        assert logits[row].tolist() == pytest.approx(expected, abs=1e-5)


def oracle(name: str) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """A head of pytorch-metric-learning with its cross entropy, and its class matrix."""
    losses = {
        "normface": lambda: pml.NormalizedSoftmaxLoss(CLASSES, LENGTH, temperature=1 / 30),
        "am-softmax": lambda: pml.CosFaceLoss(CLASSES, LENGTH, margin=0.35, scale=30),
        "cosface": lambda: pml.CosFaceLoss(CLASSES, LENGTH, margin=0.35, scale=30),
        "arcface": lambda: pml.ArcFaceLoss(CLASSES, LENGTH, margin=math.degrees(0.35), scale=30),
        "sphereface": lambda: pml.SphereFaceLoss(CLASSES, LENGTH, margin=4, scale=1),
    }
    theirs = losses[name]()
    return theirs, theirs.W


@pytest.mark.parametrize("name", ["normface", "am-softmax", "cosface", "arcface", "sphereface"])
def test_loss_and_gradients_equal_those_of_pytorch_metric_learning(name: str) -> None:
    torch.manual_seed(2)
    head = double_head(name)
    theirs, matrix = oracle(name)
    weight = head.get_parameter("weight")
    matrix.data = weight.detach().T.clone()
    embeddings, again = (torch.randn(60, LENGTH, dtype=torch.float64).requires_grad_() for _ in range(2))
    again.data = embeddings.detach().clone()
    labels = torch.randint(CLASSES, (60,))
    ours = F.cross_entropy(head(embeddings, labels), labels)
    expected = theirs(again, labels)
    torch.testing.assert_close(ours, expected)
    ours.backward()
    expected.backward()
    torch.testing.assert_close(embeddings.grad, again.grad)
    assert matrix.grad is not None
    torch.testing.assert_close(weight.grad, matrix.grad.T)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right_and_finite(name: str) -> None:
    torch.manual_seed(1)
    head = double_head(name, 4, 3).eval()
    weight = head.get_parameter("weight")
    labels = torch.tensor([0, 1, 3])
    embeddings = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)

    def logits(x: Tensor, _: Tensor) -> Tensor:
        # Of AdaFace's margin the length of an embedding is no part of the gradient.
        return head(F.normalize(x) if name == "adaface" else x, labels)

    assert torch.autograd.gradcheck(logits, (embeddings, weight))
    extreme = torch.stack([weight[0], -weight[1], torch.zeros(3).double()]).detach().requires_grad_()
    head(extreme, labels).sum().backward()
    assert torch.isfinite(extreme.grad).all()  # type: ignore[arg-type]
    assert torch.isfinite(weight.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_angles_of_zero_and_pi_are_safe_in_float32(name: str) -> None:
    torch.manual_seed(4)
    head = build_head(settings(name), 64, 16).train()
    embeddings = torch.cat([head.get_parameter("weight"), -head.get_parameter("weight")]).detach().requires_grad_()
    labels = torch.arange(64).repeat(2)
    loss = F.cross_entropy(head(embeddings, labels), labels) + head.penalty(embeddings, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_has_no_logits_and_changes_nothing(name: str) -> None:
    head = build_head(settings(name), CLASSES, LENGTH).train()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    nothing, labels = torch.empty(0, LENGTH, requires_grad=True), torch.empty(0, dtype=torch.int64)
    assert head(nothing, labels).shape == (0, CLASSES)
    assert head.penalty(nothing, labels).item() == 0
    assert all(torch.equal(before[key], value) for key, value in head.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_embeddings_get_float32_logits(name: str) -> None:
    torch.manual_seed(3)
    head = build_head(settings(name), CLASSES, LENGTH).eval()
    low, labels = torch.randn(9, LENGTH).bfloat16(), torch.arange(9) % CLASSES
    with torch.autocast("cpu", torch.bfloat16):
        logits, penalty = head(low, labels), head.penalty(low, labels)
    assert (logits.dtype, penalty.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(logits, head(low.float(), labels))
    torch.testing.assert_close(penalty, head.penalty(low.float(), labels))


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_psi_falls_from_one_to_one_minus_twice_m(m: int) -> None:
    angles = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    values = multiplied_angle(angles.cos(), m)
    assert (values.diff() <= 1e-12).all()
    assert (values[0].item(), values[-1].item()) == pytest.approx((1, 1 - 2 * m))
    assert values.tolist() == pytest.approx([psi(angle, m) for angle in angles.tolist()], abs=1e-9)


def test_annealing_begins_at_the_cosine_and_ends_at_the_floor() -> None:
    head = build_head(replace(settings("sphereface"), annealing=True), CLASSES, LENGTH).double().train()
    assert isinstance(head, SphereFace)
    plain = double_head("sphereface")
    plain.get_parameter("weight").data = head.weight.data
    embeddings, labels = torch.randn(6, LENGTH, dtype=torch.float64), torch.arange(6)
    cosine = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True) * head.cosines(embeddings)
    for passes, weight in ((0, 1000), (1, 1000 / 1.12), (100_000, 5)):
        head.passes.fill_(passes)
        blend = (weight * cosine + plain(embeddings, labels)) / (1 + weight)
        torch.testing.assert_close(head(embeddings, labels), blend)
        assert head.passes == passes + 1
    head.eval()(embeddings, labels)
    assert head.passes == 100_001


def test_the_scale_of_dynamic_adacos_follows_its_formula() -> None:
    torch.manual_seed(5)
    head = double_head("adacos").train()
    assert isinstance(head, DynamicAdaCos)
    scale = math.sqrt(2) * math.log(CLASSES - 1)
    for size in (6, 9, 1):
        embeddings, labels = torch.randn(size, LENGTH, dtype=torch.float64), torch.randint(CLASSES, (size,))
        cosines = head.cosines(embeddings)
        logits = head(embeddings, labels)
        sums, angles = [], []
        for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
            sums.append(sum(math.exp(scale * c) for k, c in enumerate(row) if k != label))
            angles.append(math.acos(row[label]))
        middle = sorted(angles)[(size - 1) // 2]
        scale = math.log(sum(sums) / size) / math.cos(min(math.pi / 4, middle))
        assert head.dynamic_scale.item() == pytest.approx(scale)
        torch.testing.assert_close(logits, scale * cosines)


def test_centres_and_center_loss_follow_their_formulas() -> None:
    torch.manual_seed(6)
    head = double_head("center-loss").train()
    assert isinstance(head, CenterSoftmax)
    centres = [[0.0] * LENGTH for _ in range(CLASSES)]
    for _ in range(3):
        embeddings, labels = torch.randn(8, LENGTH, dtype=torch.float64).requires_grad_(), torch.randint(4, (8,))
        penalty = head.penalty(embeddings, labels)
        rows, named = embeddings.tolist(), labels.tolist()
        squares = [
            sum((a - b) ** 2 for a, b in zip(x, centres[y], strict=True)) for x, y in zip(rows, named, strict=True)
        ]
        assert penalty.item() == pytest.approx(0.003 / 2 * sum(squares) / 8)
        expected = [
            [0.003 / 8 * (a - b) for a, b in zip(x, centres[y], strict=True)] for x, y in zip(rows, named, strict=True)
        ]
        (gradient,) = torch.autograd.grad(penalty, embeddings)
        torch.testing.assert_close(gradient, torch.tensor(expected, dtype=torch.float64))
        for j in range(CLASSES):
            own = [x for x, y in zip(rows, named, strict=True) if y == j]
            delta = [sum(centres[j][d] - x[d] for x in own) / (1 + len(own)) for d in range(LENGTH)]
            centres[j] = [c - 0.5 * d for c, d in zip(centres[j], delta, strict=True)]
        torch.testing.assert_close(head.centres.detach(), torch.tensor(centres, dtype=torch.float64))
    before = head.centres.clone()
    head.eval().penalty(embeddings, labels)
    assert torch.equal(head.centres, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_head_goes_on_bit_identically(name: str) -> None:
    torch.manual_seed(7)
    head = build_head(replace(settings(name), annealing=True), CLASSES, LENGTH).train()
    batches = [(torch.randn(12, LENGTH), torch.randint(CLASSES, (12,))) for _ in range(4)]
    for batch in batches[:2]:
        head(*batch), head.penalty(*batch)
    resumed = build_head(replace(settings(name), annealing=True), CLASSES, LENGTH).train()
    resumed.load_state_dict(head.state_dict())
    for batch in batches[2:]:
        assert torch.equal(head(*batch), resumed(*batch))
        assert torch.equal(head.penalty(*batch), resumed.penalty(*batch))


def test_the_class_matrix_starts_uniform() -> None:
    weight = build_head(Head(), 200, 100).get_parameter("weight")
    assert weight.shape == (200, 100)
    assert -1 <= weight.min() < -0.99
    assert 0.99 < weight.max() <= 1
    assert abs(weight.var().item() - 1 / 3) < 0.01


@pytest.mark.parametrize(
    ("head", "classes", "message"),
    [
        (Head(name="nothing"), 4, "choose one of normface, am-softmax"),
        (Head(name="sphereface"), 4, "margin 0.35 for sphereface"),
        (Head(name="sphereface", margin=0), 4, "whole number"),
        (Head(name="adacos"), 2, "at least 3"),
    ],
)
def test_impossible_heads_are_refused(head: Head, classes: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_head(head, classes, LENGTH)
