"""A head with the loss of its logits: what a step calls, whether the class matrix is in one piece or in shards."""

import torch
from torch import Tensor, nn

from training.objectives.cosine_heads import ClassificationHead, NoHead
from training.objectives.losses import cross_entropy_per_sample, focal_of_entropy
from training.objectives.sharded_head import ShardedHead
from training.settings.config import Losses

Head = ClassificationHead | ShardedHead


class HeadLoss(nn.Module):
    """The classification loss of every sample, as one module, so that data-parallel training sees one pass.

    Args:
        head: in one piece, or this rank's shard.
        losses: its classification, cross-entropy or focal, and focal_gamma.
    """

    def __init__(self, head: Head, losses: Losses) -> None:
        super().__init__()
        self.head, self.losses = head, losses

    def forward(
        self, embeddings: Tensor, labels: Tensor, step: int, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of every sample (N,) and the head's penalty, a scalar.

        Args:
            embeddings: (N, D) of this rank, N the same on all.
            labels: (N,) int64.
            step: number of the step, which chooses what a head draws, such as the classes of a sampled one.
            places: (N,) int64 on the CPU, of the samples in the global batch; see `ClassificationHead.forward`.
        """
        if isinstance(self.head, NoHead):
            nothing = embeddings.new_zeros(len(embeddings), dtype=torch.promote_types(embeddings.dtype, torch.float32))
            return nothing, nothing.sum()
        if isinstance(self.head, ShardedHead):
            entropy = self.head.entropy(embeddings, labels, step, places)
        else:
            entropy = cross_entropy_per_sample(self.head(embeddings, labels, step, places), labels)
        penalty = self.head.penalty(embeddings, labels)
        if self.losses.classification == "focal":
            return focal_of_entropy(entropy, self.losses.focal_gamma), penalty
        return entropy, penalty
