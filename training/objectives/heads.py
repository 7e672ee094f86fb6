"""The heads by their names."""

from collections.abc import Callable

from shards.command import UserError
from training.objectives.adacos import DynamicAdaCos, FixedAdaCos
from training.objectives.center_loss import CenterSoftmax
from training.objectives.cosine_heads import (
    AMSoftmax,
    ArcFace,
    ClassificationHead,
    NoHead,
    NormFace,
    PlainSoftmax,
    SphereFace,
    SVSoftmax,
)
from training.settings.config import Head

HEADS: dict[str, Callable[[int, int, Head], ClassificationHead]] = {
    "softmax": PlainSoftmax,
    "normface": NormFace,
    "am-softmax": AMSoftmax,
    "cosface": AMSoftmax,
    "arcface": ArcFace,
    "sphereface": SphereFace,
    "adacos": DynamicAdaCos,
    "adacos-fixed": FixedAdaCos,
    "sv-softmax": SVSoftmax,
    "center-loss": CenterSoftmax,
}


def build_head(settings: Head, identities: int, embedding_size: int) -> ClassificationHead:
    """Build a head.

    Args:
        settings: its name, and what else the head of that name reads.
        identities: number of classes C.
        embedding_size: length D of an embedding.

    Raises:
        UserError: unknown name, or settings that the head cannot have.
    """
    if settings.name == "none":
        return NoHead(identities, embedding_size, settings)
    if settings.name not in HEADS:
        raise UserError(f"no head {settings.name!r}; choose one of {', '.join(HEADS)} or none")
    return HEADS[settings.name](identities, embedding_size, settings)
