"""Every loss against a slow loop, with the cases in which there is nothing to compare."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.objectives.losses import (
    Triplets,
    cosine_distances,
    cross_entropy_per_sample,
    cross_resolution_triplet,
    focal_of_entropy,
)


def slow_triplet(embeddings: list[list[float]], labels: list[int], margin: float) -> float:
    """The batch-hard triplet loss, one pair at a time."""

    def distance(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - dot / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for i, anchor in enumerate(embeddings):
        positive = [distance(anchor, e) for j, e in enumerate(embeddings) if labels[j] == labels[i] and j != i]
        negative = [distance(anchor, e) for j, e in enumerate(embeddings) if labels[j] != labels[i]]
        if positive and negative:
            total += max(0.0, max(positive) - min(negative) + margin)
    return total / len(embeddings)


def triplet(embeddings: Tensor, labels: Tensor, margin: float) -> Triplets:
    return cross_resolution_triplet(embeddings, labels, torch.arange(len(labels)), embeddings, labels, margin)


@settings(max_examples=60, deadline=None)
@given(
    identities=st.integers(1, 5),
    views=st.integers(1, 4),
    margin=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_triplet_equals_the_slow_loop(
    identities: int, views: int, margin: float, seed: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(identities * views, 6, generator=generator, dtype=dtype)
    # At random: some stand alone and form no triplet, which counts as zero in the mean.
    labels = torch.randint(identities, (len(embeddings),), generator=generator)
    found = triplet(embeddings, labels, margin).loss.item()
    expected = slow_triplet(embeddings.tolist(), labels.tolist(), margin)
    assert math.isclose(found, expected, abs_tol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]])
def test_without_a_positive_or_a_negative_there_is_no_triplet(labels: list[int]) -> None:
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    loss = triplet(embeddings, torch.tensor(labels), 1.0).loss
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))  # type: ignore[arg-type]


def test_an_empty_batch_has_no_loss() -> None:
    empty = torch.empty(0, 4, requires_grad=True)
    assert triplet(empty, torch.empty(0, dtype=torch.int64), 1.0).loss.item() == 0


def test_triplet_gradient() -> None:
    embeddings = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(4).repeat(2)
    assert torch.autograd.gradcheck(lambda x: triplet(x, labels, 1.0).loss, (embeddings,))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_the_anchors_average_to_the_whole(parts: int) -> None:
    embeddings = torch.randn(16, 6, dtype=torch.float64)
    labels = torch.arange(8).repeat(2)
    rows = torch.arange(16)
    losses = [
        cross_resolution_triplet(embeddings[part], labels[part], part, embeddings, labels, 1.0).loss
        for part in rows.chunk(parts)
    ]
    torch.testing.assert_close(torch.stack(losses).mean(), triplet(embeddings, labels, 1.0).loss)


def test_low_precision_embeddings_are_compared_in_float32() -> None:
    embeddings = torch.randn(8, 16)
    labels = torch.arange(4).repeat(2)
    low = triplet(embeddings.bfloat16(), labels, 1.0).loss
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, triplet(embeddings.bfloat16().float(), labels, 1.0).loss)


def test_distances_lie_between_zero_and_two() -> None:
    rows = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 3.0]])
    torch.testing.assert_close(cosine_distances(rows[:1], rows), torch.tensor([[0.0, 2.0, 1.0]]))


def test_cross_entropy_and_focal_equal_their_formulas() -> None:
    logits = torch.randn(9, 5, dtype=torch.float64)
    labels = torch.arange(9) % 5
    for row in range(9):
        numbers = logits[row].tolist()
        p = math.exp(numbers[labels[row]]) / sum(math.exp(v) for v in numbers)
        entropy = cross_entropy_per_sample(logits, labels)
        assert math.isclose(entropy[row].item(), -math.log(p), rel_tol=1e-9)
        assert math.isclose(focal_of_entropy(entropy, 2.0)[row].item(), -((1 - p) ** 2) * math.log(p), rel_tol=1e-9)
    torch.testing.assert_close(focal_of_entropy(entropy, 0.0), entropy)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: focal_of_entropy(cross_entropy_per_sample(x, labels), 2.0), (logits,))
