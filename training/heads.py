"""Margin heads: embeddings and labels to logits. Each is used in training only.

The class matrix starts uniform in [-1, 1], as in the published method, and has no bias.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.command import UserError


class CosineHead(nn.Module):
    """A class matrix whose logits are cosines; what the margin heads share.

    Args:
        identities: number of classes C.
        embedding_size: length D of an embedding.
        scale: factor s of the logits.
        margin: m, in the unit of the head.
    """

    def __init__(self, identities: int, embedding_size: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(identities, embedding_size).uniform_(-1, 1))
        self.scale, self.margin = scale, margin

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Return the cosine of every embedding with every class: (N, D) -> (N, C), in float32 at least."""
        wide = embeddings.float() if embeddings.dtype in (torch.float16, torch.bfloat16) else embeddings
        return F.linear(F.normalize(wide), F.normalize(self.weight.to(wide.dtype)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the logits with the margin: (N, D), (N,) int64 -> (N, C)."""
        cosines = self.cosines(embeddings)
        at_label = cosines.gather(1, labels[:, None])
        return self.scale * cosines.scatter(1, labels[:, None], self.penalised(at_label))

    def penalised(self, cosines: Tensor) -> Tensor:
        """Return the cosines with the true class, made harder by the margin: (N, 1) -> (N, 1)."""
        return cosines


class NormalisedSoftmax(CosineHead):
    """Scaled cosines without a margin (NormFace; Wang et al., 2017, eq. 4). The margin is ignored."""


class AMSoftmax(CosineHead):
    """Additive margin: s (cos - m) at the label, s cos elsewhere (Wang et al., 2018, eq. 6; CosFace, eq. 4)."""

    def penalised(self, cosines: Tensor) -> Tensor:
        """Return cos - m."""
        return cosines - self.margin


class ArcFace(CosineHead):
    """Additive angular margin: s cos(angle + m) at the label (Deng et al., 2019, eq. 3).

    Past the angle pi - m, where cos(angle + m) would rise again, the line cos - m sin(m) goes on downwards,
    as in the reference implementation.
    """

    def penalised(self, cosines: Tensor) -> Tensor:
        """Return cos(angle + m)."""
        # The sine's root has no gradient at cos = 1 or -1; a hair inside it is finite.
        inside = cosines.clamp(-1 + 1e-7, 1 - 1e-7)
        sines = (1 - inside * inside).sqrt()
        turned = inside * math.cos(self.margin) - sines * math.sin(self.margin)
        return torch.where(
            cosines > math.cos(math.pi - self.margin), turned, cosines - self.margin * math.sin(self.margin)
        )


HEADS: dict[str, type[CosineHead]] = {
    "softmax": NormalisedSoftmax,
    "am-softmax": AMSoftmax,
    "cosface": AMSoftmax,
    "arcface": ArcFace,
}


def build_head(name: str, identities: int, embedding_size: int, scale: float, margin: float) -> CosineHead:
    """Build a head by its name.

    Raises:
        UserError: unknown name.
    """
    if name not in HEADS:
        raise UserError(f"no head {name!r}; choose one of {', '.join(HEADS)}")
    return HEADS[name](identities, embedding_size, scale, margin)
