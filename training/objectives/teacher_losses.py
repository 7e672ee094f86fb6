"""Losses against a frozen teacher, which sees every photo in full.

They keep a student's embeddings comparable with those of the teacher, so that a gallery enrolled with the teacher stays
valid (backward-compatible training: Shen et al., 2020, "Towards Backward-Compatible Representation Learning").
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.losses import batch_hard, cosine_distances
from training.settings.config import Distillation


@dataclass(frozen=True)
class Student:
    """What a student's views are held to.

    Attributes:
        embeddings: (N, D) of the student's views.
        labels: (N,) int64, the identities.
        reduced: (N,) bool, whether the view is reduced.
        targets: (N, D), the teacher's embedding of each view's photo in full.
    """

    embeddings: Tensor
    labels: Tensor
    reduced: Tensor
    targets: Tensor


def distillation_loss(student: Student, settings: Distillation) -> Tensor:
    """Return the weighted mean of 1 - cosine between the views and their targets, full and reduced views apart."""
    wide = torch.promote_types(student.embeddings.dtype, torch.float32)
    distances = 1 - F.cosine_similarity(student.embeddings.to(wide), student.targets.to(wide))
    return _weighted(distances, student.reduced, settings.full, settings.reduced)


def teacher_triplet_loss(student: Student, teachers: Tensor, labels: Tensor, settings: Distillation) -> Tensor:
    """Return the weighted batch-hard triplet losses of the views among the teacher's embeddings of full photos.

    A view's own photo counts among its positives, so that photos of unknown people, each an identity of its own, form
    triplets too.

    Args:
        student: views of this rank.
        teachers: (M, D), the teacher's embeddings of the full photos of the global batch.
        labels: (M,) int64, whom they show.
        settings: weights and margin.
    """
    wide = torch.promote_types(student.embeddings.dtype, torch.float32)
    distances = cosine_distances(student.embeddings.to(wide), teachers.to(wide))
    same = student.labels[:, None] == labels[None, :]
    losses = [
        weight * batch_hard(distances[rows], same[rows], ~same[rows], settings.triplet_margin).loss
        for weight, rows in ((settings.full_triplet, ~student.reduced), (settings.reduced_triplet, student.reduced))
        if weight
    ]
    return torch.stack(losses).sum() if losses else distances.new_zeros(())


def _weighted(values: Tensor, reduced: Tensor, full_weight: float, reduced_weight: float) -> Tensor:
    """Return the mean over full views and that over reduced ones, each times its weight: (N,) -> scalar."""
    total = values.new_zeros(())
    for rows, weight in ((~reduced, full_weight), (reduced, reduced_weight)):
        chosen = values[rows]
        total = total + weight * chosen.sum() / max(len(chosen), 1)
    return total
