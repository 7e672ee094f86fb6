"""The losses of the published method as separate steps: distance, mining, value per anchor, mean.

Lai and Lam, 2021: mean cross entropy over the views plus lambda times a batch-hard triplet loss across
resolutions (batch-hard mining after Hermans et al., 2017, eq. 5).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy_per_sample(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of every row: (N, C), (N,) int64 -> (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def focal_of_entropy(entropy: Tensor, gamma: float) -> Tensor:
    """Return the focal loss (1 - p)**gamma times the cross entropy of every sample (Lin et al., 2017, eq. 4).

    Args:
        entropy: (N,), -log(p).
        gamma: focusing parameter, 0 for plain cross entropy.
    """
    return (1 - torch.exp(-entropy)) ** gamma * entropy


def cosine_distances(anchors: Tensor, candidates: Tensor) -> Tensor:
    """Return 1 - cosine of every anchor with every candidate: (A, D), (N, D) -> (A, N), values in [0, 2]."""
    return 1 - F.normalize(anchors) @ F.normalize(candidates).T


@dataclass(frozen=True)
class Triplets:
    """The triplet loss with what it was made of.

    Attributes:
        loss: scalar, mean over the anchors.
        positive: (A,) hardest positive distances.
        negative: (A,) hardest negative distances.
    """

    loss: Tensor
    positive: Tensor
    negative: Tensor


def batch_hard(distances: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Triplets:
    """Return the batch-hard triplet loss of anchors among candidates (Hermans et al., 2017, eq. 5).

    An anchor's loss is max(0, distance to its farthest positive - distance to its nearest negative + margin). An
    anchor without a positive or without a negative forms no triplet and counts as zero in the mean.

    Args:
        distances: (A, N) of the anchors from the candidates.
        positives: (A, N) bool, which candidates may be an anchor's positive.
        negatives: (A, N) bool, which may be its negative.
        margin: in the unit of the distances.
    """
    positive = distances.masked_fill(~positives, -torch.inf).amax(dim=1)
    negative = distances.masked_fill(~negatives, torch.inf).amin(dim=1)
    complete = torch.isfinite(positive) & torch.isfinite(negative)
    # Where no triplet exists the difference of infinities must not reach the gradient.
    gap = torch.where(complete, positive, 0) - torch.where(complete, negative, 0) + margin
    hinge = torch.where(complete, F.relu(gap), 0)
    return Triplets(hinge.sum() / max(len(hinge), 1), positive, negative)


def cross_resolution_triplet(
    anchors: Tensor,
    anchor_labels: Tensor,
    rows: Tensor,
    candidates: Tensor,
    candidate_labels: Tensor,
    margin: float,
) -> Triplets:
    """Return the batch-hard triplet loss across views; an anchor is not its own positive.

    Args:
        anchors: (A, D) embeddings, for example one rank's.
        anchor_labels: (A,) int64.
        rows: (A,) int64, the place of each anchor among the candidates.
        candidates: (N, D) embeddings of the global batch; the gradient flows into them too.
        candidate_labels: (N,) int64.
        margin: in units of 1 - cosine.
    """
    wide = torch.promote_types(anchors.dtype, torch.float32)
    if not len(candidates):
        nothing = anchors.new_empty(0, dtype=wide)
        return Triplets(anchors.to(wide).sum(), nothing, nothing)
    distances = cosine_distances(anchors.to(wide), candidates.to(wide))
    same = anchor_labels[:, None] == candidate_labels[None, :]
    return batch_hard(distances, same.scatter(1, rows[:, None], False), ~same, margin)
