"""The heads by their names."""

from collections.abc import Callable

from shards.command import UserError
from training.objectives.adacos import DynamicAdaCos, FixedAdaCos
from training.objectives.center_loss import CenterSoftmax
from training.objectives.cosine_heads import ClassificationHead, NoHead, PlainSoftmax, SphereFace, SVSoftmax
from training.objectives.margin_head import RULES, MarginHead
from training.settings.config import Head

OTHER_HEADS: dict[str, Callable[[int, int, Head], ClassificationHead]] = {
    "softmax": PlainSoftmax,
    "sphereface": SphereFace,
    "adacos": DynamicAdaCos,
    "adacos-fixed": FixedAdaCos,
    "sv-softmax": SVSoftmax,
    "center-loss": CenterSoftmax,
}
"""The heads that cannot be divided."""

HEADS = (*RULES, *OTHER_HEADS)


def build_head(settings: Head, identities: int, embedding_size: int, seed: int = 0) -> ClassificationHead:
    """Build a head.

    Args:
        settings: its name, and what else the head of that name reads.
        identities: number of classes C.
        embedding_size: length D of an embedding.
        seed: of what the head draws.

    Raises:
        UserError: unknown name, or settings that the head cannot have.
    """
    if settings.name == "none":
        return NoHead(identities, embedding_size, settings)
    if settings.name in RULES:
        return MarginHead(identities, embedding_size, settings, seed)
    if settings.name not in OTHER_HEADS:
        raise UserError(f"no head {settings.name!r}; choose one of {', '.join(HEADS)} or none")
    return OTHER_HEADS[settings.name](identities, embedding_size, settings)
