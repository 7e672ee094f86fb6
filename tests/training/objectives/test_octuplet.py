"""The octuplet loss against a loop over photos written from the paper."""

import pytest
import torch
from torch import Tensor

from training.objectives.octuplet import Embedded, octuplet_loss


def distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - torch.dot(a, b) / (a.norm() * b.norm())


def by_loop(batch: Embedded, margin: float) -> Tensor:
    """Sum over the four kinds of triplets, mean over the anchors of a kind."""
    rows = range(len(batch.labels))
    total = torch.zeros((), dtype=torch.float64)
    for of_anchor in (False, True):
        for of_candidate in (False, True):
            anchors = [a for a in rows if bool(batch.reduced[a]) == of_anchor]
            losses = []
            for a in anchors:
                candidates = [c for c in rows if bool(batch.reduced[c]) == of_candidate]
                same = [c for c in candidates if batch.labels[c] == batch.labels[a]]
                positives = [c for c in same if batch.photos[c] != batch.photos[a]]
                negatives = [c for c in candidates if c not in same]
                if positives and negatives:
                    far = max(distance(batch.embeddings[a], batch.embeddings[c]) for c in positives)
                    near = min(distance(batch.embeddings[a], batch.embeddings[c]) for c in negatives)
                    losses.append(torch.clamp(far - near + margin, min=0))
            total = total + (torch.stack(losses).sum() / len(anchors) if losses else 0)
    return total


def batch_of(people: int, photos: int, seed: int) -> Embedded:
    """Full photos first, then the reduced version of each."""
    generator = torch.Generator().manual_seed(seed)
    count = people * photos
    embeddings = torch.randn(2 * count, 6, dtype=torch.float64, generator=generator).requires_grad_()
    photo = torch.arange(count).repeat(2)
    return Embedded(embeddings, photo // photos, photo, torch.arange(2 * count) >= count)


@pytest.mark.parametrize(("people", "photos"), [(4, 2), (3, 3), (5, 1), (1, 4), (1, 1)])
def test_it_equals_a_loop_over_photos(people: int, photos: int) -> None:
    batch = batch_of(people, photos, seed=people)
    found = octuplet_loss(batch, batch, 0.5)
    assert torch.allclose(found.loss, by_loop(batch, 0.5), atol=1e-12)
    found.loss.backward()
    assert batch.embeddings.grad is not None
    assert torch.isfinite(batch.embeddings.grad).all()


def test_a_photo_and_its_reduced_version_are_never_a_pair() -> None:
    """With one photo a person there are no positives, and the loss is 0."""
    batch = batch_of(6, 1, seed=0)
    assert octuplet_loss(batch, batch, 5.0).loss.item() == 0
