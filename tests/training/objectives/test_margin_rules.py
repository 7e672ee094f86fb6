"""The heads since 2020 against slow loops in plain Python, from the papers and what their authors' code does."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shards.command import UserError
from training.objectives.heads import build_head
from training.objectives.margin_head import MarginHead, lengths
from training.objectives.margin_rules import ElasticMargin, minus
from training.settings.config import Head

CLASSES, LENGTH, COUNT = 7, 4, 24


def head_of(settings: Head, classes: int = CLASSES, length: int = LENGTH) -> MarginHead:
    torch.manual_seed(0)
    head = build_head(settings, classes, length, seed=3).double()
    assert isinstance(head, MarginHead)
    return head


def batch(seed: int, size: float = 20.0) -> tuple[Tensor, Tensor]:
    """Embeddings of very different lengths, some along and some against their class."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(COUNT, LENGTH, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (COUNT,), generator=generator)
    return embeddings * torch.rand(COUNT, 1, generator=generator, dtype=torch.float64) * size, labels


def along_classes(head: MarginHead, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Turn the first embedding into its class's own direction, and the second into the opposite one."""
    ends = torch.stack([head.weight[labels[0]], -head.weight[labels[1]]]).detach()
    return torch.cat([12 * F.normalize(ends), embeddings[2:]]).requires_grad_()


def cosines_of(embeddings: Tensor, weight: Tensor) -> list[list[float]]:
    """Cosines, one by one."""
    rows = weight.tolist()
    return [
        [
            max(-1.0, min(1.0, sum(a * b for a, b in zip(x, w, strict=True)) / (math.hypot(*x) * math.hypot(*w))))
            for w in rows
        ]
        for x in embeddings.tolist()
    ]


def logits_close(found: Tensor, expected: list[list[float]], scale: float) -> None:
    torch.testing.assert_close(found, scale * torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-9)


def deviation(values: list[float]) -> float:
    """Standard deviation of a sample, by N - 1."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_adaface_equals_its_loop_over_several_steps(rate: float) -> None:
    settings = Head(name="adaface", scale=64, margin=0.4, norm_rate=rate)
    head, mean, spread = head_of(settings), 20.0, 100.0
    for step in range(3):
        embeddings, labels = batch(step, size=90)
        embeddings = along_classes(head, embeddings, labels)
        norms = [min(100.0, max(0.001, math.hypot(*x))) for x in embeddings.tolist()]
        mean = rate * sum(norms) / COUNT + (1 - rate) * mean
        spread = rate * deviation(norms) + (1 - rate) * spread
        rows = cosines_of(embeddings, head.weight)
        for i, label in enumerate(labels.tolist()):
            rows[i] = [max(-0.999, min(0.999, c)) for c in rows[i]]
            g = max(-1.0, min(1.0, 0.333 * (norms[i] - mean) / (spread + 0.001)))
            angle = min(math.pi - 0.001, max(0.001, math.acos(rows[i][label]) - 0.4 * g))
            rows[i][label] = math.cos(angle) - (0.4 + 0.4 * g)
        logits_close(head(embeddings, labels), rows, 64)
        assert float(head.rule.norm_mean) == pytest.approx(mean)
        assert float(head.rule.norm_deviation) == pytest.approx(spread)


def test_adaface_gives_no_gradient_along_an_embedding() -> None:
    head = head_of(Head(name="adaface", scale=8, margin=0.4, norm_rate=1.0))
    embeddings, labels = batch(1, size=50)
    embeddings.requires_grad_()
    F.cross_entropy(head(embeddings, labels), labels).backward()
    assert embeddings.grad is not None
    along = (embeddings.grad * embeddings).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-12, rtol=0)
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.slow
@given(st.floats(0, 300), st.floats(-1, 1))
def test_adaface_falls_as_the_angle_grows(norm: float, cosine: float) -> None:
    """Whatever the quality, a sample nearer to its class has the greater logit."""
    head = head_of(Head(name="adaface", margin=0.4), 2, 2).eval()
    head.weight.data = torch.eye(2, dtype=torch.float64)
    angle = math.acos(cosine)
    nearer = max(0.0, angle - 0.05)
    pair = torch.tensor([[math.cos(a) * norm, math.sin(a) * norm] for a in (nearer, angle)], dtype=torch.float64)
    first, second = head(pair, torch.zeros(2, dtype=torch.int64))[:, 0].tolist()
    assert first >= second - 1e-6


def test_statistics_stay_in_evaluation_and_for_one_sample() -> None:
    embeddings, labels = batch(0)
    for name in ("adaface", "curricularface"):
        head = head_of(Head(name=name, norm_rate=1.0))
        before = {key: value.clone() for key, value in head.rule.state_dict().items()}
        head.eval()(embeddings, labels)
        if name == "adaface":
            head.train()(embeddings[:1], labels[:1])
        assert all(torch.equal(before[key], value) for key, value in head.rule.state_dict().items())
        head.train()(embeddings, labels)
        assert all(not torch.equal(before[key], value) for key, value in head.rule.state_dict().items())


def test_magface_equals_its_loop_with_gradients_through_the_length() -> None:
    settings = Head(name="magface", scale=64, norm_weight=35.0)
    head = head_of(settings)
    embeddings, labels = batch(4, size=90)
    embeddings = along_classes(head, embeddings, labels)
    rows, regulariser, sides = cosines_of(embeddings, head.weight), 0.0, set()
    for i, label in enumerate(labels.tolist()):
        a = max(10.0, min(110.0, math.hypot(*embeddings[i].tolist())))
        sides.add((a in (10.0, 110.0), rows[i][label] > 0))
        margin = (0.8 - 0.45) / (110 - 10) * (a - 10) + 0.45
        if rows[i][label] > 0:
            rows[i][label] = math.cos(math.acos(rows[i][label]) + margin)
        regulariser += (a / 110**2 + 1 / a) / COUNT
    assert len(sides) == 4
    logits_close(head(embeddings, labels), rows, 64)
    penalty = head.penalty(embeddings, labels)
    assert penalty.item() == pytest.approx(35 * regulariser)
    loss = F.cross_entropy(head(embeddings, labels), labels) + penalty
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert (gradient * embeddings).sum(dim=1).abs().max() > 1e-3


def test_curricularface_equals_its_loop_over_several_steps() -> None:
    head, t, hard = head_of(Head(name="curricularface", scale=64, margin=0.5)), 0.0, 0
    for step in range(4):
        embeddings, labels = batch(step)
        embeddings = along_classes(head, embeddings, labels)
        rows = cosines_of(embeddings, head.weight)
        t = 0.01 * sum(rows[i][label] for i, label in enumerate(labels.tolist())) / COUNT + 0.99 * t
        for i, label in enumerate(labels.tolist()):
            own = rows[i][label]
            edge = math.cos(math.acos(own) + 0.5)
            harder = edge if own > math.cos(math.pi - 0.5) else own - math.sin(math.pi - 0.5) * 0.5
            hard += sum(c > edge for c in rows[i])
            rows[i] = [c * (t + c) if c > edge else c for c in rows[i]]
            rows[i][label] = harder
        logits_close(head(embeddings, labels), rows, 64)
        assert float(head.rule.t) == pytest.approx(t)
    assert 0 < hard < 4 * COUNT * CLASSES


def test_curricularface_has_the_gradient_of_the_modulated_cosine() -> None:
    """With t fixed, d/dc of c (t + c) is t + 2 c: the modulation is part of the gradient."""
    head = head_of(Head(name="curricularface", scale=1, margin=0.5), 3, 3).eval()
    head.weight.data, head.rule.t = torch.eye(3, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    embeddings = torch.tensor([[0.5, 0.6, 0.1]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0])
    cosines = F.normalize(embeddings)
    own, expected = cosines[0, 0].item(), []
    for k in (1, 2):
        c = cosines[0, k]
        expected.append(c * (0.3 + c) if c.item() > math.cos(math.acos(own) + 0.5) else c)
    logits = head(embeddings, labels)[0]
    (found,) = torch.autograd.grad(logits[1] + logits[2], embeddings)
    (by_hand,) = torch.autograd.grad(expected[0] + expected[1], embeddings)
    torch.testing.assert_close(found, by_hand)


@pytest.mark.parametrize("name", ["elastic-arcface", "elastic-cosface"])
@pytest.mark.parametrize("ordered", [False, True])
def test_elasticface_equals_its_loop_with_the_margins_drawn(name: str, ordered: bool) -> None:
    settings = Head(name=name, margin=0.5, scale=64, margin_deviation=0.2, elastic_sorted=ordered)
    head = head_of(settings)
    embeddings, labels = batch(2)
    embeddings = along_classes(head, embeddings, labels)
    places = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    drawn = head.rule.draw(3, 11, places)
    assert drawn is not None
    margins, rows = drawn[:, 0].tolist(), cosines_of(embeddings, head.weight)
    if ordered:
        nearest_first = sorted(range(COUNT), key=lambda i: -rows[i][int(labels[i])])
        given = dict(zip(nearest_first, sorted(margins), strict=True))
        margins = [given[i] for i in range(COUNT)]
    for i, label in enumerate(labels.tolist()):
        own = rows[i][label]
        rows[i][label] = math.cos(math.acos(own) + margins[i]) if name == "elastic-arcface" else own - margins[i]
    logits_close(head(embeddings, labels, 11, places), rows, 64)


def test_drawn_margins_are_a_function_of_seed_step_and_place() -> None:
    rule = ElasticMargin(minus, Head(margin=0.5, margin_deviation=0.05))
    places = torch.arange(20_000)
    whole = rule.draw(1, 7, places)
    assert abs(whole.mean().item() - 0.5) < 2e-3
    assert abs(whole.std().item() - 0.05) < 1e-3
    torch.manual_seed(5)
    some = torch.tensor([900, 3, 17])
    assert torch.equal(rule.draw(1, 7, some), whole[some])
    for seed, step in ((2, 7), (1, 8), (7, 1)):
        assert not torch.equal(rule.draw(seed, step, places), whole)
    assert rule.draw(1, 7, places[:0]).shape == (0, 1)


@pytest.mark.parametrize("margins", [(1.0, 0.5, 0.0), (1.0, 0.0, 0.4), (1.0, 0.3, 0.2), (0.9, 0.4, 0.15)])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
@pytest.mark.parametrize("straight", [False, True])
def test_the_combined_margin_equals_its_loop(margins: tuple, threshold: float, straight: bool) -> None:
    m1, m2, m3 = margins
    settings = Head(name="combined", scale=64, m1=m1, m2=m2, m3=m3, filter_above=threshold, straight_gradient=straight)
    head = head_of(settings)
    embeddings, labels = batch(5)
    embeddings = along_classes(head, embeddings, labels)
    rows = cosines_of(embeddings, head.weight)
    filtered = 0
    for i, label in enumerate(labels.tolist()):
        own = rows[i][label]
        filtered += sum(c > threshold for c in rows[i])
        rows[i] = [0.0 if threshold and c > threshold else c for c in rows[i]]
        rows[i][label] = math.cos(m1 * math.acos(own) + m2) - m3
    assert filtered > COUNT
    logits_close(head(embeddings, labels), rows, 64)


def test_the_straight_gradient_is_that_of_the_cosine() -> None:
    embeddings, labels = batch(6)
    found = {}
    for straight in (False, True):
        head = head_of(Head(name="combined", m2=0.5, straight_gradient=straight))
        x = embeddings.clone().requires_grad_()
        found[straight] = torch.autograd.grad(head(x, labels).gather(1, labels[:, None]).sum(), x)[0]
        plain = torch.autograd.grad(30 * head.cosines(x).gather(1, labels[:, None]).sum(), x)[0]
        assert torch.allclose(found[straight], plain) == straight
    assert not torch.allclose(found[False], found[True])


def test_a_filtered_class_gets_no_gradient_from_the_sample() -> None:
    head = head_of(Head(name="combined", filter_above=0.5), 3, 2)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.3]], dtype=torch.float64)
    logits = head(torch.tensor([[1.0, 0.05]], dtype=torch.float64), torch.tensor([0]))
    assert logits[0, 1].item() == 0
    F.cross_entropy(logits, torch.tensor([0])).backward()
    assert head.weight.grad is not None
    assert (head.weight.grad.abs().sum(dim=1) > 0).tolist() == [True, False, True]


@pytest.mark.parametrize("initial", ["uniform", "unit", "normal"])
def test_rows_begin_as_asked(initial: str) -> None:
    rows = head_of(Head(name="adaface", initial=initial), 5000, 64).weight.detach()  # type: ignore[arg-type]
    expected = {"uniform": 1 / math.sqrt(3), "unit": 1 / 8, "normal": 0.01}[initial]
    assert rows.std().item() == pytest.approx(expected, rel=0.01)
    if initial == "unit":
        torch.testing.assert_close(lengths(rows), torch.ones(5000, 1).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("concentration", -1.0),
        ("norm_rate", 0.0),
        ("norm_rate", 1.5),
        ("norm_range", (0.0, 5.0)),
        ("norm_range", (9.0, 5.0)),
        ("margin_range", (0.8, 0.4)),
        ("norm_weight", -1.0),
        ("margin_deviation", -0.1),
        ("m1", 0.0),
        ("m2", -0.5),
        ("m3", -0.5),
        ("filter_above", 1.0),
    ],
)
def test_impossible_settings_are_refused_in_one_line(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=f"head.{setting} .*; give") as told:
        replace(Head(), **{setting: value})  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
