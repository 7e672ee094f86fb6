"""The octuplet loss: batch-hard triplets among full and reduced photos (Knoche et al., 2023, arXiv 2207.06726)."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from training.objectives.losses import Triplets, batch_hard, cosine_distances


@dataclass(frozen=True)
class Embedded:
    """Embeddings of photos, some in full and some reduced.

    Attributes:
        embeddings: (N, D).
        labels: (N,) int64, the identities.
        photos: (N,) int64, the photo that each was made from.
        reduced: (N,) bool, whether the photo was reduced first.
    """

    embeddings: Tensor
    labels: Tensor
    photos: Tensor
    reduced: Tensor


def octuplet_loss(anchors: Embedded, candidates: Embedded, margin: float) -> Triplets:
    """Return the sum of four batch-hard triplet losses: full or reduced anchors among full or reduced candidates.

    Each is the mean over its anchors. A photo is never its own positive, and neither is its reduced version. Where
    every photo has one reduced version, the sum is the published mean over photos of the sum of four losses.

    Args:
        anchors: of this rank.
        candidates: of the global batch; the gradient flows into them too.
        margin: in units of 1 - cosine.

    Returns:
        the loss, and the hardest distances of all four kinds one after the other: (2 A,).
    """
    wide = torch.promote_types(anchors.embeddings.dtype, torch.float32)
    distances = cosine_distances(anchors.embeddings.to(wide), candidates.embeddings.to(wide))
    same = anchors.labels[:, None] == candidates.labels[None, :]
    positives = same & (anchors.photos[:, None] != candidates.photos[None, :])
    found = []
    for of_anchor, of_candidate in product((False, True), repeat=2):
        rows = torch.nonzero(anchors.reduced == of_anchor).squeeze(1)
        allowed = (candidates.reduced == of_candidate)[None, :]
        found.append(batch_hard(distances[rows], positives[rows] & allowed, ~same[rows] & allowed, margin))
    return Triplets(
        torch.stack([one.loss for one in found]).sum(),
        torch.cat([one.positive for one in found]),
        torch.cat([one.negative for one in found]),
    )
