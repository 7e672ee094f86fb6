"""AdaCos: cosine logits whose scale is derived, not chosen (Zhang et al., 2019)."""

import math

import torch
from torch import Tensor

from shards.command import UserError
from training.objectives.cosine_heads import CosineHead
from training.ranks.world import gather_rows
from training.settings.config import Head


class FixedAdaCos(CosineHead):
    """Scaled cosines without a margin, with the fixed scale sqrt(2) ln(C - 1), the fixed AdaCos of the paper.

    Scale and margin of the settings are ignored.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__(identities, embedding_size, settings)
        if identities < 3:
            raise UserError(f"{identities} identities for adacos, whose scale needs at least 3; choose another --head")
        self.scale = math.sqrt(2) * math.log(identities - 1)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return s cos."""
        del labels
        return self.scale * self.cosines(embeddings)


class DynamicAdaCos(FixedAdaCos):
    """Scaled cosines whose scale follows the training, the dynamic AdaCos of the paper.

    Every pass in training mode first sets the scale of its own logits, from the scale s' before it:

        B = mean over samples of the sum over the other classes of exp(s' cos)
        s = ln(B) / cos(min(pi / 4, median over samples of the angle with the own class))

    Both statistics are over the samples of all ranks, so that the scale is the same for every number of ranks.
    Of an even number of angles the median is the lower middle one, which the paper leaves open. The scale is
    a buffer, saved with the weights; in evaluation mode, and for an empty batch, it stays.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__(identities, embedding_size, settings)
        self.dynamic_scale: Tensor
        self.register_buffer("dynamic_scale", torch.tensor(self.scale))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return s cos, with s of this batch."""
        cosines = self.cosines(embeddings)
        if self.training:
            self._follow(cosines.detach(), labels)
        # A copy: a second pass before the backward pass would change what the first one remembers.
        return self.dynamic_scale.to(cosines.dtype, copy=True) * cosines

    @torch.no_grad()
    def _follow(self, cosines: Tensor, labels: Tensor) -> None:
        """Set the scale from the cosines of a batch."""
        own = labels[:, None]
        # The sum of exponentials stays a logarithm, so that no scale overflows it.
        others = (self.dynamic_scale * cosines).scatter(1, own, -torch.inf).logsumexp(dim=1)
        angles = cosines.gather(1, own)[:, 0].clamp(-1, 1).acos()
        # (N, 2) of this rank -> (W N, 2) of all
        others, angles = gather_rows(torch.stack([others, angles], dim=1)).unbind(dim=1)
        if len(angles):
            log_b = others.logsumexp(dim=0) - math.log(len(others))
            self.dynamic_scale.copy_(log_b / angles.median().clamp_max(math.pi / 4).cos())
