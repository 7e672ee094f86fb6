"""One step of training: views to losses, over the global batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.batch import Batch
from training.config import Config
from training.cosine_heads import ClassificationHead
from training.distributed import World, gather_rows
from training.heads import build_head
from training.losses import cross_entropy_per_sample, cross_resolution_triplet, focal_per_sample
from training.model import build_backbone


class Learner(nn.Module):
    """Backbone and head as one module, so that one backward pass reaches both."""

    def __init__(self, backbone: nn.Module, head: ClassificationHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, S, S), (N,) -> embeddings (N, D), logits (N, C) and the head's penalty, a scalar."""
        embeddings = self.backbone(pictures)
        return embeddings, self.head(embeddings, labels), self.head.penalty(embeddings, labels)


def build_learner(config: Config, identities: int) -> Learner:
    """Build backbone and head with the weights that the seed gives, the same on every rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = build_backbone(config.model.backbone, config.size, config.model.embedding_size)
        head = build_head(config.head, identities, config.model.embedding_size)
    return Learner(backbone, head)


@dataclass(frozen=True)
class StepLosses:
    """The losses of a step; every value still a tensor, so that no device is waited for.

    Attributes:
        total: scalar with gradient.
        classification: (V,) mean over each view's samples of this rank.
        triplet: scalar, mean over this rank's anchors.
        positive: scalar, mean hardest positive distance.
        negative: scalar, mean hardest negative distance.
        penalty: scalar, what the head adds, 0 for most.
    """

    total: Tensor
    classification: Tensor
    triplet: Tensor
    positive: Tensor
    negative: Tensor
    penalty: Tensor

    def values(self) -> Tensor:
        """Return (5 + V,) detached: total, triplet, positive, negative, penalty, then the views."""
        scalars = torch.stack([self.total, self.triplet, self.positive, self.negative, self.penalty])
        return torch.cat([scalars, self.classification]).detach()


def step_losses(learner: nn.Module, batch: Batch, config: Config, world: World) -> StepLosses:
    """Compute the losses of a step.

    Under the averaging of gradients over ranks the result is that of one process with the global batch:
    every rank's mean is over its own equal share of samples or anchors, while the candidates of the triplets
    are the embeddings of all ranks and carry their gradients home.

    Args:
        learner: a `Learner`, or one wrapped for data-parallel training.
        batch: this rank's share.
        config: of the run.
        world: this process among all.
    """
    labels = batch.view_labels().to(world.device)
    pictures = batch.network_input()
    with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        embeddings, logits, penalty = learner(pictures, labels)
    if config.losses.classification == "focal":
        per_sample = focal_per_sample(logits, labels, config.losses.focal_gamma)
    else:
        per_sample = cross_entropy_per_sample(logits, labels)
    # (V b,) -> (V, b) -> (V,)
    per_view = per_sample.view(len(batch.views), -1).mean(dim=1)
    total = per_view.mean() + penalty
    if not config.losses.triplet_weight:
        zero = torch.zeros_like(total)
        return StepLosses(total, per_view, zero, zero, zero, penalty)
    rows = torch.arange(len(labels), device=world.device) + world.rank * len(labels)
    triplets = cross_resolution_triplet(
        embeddings,
        labels,
        rows,
        gather_rows(embeddings),
        gather_rows(labels),
        config.losses.triplet_margin,
    )
    total = total + config.losses.triplet_weight * triplets.loss
    return StepLosses(total, per_view, triplets.loss, triplets.positive.mean(), triplets.negative.mean(), penalty)
