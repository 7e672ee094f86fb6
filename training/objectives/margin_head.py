"""A class matrix in one piece with a rule for its margin: the heads that can be divided among processes, too."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from training.objectives.cosine_heads import CosineHead
from training.objectives.margin_rules import (
    CombinedMargin,
    CurricularMargin,
    ElasticMargin,
    FixedMargin,
    MarginRule,
    Samples,
    minus,
)
from training.objectives.margins import additive_angle, additive_cosine, no_margin, turned
from training.objectives.quality_margins import AdaFaceMargin, MagFaceMargin
from training.ranks.world import gather_rows
from training.settings.config import Head

RULES: dict[str, Callable[[Head], MarginRule]] = {
    "normface": partial(FixedMargin, no_margin),
    "am-softmax": partial(FixedMargin, additive_cosine),
    "cosface": partial(FixedMargin, additive_cosine),
    "arcface": partial(FixedMargin, additive_angle),
    "combined": CombinedMargin,
    "curricularface": CurricularMargin,
    "elastic-arcface": partial(ElasticMargin, turned),
    "elastic-cosface": partial(ElasticMargin, minus),
    "adaface": AdaFaceMargin,
    "magface": MagFaceMargin,
}
"""The rules by the names of their heads."""


class MarginHead(CosineHead):
    """Scaled cosines with the margin of a rule.

    Args:
        identities: number of classes C.
        embedding_size: length D of an embedding.
        settings: the name of the rule, and what it reads.
        seed: of what the rule draws.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head, seed: int = 0) -> None:
        super().__init__(identities, embedding_size, settings)
        self.rule, self.seed = RULES[settings.name](settings), seed

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the logits of step 0."""
        return self.logits_of_step(embeddings, labels, 0, None)

    def logits_of_step(self, embeddings: Tensor, labels: Tensor, step: int, places: Tensor | None) -> Tensor:
        """Return the scaled cosines with the margin; see `ClassificationHead.forward`."""
        cosines, columns = self.cosines(embeddings), labels[:, None]
        own = cosines.gather(1, columns)
        norms = lengths(embeddings) if self.rule.uses_norms else None
        samples = Samples(norms, own.detach(), drawn(self.rule, self.seed, step, places, embeddings))
        if self.rule.sees_all:
            samples = _prepared(self.rule, samples)
        others = self.rule.elsewhere(cosines, samples)
        return self.scale * others.scatter(1, columns, self.rule.at_label(own, samples))

    def penalty(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return what the rule adds to the loss, the mean over these samples."""
        return self.rule.penalty(lengths(embeddings)) if self.rule.uses_norms else super().penalty(embeddings, labels)


def lengths(embeddings: Tensor) -> Tensor:
    """Return the lengths of embeddings, in float32 at least: (N, D) -> (N, 1)."""
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    return torch.linalg.vector_norm(embeddings.to(wide), dim=1, keepdim=True)


def drawn(rule: MarginRule, seed: int, step: int, places: Tensor | None, embeddings: Tensor) -> Tensor | None:
    """Return what a rule draws for samples, on their device; without places they are those of the gathered batch."""
    if places is None:
        places = torch.arange(len(embeddings)) + _rank() * len(embeddings)
    numbers = rule.draw(seed, step, places)
    return None if numbers is None else numbers.to(embeddings)


def _prepared(rule: MarginRule, samples: Samples) -> Samples:
    """Show a rule the samples of all ranks; return this rank's, with what was drawn for them."""
    norms = None if samples.norms is None else gather_rows(samples.norms.detach())
    numbers = None if samples.drawn is None else gather_rows(samples.drawn)
    everyone = rule.prepare(Samples(norms, gather_rows(samples.targets), numbers))
    if everyone.drawn is None:
        return samples
    return replace(samples, drawn=everyone.drawn[_rank() * len(samples.targets) :][: len(samples.targets)])


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0
