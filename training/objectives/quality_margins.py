"""Margins that depend on the length of an embedding, which stands for the quality of the picture."""

import math

import torch
from torch import Tensor

from training.objectives.margin_rules import MarginRule, Samples
from training.objectives.margins import turned
from training.settings.config import Head


class AdaFaceMargin(MarginRule):
    """A margin of angle and cosine that follows the quality of each picture (Kim et al., 2022, "AdaFace").

    The lengths of the embeddings, within [0.001, 100] and without gradient, are compared with their mean and standard
    deviation (of N - 1) in the global batch, both as moving averages that begin at 20 and 100 as in the authors' code:

        g = clip(h (length - mean) / (deviation + 0.001), -1, 1)
        logit of the own class / s = cos(angle - m g) - (m + m g), the turned angle within [0.001, pi - 0.001]

    All cosines are kept 0.001 away from -1 and 1, beyond which they have no gradient. A batch is taken into the
    averages before its own logits are made. The averages are buffers, saved with the weights; in evaluation mode, and
    for a batch of fewer than two samples, they stay.
    """

    uses_norms = True
    sees_all = True
    EPS = 1e-3
    SHORTEST, LONGEST = 0.001, 100.0

    def __init__(self, settings: Head) -> None:
        super().__init__(settings)
        self.concentration, self.rate = settings.concentration, settings.norm_rate
        self.norm_mean: Tensor
        self.norm_deviation: Tensor
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_deviation", torch.tensor(100.0))

    @torch.no_grad()
    def prepare(self, everyone: Samples) -> Samples:
        """Take the lengths of a batch into the averages."""
        norms = self._safe(everyone)
        if self.training and len(norms) > 1:
            self.norm_mean.copy_(norms.mean() * self.rate + (1 - self.rate) * self.norm_mean)
            self.norm_deviation.copy_(norms.std() * self.rate + (1 - self.rate) * self.norm_deviation)
        return everyone

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return cos(angle - m g) - (m + m g)."""
        norms = self._safe(samples)
        mean, deviation = self.norm_mean.to(norms.dtype), self.norm_deviation.to(norms.dtype)
        quality = ((norms - mean) / (deviation + self.EPS) * self.concentration).clamp(-1, 1)
        angles = self._within(cosines).acos() - self.margin * quality
        return angles.clamp(self.EPS, math.pi - self.EPS).cos() - (self.margin + self.margin * quality)

    def elsewhere(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return the cosines, kept within their bounds."""
        del samples
        return self._within(cosines)

    def _within(self, cosines: Tensor) -> Tensor:
        return cosines.clamp(-1 + self.EPS, 1 - self.EPS)

    def _safe(self, samples: Samples) -> Tensor:
        assert samples.norms is not None
        return samples.norms.detach().clamp(self.SHORTEST, self.LONGEST)


class MagFaceMargin(MarginRule):
    """An angular margin that grows with the length of the embedding, and a pull to long ones (Meng et al., 2021).

    A length a, kept within [l_a, u_a], has the margin m(a) = (u_m - l_m) / (u_a - l_a) (a - l_a) + l_m and the
    regulariser g(a) = a / u_a**2 + 1 / a, whose mean times lambda_g is added to the loss. Both have a gradient in a. As
    in the authors' code the margin is for cosines above 0 alone; others stay as they are.
    """

    uses_norms = True

    def __init__(self, settings: Head) -> None:
        super().__init__(settings)
        self.norms, self.margins, self.weight_of_norms = (
            settings.norm_range,
            settings.margin_range,
            settings.norm_weight,
        )

    def at_label(self, cosines: Tensor, samples: Samples) -> Tensor:
        """Return cos(angle + m(a))."""
        assert samples.norms is not None
        (shortest, longest), (least, most) = self.norms, self.margins
        margins = (most - least) / (longest - shortest) * (samples.norms.clamp(*self.norms) - shortest) + least
        return torch.where(cosines > 0, turned(cosines, margins), cosines)

    def penalty(self, norms: Tensor) -> Tensor:
        """Return lambda_g times the mean of g, 0 for no samples."""
        lengths = norms.clamp(*self.norms)
        return self.weight_of_norms * (lengths / self.norms[1] ** 2 + 1 / lengths).sum() / max(len(lengths), 1)
