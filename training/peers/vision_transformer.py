"""The vision transformers of arcface_torch (`vit_t`, `vit_s`, `vit_b`, `vit_l`), with the keys of their files.

After Dosovitskiy et al., 2021, without a class token: all patches together give the embedding. The random masking and
the dropped paths of arcface_torch's training are left out: what they drop would depend on the number of processes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

VISION_TRANSFORMERS = {"vit_t": (256, 12), "vit_s": (512, 12), "vit_b": (512, 24), "vit_l": (768, 24)}
"""Width of a patch and number of blocks."""

PATCH = 9
"""Side of a patch in pixels."""
_HEADS = 8
_EPS = 2e-5


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        # (N, 3, S, S) -> (N, W, P, P) -> (N, P^2, W)
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        # (N, T, 3 W) -> (N, T, 3, heads, W / heads) -> 3 times (N, heads, T, W / heads)
        query, key, value = self.qkv(x).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        # (N, heads, T, W / heads) -> (N, T, W)
        mixed = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(mixed)
        return out


class _Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        # (N, T, W) -> (N, T, W)
        out: Tensor = self.fc2(nn.functional.relu6(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = _Attention(width), _Perceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        # (N, T, W) -> (N, T, W)
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """Patches of 9 x 9 pixels, blocks of attention, and an embedding from all patches."""

    mask_token: Tensor

    def __init__(self, width: int, depth: int, size: int, embedding_size: int) -> None:
        super().__init__()
        patches = (size // PATCH) ** 2
        self.patch_embed = _PatchEmbedding(width)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, patches, width), std=0.02))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(width * patches, width, bias=False),
            nn.BatchNorm1d(width, eps=_EPS),
            nn.Linear(width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, eps=_EPS),
        )
        # Of the masking, which is left out: kept so that the file's keys are all there.
        self.register_buffer("mask_token", torch.zeros(1, 1, width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D)."""
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        # (N, P^2, W) -> (N, P^2 W)
        out: Tensor = self.feature(self.norm(x).flatten(1))
        return out


def build_vision_transformer(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build a vision transformer: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `VISION_TRANSFORMERS`.
        size: side of the input in pixels, 112 in the files; what is left over beside the patches is not seen.
        embedding_size: length of the embedding.
    """
    width, depth = VISION_TRANSFORMERS[name]
    return VisionTransformer(width, depth, size, embedding_size)
