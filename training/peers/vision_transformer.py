"""The vision transformers of arcface_torch (`vit_t`, `vit_s`, `vit_b`, `vit_l`), with the keys of their files.

After Dosovitskiy et al., 2021, without a class token: all patches together give the embedding. What a network leaves
out in training is decided by numbers that it is given, so that it does not depend on the number of processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

_EPS = 2e-5


@dataclass(frozen=True)
class Shape:
    """The shape of a vision transformer.

    Attributes:
        width: numbers that stand for a patch.
        depth: blocks.
        heads: of the attention of a block.
        widening: factor of the width inside a block's perceptron.
        patch: side of a patch in pixels.
    """

    width: int
    depth: int
    heads: int = 8
    widening: int = 4
    patch: int = 9

    def patches(self, size: int) -> int:
        """Return the number of whole patches of a picture of a side in pixels."""
        return int((size // self.patch) ** 2)


@dataclass(frozen=True)
class Dropping:
    """What a transformer leaves out of each picture in training.

    Attributes:
        paths: probability 0..1 that the attention, or the perceptron, of the last block is left out; it rises linearly
            from 0 in the first block (Huang et al., 2016, "Deep Networks with Stochastic Depth", section 3).
        patches: share 0..1 of the patches that no block sees (He et al., 2022, "Masked Autoencoders Are Scalable Vision
            Learners"); a learned token stands in for them in the embedding.
    """

    paths: float = 0.0
    patches: float = 0.0


VISION_TRANSFORMERS = {
    "vit_t": Shape(256, 12),
    "vit_s": Shape(512, 12),
    "vit_b": Shape(512, 24),
    "vit_l": Shape(768, 24),
}


class _PatchEmbedding(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch)

    def forward(self, x: Tensor) -> Tensor:
        # (N, 3, S, S) -> (N, W, P, P) -> (N, P^2, W)
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.proj = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        # (N, T, 3 W) -> (N, T, 3, heads, W / heads) -> 3 times (N, heads, T, W / heads)
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if bias is None:
            mixed = scaled_dot_product_attention(query, key, value)
        else:
            # A bias with a gradient leaves nothing to be fused.
            mixed = (query @ key.mT * query.shape[3] ** -0.5 + bias).softmax(3) @ value
        # (N, heads, T, W / heads) -> (N, T, W)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class _Perceptron(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.width, shape.widening * shape.width)
        self.fc2 = nn.Linear(shape.widening * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        # (N, T, W) -> (N, T, W)
        out: Tensor = self.fc2(nn.functional.relu6(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attn, self.mlp = _Attention(shape), _Perceptron(shape)

    def forward(self, x: Tensor, bias: Tensor | None = None, factors: Tensor | None = None) -> Tensor:
        # (N, T, W); (N, heads, T, T), which is added to the products of queries and keys; (2, N, 1, 1), with which the
        # two branches are multiplied -> (N, T, W)
        mixed = self.attn(self.norm1(x), bias)
        x = x + (mixed if factors is None else factors[0] * mixed)
        out = self.mlp(self.norm2(x))
        return x + (out if factors is None else factors[1] * out)


class PatchTransformer(nn.Module):
    """Patches, blocks of attention, and an embedding from all patches."""

    def __init__(self, shape: Shape, size: int, embedding_size: int) -> None:
        super().__init__()
        patches, width = shape.patches(size), shape.width
        self.dropping = Dropping()
        self.patch_embed = _PatchEmbedding(shape)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, patches, width), std=0.02))
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(width * patches, width, bias=False),
            nn.BatchNorm1d(width, eps=_EPS),
            nn.Linear(width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, eps=_EPS),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def drop(self, dropping: Dropping) -> None:
        """Leave out parts of each picture from now on, in training."""
        self.dropping = dropping

    @property
    def draws(self) -> int:
        """How many numbers a training pass takes for a picture: two for a block, and one for a patch if it masks."""
        if self.dropping == Dropping():
            return 0
        return 2 * len(self.blocks) + (self.pos_embed.shape[1] if self.dropping.patches else 0)

    def path_factors(self, draws: Tensor | None) -> list[Tensor | None]:
        """Return what to multiply the two branches of each block with: 0, or as much more as others are left out.

        Args:
            draws: (N, M) uniform in 0..1; None where nothing is left out.

        Returns:
            of each block (2, N, 1, 1), or None.
        """
        if draws is None or not self.dropping.paths:
            return [None] * len(self.blocks)
        rates = torch.linspace(0, self.dropping.paths, len(self.blocks), device=draws.device)[:, None]
        # (N, 2 blocks) -> (N, blocks, 2)
        kept = draws[:, : 2 * len(self.blocks)].unflatten(1, (-1, 2)) >= rates
        # (N, blocks, 2) -> blocks times (2, N, 1, 1)
        return list((kept / (1 - rates)).permute(1, 2, 0)[..., None, None])


class VisionTransformer(PatchTransformer):
    """Attention without any relative position."""

    mask_token: Tensor

    def __init__(self, shape: Shape, size: int, embedding_size: int) -> None:
        super().__init__(shape, size, embedding_size)
        # Learned where patches are left out; else kept so that the file's keys are all there.
        self.register_buffer("mask_token", nn.init.normal_(torch.zeros(1, 1, shape.width), std=0.02))

    def drop(self, dropping: Dropping) -> None:
        """Leave out parts of each picture from now on, in training; a token is learned that stands in for patches."""
        super().drop(dropping)
        if dropping.patches:
            token = self._buffers.pop("mask_token")
            assert token is not None
            self.mask_token = nn.Parameter(token)

    def forward(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """Embed pictures.

        Args:
            x: (N, 3, S, S).
            draws: (N, self.draws) uniform in 0..1, by which parts are left out; has no effect in evaluation.

        Returns:
            (N, D).
        """
        draws = draws if self.training else None
        x = self.patch_embed(x) + self.pos_embed
        shape, seen = x.shape, None
        if draws is not None and self.dropping.patches:
            # (N, T) -> (N, T') -> (N, T', W)
            first = draws[:, 2 * len(self.blocks) :].argsort(1)[:, : int(shape[1] * (1 - self.dropping.patches))]
            seen = first[..., None].expand(-1, -1, shape[2])
            x = x.gather(1, seen)
        for block, factors in zip(self.blocks, self.path_factors(draws), strict=True):
            x = block(x, factors=factors)
        x = self.norm(x)
        if seen is not None:
            x = self.mask_token.to(x.dtype).expand(shape).scatter(1, seen, x)
        # (N, P^2, W) -> (N, P^2 W)
        out: Tensor = self.feature(x.flatten(1))
        return out


def build_vision_transformer(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build a vision transformer: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `VISION_TRANSFORMERS`.
        size: side of the input in pixels, 112 in the files; what is left over beside the patches is not seen.
        embedding_size: length of the embedding.
    """
    return VisionTransformer(VISION_TRANSFORMERS[name], size, embedding_size)
