"""Vision transformers with key-point relative position encoding, with the keys of CVLface's files.

KP-RPE (Kim et al., 2024, "KeyPoint Relative Position Encoding for Face Recognition", section 3): to the product of
query i and key j comes a number that depends on where patch j stands from patch i, and on where patch i stands from the
five points of the face:

    B_ij = W_i[bucket(i - j)],    W_i = linear(centre of patch i - points)

The distance in rows, and that in columns, is one of seven (Wu et al., 2021, iRPE, the product method); each head of
each block has 49 numbers of its own.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from shards.command import UserError
from training.peers.vision_transformer import Dropping, PatchTransformer, Shape

KEYPOINT_TRANSFORMERS = {
    "vit_kprpe_small": Shape(512, 12, heads=8, widening=5, patch=8),
    "vit_kprpe_base": Shape(512, 24, heads=16, widening=3, patch=8),
}
"""The networks that take the face's five points beside its picture."""

KEYPOINTS = 5
_RATIO = 1.9
# Distances go from -3 to 3.
_FARTHEST = int(2 * _RATIO)
_STEPS = 2 * _FARTHEST + 1


def distance_step(distance: int) -> int:
    """Return one of seven steps, -3..3, for a distance in patches: as it is while small, then by its logarithm.

    >>> [distance_step(distance) for distance in (0, 1, 2, 3, 4, 13, -2, -5)]
    [0, 1, 2, 2, 3, 3, -2, -3]
    """
    if abs(distance) <= _RATIO:
        return distance
    grown = _RATIO + math.log(abs(distance) / _RATIO) / math.log(8) * _RATIO
    return int(math.copysign(min(round(grown), _FARTHEST), distance))


def buckets(side: int) -> Tensor:
    """Return the bucket 0..48 of every pair of patches of a grid of `side` x `side`: (side^2, side^2) int64."""
    steps = torch.tensor([distance_step(distance) + _FARTHEST for distance in range(-side, side + 1)])
    places = torch.arange(side)
    # (side, side): from each row, or column, to each
    step = steps[places[:, None] - places + side]
    by_rows = step.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return by_rows * _STEPS + step.repeat(side, side)


class KeypointTransformer(PatchTransformer):
    """A vision transformer whose attention knows where the face's five points are."""

    takes_points = True
    """That a forward pass takes the five points beside the pictures."""

    buckets: Tensor
    centres: Tensor

    def __init__(self, shape: Shape, size: int, embedding_size: int) -> None:
        super().__init__(shape, size, embedding_size)
        side = size // shape.patch
        self.heads = shape.heads
        self.keypoint_linear = nn.Linear(2 * KEYPOINTS, _STEPS**2 * shape.heads * shape.depth)
        # A network begins as one without relative positions.
        nn.init.zeros_(self.keypoint_linear.weight)
        nn.init.zeros_(self.keypoint_linear.bias)
        # Not in files, and so made where the network is, which may be without memory at first.
        self.register_buffer("buckets", buckets(side), persistent=False)
        middle = (torch.arange(side) + 0.5) / side
        # (side^2, 2): x, y of each patch, row by row
        grid = torch.stack([middle.repeat(side), middle.repeat_interleave(side)], dim=1)
        self.register_buffer("centres", grid, persistent=False)

    def drop(self, dropping: Dropping) -> None:
        """Leave out paths from now on, in training.

        Raises:
            UserError: patches are to be left out, which CVLface does not do.
        """
        if dropping.patches:
            raise UserError(
                f"model.masked_patches {dropping.patches} for a network with KP-RPE, which sees all patches; give 0"
            )
        super().drop(dropping)

    def forward(self, x: Tensor, points: Tensor, draws: Tensor | None = None) -> Tensor:
        """Embed pictures.

        Args:
            x: (N, 3, S, S).
            points: (N, 5, 2) x, y of left eye, right eye, nose tip, left and right mouth corner, in units of the side.
            draws: (N, self.draws) uniform in 0..1, by which paths are left out; has no effect in evaluation.

        Returns:
            (N, D).
        """
        x = self.patch_embed(x) + self.pos_embed
        # (T, 1, 2) - (N, 1, 5, 2) -> (N, T, 10)
        away = (self.centres[:, None] - points[:, None]).flatten(2)
        of_block = (
            self.keypoint_linear.weight.chunk(len(self.blocks)),
            self.keypoint_linear.bias.chunk(len(self.blocks)),
            self.path_factors(draws if self.training else None),
        )
        # Block by block: the numbers of all would take more memory than all else.
        for block, weight, bias, factors in zip(self.blocks, *of_block, strict=True):
            x = block(x, self._position_bias(linear(away, weight, bias)), factors)
        # (N, P^2, W) -> (N, P^2 W)
        out: Tensor = self.feature(self.norm(x).flatten(1))
        return out

    def _position_bias(self, of_patches: Tensor) -> Tensor:
        """(N, T, heads 49) -> (N, heads, T, T)."""
        # (N, T, heads 49) -> (N, heads, T, 49)
        table = of_patches.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return table.gather(3, self.buckets.expand(*table.shape[:2], -1, -1))


def build_keypoint_transformer(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build a vision transformer with KP-RPE: (N, 3, size, size) and (N, 5, 2) -> (N, embedding_size).

    Args:
        name: a name in `KEYPOINT_TRANSFORMERS`.
        size: side of the input in pixels, 112 in the files.
        embedding_size: length of the embedding.
    """
    return KeypointTransformer(KEYPOINT_TRANSFORMERS[name], size, embedding_size)
