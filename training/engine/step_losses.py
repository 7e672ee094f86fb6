"""The losses of a step, over the global batch, from its embeddings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.loading.batch import Batch
from training.objectives.losses import Triplets, cross_resolution_triplet
from training.objectives.octuplet import Embedded, octuplet_loss
from training.objectives.teacher_losses import Student, distillation_loss, teacher_triplet_loss
from training.ranks.world import World, gather_rows
from training.settings.config import Config


@dataclass(frozen=True)
class StepLosses:
    """The losses of a step; every value still a tensor, so that no device is waited for.

    Attributes:
        total: scalar with gradient.
        classification: (V,) mean over each view's samples of this rank.
        triplet: scalar, mean over this rank's anchors.
        positive: scalar, mean hardest positive distance of the anchors that have a positive.
        negative: scalar, mean hardest negative distance of the anchors that have a negative.
        penalty: scalar, what the head adds, 0 for most.
        teacher: (2,) distillation and triplets among the teacher's embeddings; (0,) without a teacher.
    """

    total: Tensor
    classification: Tensor
    triplet: Tensor
    positive: Tensor
    negative: Tensor
    penalty: Tensor
    teacher: Tensor

    def values(self) -> Tensor:
        """Return (5 + V + T,) detached: total, triplet, positive, negative, penalty, the views, the teacher's."""
        scalars = torch.stack([self.total, self.triplet, self.positive, self.negative, self.penalty])
        return torch.cat([scalars, self.classification, self.teacher]).detach()


def loss_names(config: Config) -> list[str]:
    """Return the names of `StepLosses.values`, one for each view among them."""
    views = [f"classification/{size}px" for size in config.views.sizes]
    if len(set(views)) < len(views):
        views = [f"{name}/view{number}" for number, name in enumerate(views)]
    teacher = ["distillation", "teacher_triplet"] if config.distillation.is_on else []
    return ["loss", "triplet", "hardest_positive", "hardest_negative", "penalty", *views, *teacher]


@dataclass(frozen=True)
class LossInputs:
    """What the losses need beside the embeddings, for this rank's V b views.

    Attributes:
        labels: (V b,) int64.
        photos: (V b,) int64, the photo that each view shows.
        reduced: (V b,) bool, whether the view is reduced.
        rows: (V b,) int64, places in the gathered batch, rank after rank.
        places: (V b,) int64 on the CPU, places in the global batch by view, the same for every number of ranks.
        step: number of the step.
        targets: (V b, D), the teacher's embeddings of the views' photos in full; None without a teacher.
    """

    labels: Tensor
    photos: Tensor
    reduced: Tensor
    rows: Tensor
    places: Tensor
    step: int
    targets: Tensor | None

    @staticmethod
    def of(batch: Batch, config: Config, world: World, targets: Tensor | None) -> "LossInputs":
        """Return those of a batch."""
        labels = batch.view_labels().to(world.device)
        full = [largest >= config.size for _, largest in config.views.ranges]
        reduced = torch.tensor([not one for one in full], device=world.device).repeat_interleave(len(batch.labels))
        rows = torch.arange(len(labels), device=world.device) + world.rank * len(labels)
        share, views = len(batch.labels), torch.arange(len(config.views.sizes))
        # (V, 1) + (b,) -> (V, b) -> (V b,)
        places = (views[:, None] * world.size * share + torch.arange(share) + world.rank * share).flatten()
        # (b, V) -> (V b,)
        photos = batch.photos.T.reshape(-1).to(world.device)
        return LossInputs(labels, photos, reduced, rows, places, batch.step, targets)


def losses_of(embeddings: Tensor, inputs: LossInputs, head: nn.Module, config: Config) -> StepLosses:
    """Compute the losses of a step from its embeddings.

    Under the averaging of gradients over ranks the result is that of one process with the global batch:
    every rank's mean is over its own equal share of samples or anchors, while the candidates of the triplets
    are the embeddings of all ranks and carry their gradients home.

    Args:
        embeddings: (V b, D) of this rank.
        inputs: of this rank.
        head: a `HeadLoss`, perhaps data-parallel.
        config: of the run.
    """
    per_sample, penalty = head(embeddings, inputs.labels, inputs.step, inputs.places)
    # (V b,) -> (V, b) -> (V,)
    per_view = per_sample.view(len(config.views.sizes), -1).mean(dim=1)
    total = per_view.mean() + penalty
    zero = torch.zeros_like(total)
    triplet, positive, negative = zero, zero, zero
    if config.losses.triplet_weight:
        triplets = _triplets(embeddings, inputs, config)
        triplet, positive, negative = triplets.loss, _mean(triplets.positive), _mean(triplets.negative)
        total = total + config.losses.triplet_weight * triplet
    teacher = zero.new_zeros(0)
    if inputs.targets is not None:
        student = Student(embeddings, inputs.labels, inputs.reduced, inputs.targets)
        full = ~inputs.reduced
        among = gather_rows(inputs.targets[full].contiguous()), gather_rows(inputs.labels[full].contiguous())
        teacher = torch.stack(
            [
                distillation_loss(student, config.distillation),
                teacher_triplet_loss(student, *among, config.distillation),
            ]
        )
        total = total + teacher.sum()
    return StepLosses(total, per_view, triplet, positive, negative, penalty, teacher)


def _mean(distances: Tensor) -> Tensor:
    """Return the mean over the anchors that have such a pair, 0 where none has: (A,) -> scalar; NaN stays NaN."""
    there = ~torch.isinf(distances)
    return torch.where(there, distances, 0).sum() / there.sum().clamp(min=1)


def _triplets(embeddings: Tensor, inputs: LossInputs, config: Config) -> Triplets:
    """Return the triplet loss of this rank's anchors among the views of all ranks."""
    everybody, labels = gather_rows(embeddings), gather_rows(inputs.labels)
    margin = config.losses.triplet_margin
    if config.losses.triplets == "joint":
        return cross_resolution_triplet(embeddings, inputs.labels, inputs.rows, everybody, labels, margin)
    candidates = Embedded(everybody, labels, gather_rows(inputs.photos), gather_rows(inputs.reduced.long()).bool())
    return octuplet_loss(Embedded(embeddings, inputs.labels, inputs.photos, inputs.reduced), candidates, margin)
