"""Heads that hold nothing but a class matrix: embeddings and labels to logits. Each is used in training only.

Except in the plain softmax the class matrix has no bias, and starts uniform in [-1, 1], as in the published method,
unless the settings say otherwise. Losses and gradients of NormFace, AM-softmax, ArcFace and SphereFace are those of
pytorch-metric-learning 2.9, whose definitions are the published ones too; it has none of the others.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.command import UserError
from training.objectives.class_shards import initial_rows
from training.objectives.margins import additive_cosine, multiplied_angle
from training.settings.config import Head


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision values in float32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class ClassificationHead(nn.Module, ABC):
    """What the training step knows of a head.

    The logits are computed in float32 at least, under automatic mixed precision too: eight bits of a bfloat16
    logit near the scale 30 leave steps of 1/8. A head with a state (SphereFace with annealing, AdaCos, center loss)
    changes it at every pass in training mode, so that a batch in two passes is not the same as in one.
    """

    def forward(self, embeddings: Tensor, labels: Tensor, step: int = 0, places: Tensor | None = None) -> Tensor:
        """Return the logits: (N, D), (N,) int64 -> (N, C).

        Args:
            embeddings: (N, D) of this rank.
            labels: (N,) int64.
            step: number of the step, for heads that draw.
            places: (N,) int64 on the CPU, the places of the samples in the global batch, which are the same for every
                number of ranks; for heads that draw. None for the order of the gathered batch.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.logits_of_step(at_least_float32(embeddings), labels, step, places)

    @abstractmethod
    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the logits: (N, D) float32 or float64, (N,) int64 -> (N, C)."""

    def logits_of_step(self, embeddings: Tensor, labels: Tensor, step: int, places: Tensor | None) -> Tensor:
        """Return the logits of a step, which is another than the next one only for heads that draw."""
        del step, places
        return self.logits(embeddings, labels)

    def penalty(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return a scalar to be added to the loss: the mean over these samples, 0 unless a head has one."""
        del labels
        return embeddings.new_zeros((), dtype=torch.promote_types(embeddings.dtype, torch.float32))


class NoHead(ClassificationHead):
    """No classes and no parameters, for a run without classification; `HeadLoss` gives 0 for every sample."""

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__()
        del identities, embedding_size, settings

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return (N, 0)."""
        del labels
        return embeddings.new_zeros((len(embeddings), 0))


class PlainSoftmax(ClassificationHead):
    """Logits W x + b without normalisation, scale or margin (Wen et al., 2016, eq. 1).

    Weight and bias start as those of PyTorch's linear layer: here the length of a class's row counts, and
    entries of [-1, 1] would give logits of tens before the first step.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__()
        del settings
        linear = nn.Linear(embedding_size, identities)
        self.weight, self.bias = linear.weight, linear.bias

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return W x + b."""
        del labels
        return F.linear(embeddings, self.weight.to(embeddings.dtype), self.bias.to(embeddings.dtype))


class CosineHead(ClassificationHead):
    """A class matrix whose logits are made of cosines; what the margin heads share.

    Args:
        identities: number of classes C.
        embedding_size: length D of an embedding.
        settings: scale s and margin m, in the unit of the head.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_rows(range(identities), embedding_size, settings.initial))
        self.scale, self.margin = settings.scale, settings.margin

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Return the cosine of every embedding with every class: (N, D) -> (N, C)."""
        return F.linear(F.normalize(embeddings), F.normalize(self.weight.to(embeddings.dtype)))


class SVSoftmax(CosineHead):
    """Additive margin with an emphasis on support vectors (Wang et al., 2018, "Support Vector Guided Softmax").

    A class k other than the label is a support vector of a sample where cos(k) > cos(label) - m. Its term of the
    softmax is multiplied by h = exp(s (t - 1) (cos(k) + 1)), which makes its logit s (t cos(k) + t - 1). With the
    margin 0 this is the paper's SV-Softmax, with another its SV-AM-Softmax; t = 1 gives AM-softmax.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__(identities, embedding_size, settings)
        self.emphasis = settings.emphasis

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return s (cos - m) at the label, s (t cos + t - 1) at support vectors, s cos elsewhere."""
        cosines = self.cosines(embeddings)
        at_label = additive_cosine(cosines.gather(1, labels[:, None]), self.margin)
        raised = self.emphasis * cosines + self.emphasis - 1
        others = torch.where(cosines.detach() > at_label.detach(), raised, cosines)
        return self.scale * others.scatter(1, labels[:, None], at_label)


class SphereFace(CosineHead):
    """A-softmax: |x| psi(angle) at the label, |x| cos elsewhere (Liu et al., 2017, eq. 6 and 7).

    The scale is the embedding's own length; `settings.scale` is ignored, and `settings.margin` is the whole
    number m (the paper's is 4). With `settings.annealing` the logit at the label is that of the authors'
    training, |x| (lambda cos + psi) / (1 + lambda), with lambda = max(5, 1000 / (1 + 0.12 i)) after i passes in
    training mode: with psi alone the first steps do not converge. i is saved with the weights.
    """

    BASE, DECAY, FLOOR = 1000.0, 0.12, 5.0

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__(identities, embedding_size, settings)
        self.multiplier = int(settings.margin)
        if self.multiplier != settings.margin or self.multiplier < 1:
            raise UserError(f"margin {settings.margin} for sphereface, which takes a whole number; give 4 as its paper")
        self.annealing = settings.annealing
        self.passes: Tensor
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return |x| cos, at the label |x| psi(angle) or its blend with |x| cos."""
        cosines = self.cosines(embeddings)
        at_label = cosines.gather(1, labels[:, None])
        harder = multiplied_angle(at_label, self.multiplier)
        if self.annealing:
            share = 1 / (1 + (self.BASE / (1 + self.DECAY * self.passes.to(cosines.dtype))).clamp_min(self.FLOOR))
            harder = at_label + share * (harder - at_label)
            if self.training:
                self.passes += 1
        lengths = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        return lengths * cosines.scatter(1, labels[:, None], harder)
