"""The variants that an experiment compares, each a change of one configuration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
        change: makes its run from the configuration that all variants share.
        trained: whether there is anything to train; otherwise the recogniser to be adapted is tested as it is.
    """

    name: str
    title: str
    change: Callable[[Config], Config]
    trained: bool = True


def _of_views(base: Config, views: str, triplet_weight: float = 0.0, degraded: float = 0.0) -> Config:
    """Return a run of other views and triplet loss.

    Args:
        base: all else.
        views: what the four views of an identity are: "full", each "random" in its resolution, or the published
            "mixed": one in full, three at 8, 12 and 16 pixels.
        triplet_weight: lambda of the triplet loss across resolutions.
        degraded: probability that a reduced view is degraded as surveillance does, 0..1.
    """
    full, low = base.size, min(LOW_SIZES)
    sizes: dict[str, tuple[int | str, ...]] = {
        "full": (full,) * _VIEWS,
        "random": (f"{low}..{full}",) * _VIEWS,
        "mixed": (full, *LOW_SIZES),
    }
    return replace(
        base,
        views=Views(sizes=sizes[views], degradation=Degradation(probability=degraded)),
        losses=replace(base.losses, triplet_weight=triplet_weight),
    )


VARIANTS = (
    Variant("hr-only", "(a) HR only", partial(_of_views, views="full")),
    Variant("random", "(b) random resolution", partial(_of_views, views="random")),
    Variant("four-views", "(c) four views, cross entropy", partial(_of_views, views="mixed")),
    Variant("full", "(d) full method", partial(_of_views, views="mixed", triplet_weight=1.0)),
    Variant(
        "degraded", "(e) full and degradations", partial(_of_views, views="mixed", triplet_weight=1.0, degraded=0.8)
    ),
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


def chosen(names: Sequence[str] | None, among: Sequence[Variant] = VARIANTS) -> tuple[Variant, ...]:
    """Return the variants of some names, in the order of all; None for all.

    Raises:
        UserError: an unknown name; lists the valid ones.
    """
    known = [variant.name for variant in among]
    if unknown := next((name for name in names or () if name not in known), None):
        raise UserError(f"no variant {unknown!r}; choose from {', '.join(known)}")
    return tuple(variant for variant in among if names is None or variant.name in names)


def configuration(variant: Variant, base: Config, seed: int) -> Config:
    """Return the run of a variant with a seed."""
    return replace(variant.change(base), seed=seed)
