"""Margins: the cosine of an embedding with its own class, made harder; pure functions, shared by all heads."""

import math

import torch
from torch import Tensor


def no_margin(cosines: Tensor, margin: float) -> Tensor:
    """Return the cosines as they are; the margin is ignored."""
    del margin
    return cosines


def additive_cosine(cosines: Tensor, margin: float) -> Tensor:
    """Return cos - m (Wang et al., 2018, "Additive Margin Softmax", eq. 5; CosFace, eq. 4).

    Args:
        cosines: any shape, values in [-1, 1].
        margin: m, in units of the cosine.
    """
    return cosines - margin


def turned(cosines: Tensor, margin: float | Tensor) -> Tensor:
    """Return cos(angle + m), for any m, past the angle pi too.

    No arc cosine, whose gradient has no bounds at cos = 1 and -1.

    Args:
        cosines: any shape, values in [-1, 1].
        margin: m, in radians, of a shape that goes with the cosines.
    """
    # The sine's root has no gradient at 0; a hair above it is finite.
    sines = (1 - cosines * cosines).clamp_min(torch.finfo(cosines.dtype).eps).sqrt()
    if isinstance(margin, Tensor):
        return cosines * margin.cos() - sines * margin.sin()
    return cosines * math.cos(margin) - sines * math.sin(margin)


def additive_angle(cosines: Tensor, margin: float) -> Tensor:
    """Return cos(angle + m) (Deng et al., 2019, "ArcFace", eq. 3).

    Past the angle pi - m, where cos(angle + m) would rise again, the line cos - m sin(m) goes on downwards,
    as in the reference implementation. The values are those of pytorch-metric-learning's ArcFaceLoss, which goes
    through the arc cosine and therefore has no finite gradient at cos = 1 and -1.

    Args:
        cosines: any shape, values in [-1, 1].
        margin: m, in radians.
    """
    beyond = cosines - margin * math.sin(margin)
    return torch.where(cosines > math.cos(math.pi - margin), turned(cosines, margin), beyond)


def combined(cosines: Tensor, factor: float, angle: float, cosine: float) -> Tensor:
    """Return cos(m1 angle + m2) - m3 (Deng et al., 2019, "ArcFace", eq. 4).

    Args:
        cosines: any shape, values in [-1, 1].
        factor: m1, of the angle.
        angle: m2, in radians.
        cosine: m3, in units of the cosine.
    """
    if factor != 1:
        edge = 1 - torch.finfo(cosines.dtype).eps
        harder = (factor * cosines.clamp(-edge, edge).acos() + angle).cos()
    else:
        harder = turned(cosines, angle) if angle else cosines
    return harder - cosine


def multiplied_angle(cosines: Tensor, multiplier: int) -> Tensor:
    """Return psi(angle) = (-1)**k cos(m angle) - 2 k (Liu et al., 2017, "SphereFace", eq. 7).

    k counts the multiples of pi / m, from the first to the (m - 1)-th, that lie below the angle, so that psi
    falls monotonically from 1 at the angle 0 to 1 - 2 m at pi. cos(m angle) is the Chebyshev polynomial T_m of
    the cosine: no arc cosine, so that the gradient is finite at cos = 1 and -1.

    Args:
        cosines: any shape, values in [-1, 1].
        multiplier: m, at least 1.
    """
    before, polynomial = torch.ones_like(cosines), cosines
    for _ in range(multiplier - 1):
        before, polynomial = polynomial, 2 * cosines * polynomial - before
    passed = torch.zeros_like(cosines)
    for number in range(1, multiplier):
        passed = passed + (cosines < math.cos(number * math.pi / multiplier))
    return (1 - 2 * (passed % 2)) * polynomial - 2 * passed
