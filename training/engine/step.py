"""One step of training: views to losses and gradients, over the global batch."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pipeline.loading.batch import Batch
from shards.command import UserError
from training.engine.compiling import compiled
from training.networks.backbones import build_backbone
from training.networks.global_batch_norm import over_global_batch
from training.objectives.head_loss import Head, HeadLoss
from training.objectives.heads import build_head
from training.objectives.losses import cross_resolution_triplet
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import ALONE, World, gather_rows
from training.settings.config import Config


class Learner(nn.Module):
    """Backbone and head: what a run trains and its checkpoints hold."""

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head


def build_learner(config: Config, identities: int, world: World = ALONE) -> Learner:
    """Build backbone and head with the weights that the seed gives, the same on every rank.

    A sharded head holds this rank's rows of the matrix that the head in one piece would begin with.
    """
    size, settings = config.model.embedding_size, config.head
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = build_backbone(config.model.backbone, config.size, size)
        if not settings.sharded:
            return Learner(backbone, build_head(settings, identities, size))
        head = ShardedHead(settings, identities, size, world, seed=config.seed, sampling=settings.sampling)
        return Learner(backbone, head)


@dataclass(frozen=True)
class Trained:
    """A learner as a step calls it.

    Attributes:
        backbone: pictures (N, 3, S, S) to embeddings (N, D); averages its gradients over ranks.
        head: a `HeadLoss`, or one that averages its gradients over ranks.
    """

    backbone: nn.Module
    head: nn.Module


def for_training(learner: Learner, config: Config, world: World, step: int = 0) -> Trained:
    """Make a learner ready for the steps from one on by all ranks; its parameters stay the same tensors.

    Shards of a class matrix are each rank's own, so that a sharded head is not averaged. To be called anew at step
    `config.optimizer.frozen_steps`, up to which the backbone stays as it is, its batch norm too.

    Raises:
        UserError: a batch in parts for a backbone with batch norm, whose statistics would be those of the parts.
    """
    frozen = step < config.optimizer.frozen_steps
    learner.backbone.train(not frozen).requires_grad_(not frozen)
    thaws = config.optimizer.frozen_steps < config.steps
    if config.accumulate > 1 and thaws and any(isinstance(one, _BatchNorm) for one in learner.backbone.modules()):
        raise UserError(
            f"accumulate {config.accumulate} for {config.model.backbone}, whose batch norm must see the whole batch; "
            "use --accumulate 1 with more processes, or a backbone without batch norm such as spherenet20"
        )
    head = HeadLoss(learner.head, config.losses)
    if world.size > 1:
        learner.backbone = over_global_batch(learner.backbone, world.device)
    backbone = compiled(learner.backbone, world.device) if config.compile else learner.backbone
    if world.size == 1:
        return Trained(backbone, head)
    return Trained(
        _data_parallel(backbone, world),
        head if isinstance(learner.head, ShardedHead) else _data_parallel(head, world),
    )


def _data_parallel(network: nn.Module, world: World) -> nn.Module:
    """Average the gradients of a network over ranks, where it has any."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return network
    gpu_ids = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=gpu_ids)


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


def losses_and_gradients(trained: Trained, batch: Batch, config: Config, world: World) -> StepLosses:
    """Compute the losses of a step and leave their gradients in the parameters.

    With `config.accumulate` above 1 the pictures go through the backbone in that many parts, for batches whose
    activations do not fit the memory, and the result is still that of the undivided batch to rounding, triplets
    included (Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"):

    1. every part is embedded without a graph;
    2. the losses over all embeddings give the gradient of each embedding, and those of the head;
    3. every part is embedded again, and its embeddings' gradients flow back.

    It costs one more forward pass. Logits are not divided: they are (V b, C) on each rank.

    Args:
        trained: from `for_training`.
        batch: this rank's share.
        config: of the run.
        world: this process among all.
    """
    pictures, labels = batch.network_input(), batch.view_labels().to(world.device)
    if config.accumulate == 1:
        losses = losses_of(embed(trained, pictures, config, world, batch.step), labels, batch, trained, config, world)
        losses.total.backward()
        return losses
    parts = pictures.chunk(config.accumulate)
    with torch.no_grad():
        found = [embed(trained, part, config, world, batch.step, i) for i, part in enumerate(parts)]
    embeddings = torch.cat(found).requires_grad_()
    losses = losses_of(embeddings, labels, batch, trained, config, world)
    losses.total.backward()
    if not any(parameter.requires_grad for parameter in trained.backbone.parameters()):
        return losses
    assert embeddings.grad is not None
    gradients = embeddings.grad.split([len(part) for part in parts])
    for i, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
        # Gradients add up on each rank; only with the last part are they averaged over ranks.
        adds_up = isinstance(trained.backbone, DistributedDataParallel) and i < len(parts) - 1
        with trained.backbone.no_sync() if adds_up else nullcontext():  # type: ignore[operator]
            embed(trained, part, config, world, batch.step, i).backward(gradient)
    return losses


def embed(trained: Trained, pictures: Tensor, config: Config, world: World, step: int, part: int = 0) -> Tensor:
    """Return the embeddings of pictures: (N, 3, S, S) -> (N, D).

    What a backbone draws, such as its dropout, is a function of (seed, step, rank, part): a resumed run draws the
    same, and a part that is embedded twice is dropped the same.
    """
    torch.manual_seed(int(np.random.SeedSequence((config.seed, step, world.rank, part)).generate_state(1)[0]))
    with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        embeddings: Tensor = trained.backbone(pictures)
    return embeddings


def losses_of(
    embeddings: Tensor, labels: Tensor, batch: Batch, trained: Trained, config: Config, world: World
) -> StepLosses:
    """Compute the losses of a step from its embeddings.

    Under the averaging of gradients over ranks the result is that of one process with the global batch:
    every rank's mean is over its own equal share of samples or anchors, while the candidates of the triplets
    are the embeddings of all ranks and carry their gradients home.

    Args:
        embeddings: (V b, D) of this rank.
        labels: (V b,) int64.
        batch: this rank's share.
        trained: from `for_training`.
        config: of the run.
        world: this process among all.
    """
    per_sample, penalty = trained.head(embeddings, labels, batch.step)
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
