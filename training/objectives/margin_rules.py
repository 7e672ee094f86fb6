"""Rules by which the cosines of samples with classes become logits, the same for a class matrix in one piece or shards.

A rule holds what is not of one class: settings, and statistics of the global batch, which are saved with the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipeline.sampling.random_streams import Stream, generator
from training.objectives.margins import additive_angle, combined, turned
from training.settings.config import Head


@dataclass(frozen=True)
class Samples:
    """What a rule may know of samples.

    Attributes:
        norms: (N, 1) lengths of the embeddings, with gradient; None for a rule that does not use them.
        targets: (N, 1) cosines with the own class, without gradient.
        drawn: (N, 1) what the rule drew for each; None for a rule that draws nothing.
    """

    norms: Tensor | None
    targets: Tensor
    drawn: Tensor | None


class MarginRule(nn.Module):
    """Cosines as they are; what rules share.

    Attributes:
        uses_norms: whether it looks at the lengths of the embeddings.
        sees_all: whether it looks at the samples of all ranks, or at the own class's cosine beside those of others.
    """

    uses_norms = False
    sees_all = False

    def __init__(self, settings: Head) -> None:
        super().__init__()
        self.margin = settings.margin

    def draw(self, seed: int, step: int, places: Tensor) -> Tensor | None:
        """Return what is drawn for samples, a function of all three: (N,) int64 on the CPU -> (N, 1), or None."""
        del seed, step, places
        return None

    def prepare(self, everyone: Samples) -> Samples:
        """Take the samples of all ranks into the statistics; return them with what was drawn given out anew."""
        return everyone

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return the cosines with the own class, made harder: (N, 1) -> (N, 1)."""
        raise NotImplementedError

    def elsewhere(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return the cosines with other classes: (N, K) -> (N, K); those with the own class are written over."""
        del samples
        return cosines

    def penalty(self, norms: Tensor) -> Tensor:
        """Return a scalar to be added to the loss, the mean over samples: (N, 1) lengths of embeddings -> ()."""
        return norms.new_zeros(())


class FixedMargin(MarginRule):
    """A margin that is the same for all samples, by a function of cosines and margin."""

    def __init__(self, harder: Callable[[Tensor, float], Tensor], settings: Head) -> None:
        super().__init__(settings)
        self.harder = harder

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return the function's value."""
        del samples
        return self.harder(cosines, self.margin)


class CombinedMargin(MarginRule):
    """cos(m1 angle + m2) - m3 at the label, and inter-class filtering (Deng et al., 2019, eq. 4; arcface_torch).

    There is no line past the angle pi - m2, as there is none in arcface_torch. That code has either m1 = 1 and m3 = 0,
    or m3 alone. Filtering gives a cosine with another class above the threshold the value 0 and no gradient, as that
    code does: such classes are often the same person under another name.

    `settings.straight_gradient` takes the gradient of the angle part as 1, as arcface_torch does since it computes the
    angle outside the graph: a sample far from its class pulls no harder than a near one.
    """

    def __init__(self, settings: Head) -> None:
        super().__init__(settings)
        self.margins = (settings.m1, settings.m2, settings.m3)
        self.threshold, self.straight = settings.filter_above, settings.straight_gradient

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return cos(m1 angle + m2) - m3."""
        del samples
        if not self.straight:
            return combined(cosines, *self.margins)
        with torch.no_grad():
            added = combined(cosines, *self.margins) - cosines
        return cosines + added

    def elsewhere(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return the cosines, 0 for those above the threshold."""
        del samples
        return cosines.masked_fill(cosines.detach() > self.threshold, 0) if self.threshold else cosines


class CurricularMargin(MarginRule):
    """ArcFace's margin at the label, and negatives weighed by the state of the training (Huang et al., 2020).

    A negative whose cosine is above cos(angle + m) of the own class is hard: its cosine c becomes c (t + c). t begins
    at 0 and follows the mean of the cosines with the own class, t <- 0.01 mean + 0.99 t, over the samples of all ranks,
    before the logits of the same pass are made. It is a buffer, saved with the weights; in evaluation mode it stays.
    """

    sees_all = True
    RATE = 0.01

    def __init__(self, settings: Head) -> None:
        super().__init__(settings)
        self.t: Tensor
        self.register_buffer("t", torch.zeros(()))

    @torch.no_grad()
    def prepare(self, everyone: Samples) -> Samples:
        """Move t towards the mean."""
        if self.training and len(everyone.targets):
            self.t.copy_(everyone.targets.mean() * self.RATE + (1 - self.RATE) * self.t)
        return everyone

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return ArcFace's cosine."""
        del samples
        return additive_angle(cosines, self.margin)

    def elsewhere(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return c (t + c) where a negative is hard, c elsewhere."""
        hard = cosines.detach() > turned(samples.targets, self.margin)
        # A copy: a second pass before the backward pass would change what the first one remembers.
        t = self.t.to(cosines.dtype, copy=True)
        return torch.where(hard, cosines * (t + cosines), cosines)


class ElasticMargin(MarginRule):
    """A margin drawn for each sample from a normal distribution (Boutros et al., 2022, "ElasticFace", eq. 5 and 6).

    The draws are a function of seed, step and the sample's place in the global batch: they resume, and are the same for
    every number of ranks. With `settings.elastic_sorted` the drawn margins of the global batch are given out by the
    cosine with the own class, the smallest margin to the greatest cosine (ElasticFace+). Code that circulates for it
    takes the k-th smallest margin for sample number i, where sample k has the i-th greatest cosine.
    """

    def __init__(self, harder: Callable[[Tensor, Tensor], Tensor], settings: Head) -> None:
        super().__init__(settings)
        self.harder, self.deviation = harder, settings.margin_deviation
        self.sees_all = settings.elastic_sorted

    def draw(self, seed: int, step: int, places: Tensor) -> Tensor:
        """Return the margins: (N, 1) float64 on the CPU."""
        count = int(places.max()) + 1 if len(places) else 0
        numbers = generator(seed, Stream.MARGIN, step).standard_normal(count)
        return self.margin + self.deviation * torch.from_numpy(numbers)[places][:, None]

    def prepare(self, everyone: Samples) -> Samples:
        """Give the margins out by the cosines."""
        assert everyone.drawn is not None
        order = everyone.targets.argsort(dim=0, descending=True, stable=True)
        given = torch.empty_like(everyone.drawn).scatter_(0, order, everyone.drawn.sort(dim=0).values)
        return replace(everyone, drawn=given)

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return cos(angle + m) or cos - m, with the sample's m."""
        assert samples.drawn is not None
        return self.harder(cosines, samples.drawn)


def minus(cosines: Tensor, margins: Tensor) -> Tensor:
    """Return cos - m of each sample's margin."""
    return cosines - margins
