"""The variants that the ablation compares, each a configuration that differs from the one before in one thing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.sampling.degradation import Degradation
from pipeline.sampling.views import Views
from shards.command import UserError
from training.settings.config import Config

LOW_SIZES = (8, 12, 16)
"""Sides in pixels of the published method's low-resolution views."""

_VIEWS = 4


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        name: in file names.
        title: in tables, with its letter.
        views: what the four views of an identity are: "full", each "random" in its resolution, or the published
            "mixed": one in full, three at 8, 12 and 16 pixels.
        triplet_weight: lambda of the triplet loss across resolutions.
        degraded: probability that a reduced view is degraded as surveillance does, 0..1.
    """

    name: str
    title: str
    views: str
    triplet_weight: float = 0.0
    degraded: float = 0.0


VARIANTS = (
    Variant("hr-only", "(a) HR only", "full"),
    Variant("random", "(b) random resolution", "random"),
    Variant("four-views", "(c) four views, cross entropy", "mixed"),
    Variant("full", "(d) full method", "mixed", triplet_weight=1.0),
    Variant("degraded", "(e) full and degradations", "mixed", triplet_weight=1.0, degraded=0.8),
)
CONTRASTS = (
    ("random", "hr-only"),
    ("four-views", "hr-only"),
    ("four-views", "random"),
    ("full", "four-views"),
    ("full", "hr-only"),
    ("degraded", "full"),
)
"""Pairs of variants whose difference is reported: the first less the second."""


def chosen(names: Sequence[str] | None) -> tuple[Variant, ...]:
    """Return the variants of some names, in the order of all; None for all.

    Raises:
        UserError: an unknown name; lists the valid ones.
    """
    known = [variant.name for variant in VARIANTS]
    if unknown := next((name for name in names or () if name not in known), None):
        raise UserError(f"no variant {unknown!r}; choose from {', '.join(known)}")
    return tuple(variant for variant in VARIANTS if names is None or variant.name in names)


def configuration(variant: Variant, base: Config, seed: int) -> Config:
    """Return the run of a variant: views and triplet loss are its own, all else is the same for every variant."""
    full, low = base.size, min(LOW_SIZES)
    sizes: dict[str, tuple[int | str, ...]] = {
        "full": (full,) * _VIEWS,
        "random": (f"{low}..{full}",) * _VIEWS,
        "mixed": (full, *LOW_SIZES),
    }
    return replace(
        base,
        views=Views(sizes=sizes[variant.views], degradation=Degradation(probability=variant.degraded)),
        losses=replace(base.losses, triplet_weight=variant.triplet_weight),
        seed=seed,
    )
