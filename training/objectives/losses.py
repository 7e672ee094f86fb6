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


def hardest_positive(distances: Tensor, same: Tensor, rows: Tensor) -> Tensor:
    """Return the distance to the farthest other view of the anchor's identity.

    Args:
        distances: (A, N).
        same: (A, N) bool, whether candidate and anchor are of one identity.
        rows: (A,) int64, the place of each anchor among the candidates; it is not its own positive.

    Returns:
        (A,); -inf for an anchor without another view.
    """
    others = same.scatter(1, rows[:, None], False)
    return distances.masked_fill(~others, -torch.inf).amax(dim=1)


def hardest_negative(distances: Tensor, same: Tensor) -> Tensor:
    """Return the distance to the nearest view of any other identity.

    Args:
        distances: (A, N).
        same: (A, N) bool.

    Returns:
        (A,); inf for an anchor in a batch of one identity.
    """
    return distances.masked_fill(same, torch.inf).amin(dim=1)


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


def cross_resolution_triplet(
    anchors: Tensor,
    anchor_labels: Tensor,
    rows: Tensor,
    candidates: Tensor,
    candidate_labels: Tensor,
    margin: float,
) -> Triplets:
    """Return the batch-hard triplet loss across views.

    Every anchor's loss is max(0, hardest positive - hardest negative + margin). An anchor without a positive
    or without a negative forms no triplet and counts as zero in the mean.

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
    positive = hardest_positive(distances, same, rows)
    negative = hardest_negative(distances, same)
    complete = torch.isfinite(positive) & torch.isfinite(negative)
    # Where no triplet exists the difference of infinities must not reach the gradient.
    gap = torch.where(complete, positive, 0) - torch.where(complete, negative, 0) + margin
    hinge = torch.where(complete, F.relu(gap), 0)
    return Triplets(hinge.sum() / max(len(hinge), 1), positive, negative)
