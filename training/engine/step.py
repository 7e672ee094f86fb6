"""One step of training: views to losses and gradients, over the global batch."""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pipeline.loading.batch import Batch
from pipeline.sampling.random_streams import Stream, generator
from pipeline.sampling.sampler import photo_groups
from shards.command import UserError
from training.engine.compiling import compiled
from training.engine.step_losses import LossInputs, StepLosses, losses_of
from training.networks.backbones import build_backbone, draws_taken, leave_out, takes_points
from training.networks.global_batch_norm import over_global_batch
from training.objectives.head_loss import Head, HeadLoss
from training.objectives.heads import build_head
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import ALONE, World
from training.settings.config import Config


class Learner(nn.Module):
    """Backbone and head: what a run trains and its checkpoints hold."""

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head


def build_learner(config: Config, identities: int, world: World = ALONE, backbone: nn.Module | None = None) -> Learner:
    """Build backbone and head with the weights that the seed gives, the same on every rank.

    A sharded head holds this rank's rows of the matrix that the head in one piece would begin with. A backbone that is
    given is taken as it is; one that comes from an ONNX file cannot be built by its name.

    Raises:
        UserError: the network cannot be built, or cannot leave out in training what the settings say.
    """
    size, settings = config.model.embedding_size, config.head
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if backbone is None:
            backbone = build_backbone(config.model.backbone, config.size, size)
        leave_out(backbone, config.model)
        if not settings.sharded:
            return Learner(backbone, build_head(settings, identities, size, config.seed))
        head = ShardedHead(settings, identities, size, world, seed=config.seed, sampling=settings.sampling)
        return Learner(backbone, head)


Seen = tuple[Tensor, Tensor | None, Tensor | None]
"""Pictures (N, 3, S, S), the five points of each face (N, 5, 2) in units of the side, and numbers (N, M) in 0..1 by
which the backbone leaves out parts of each picture; None where not asked for."""


@dataclass(frozen=True)
class Trained:
    """A learner as a step calls it.

    Attributes:
        backbone: pictures (N, 3, S, S), and points and draws where it takes them, to embeddings (N, D); averages its
            gradients over ranks.
        head: a `HeadLoss`, or one that averages its gradients over ranks.
        teacher: frozen, pictures (N, 3, S, S) to embeddings (N, D); None without one.
    """

    backbone: nn.Module
    head: nn.Module
    teacher: nn.Module | None = None


def for_training(
    learner: Learner, config: Config, world: World, step: int = 0, teacher: nn.Module | None = None
) -> Trained:
    """Make a learner ready for the steps from one on by all ranks; its parameters stay the same tensors.

    Shards of a class matrix are each rank's own, so that a sharded head is not averaged. To be called anew at step
    `config.optimizer.frozen_steps`, up to which the backbone stays as it is, its batch norm too.

    Args:
        learner: backbone and head.
        config: of the run.
        world: this process among all.
        step: number of steps done.
        teacher: frozen, in evaluation mode and on the device; None without one.

    Raises:
        UserError: a batch in parts for a backbone with batch norm, whose statistics would be those of the parts.
    """
    frozen = step < config.optimizer.frozen_steps
    learner.backbone.train(not frozen).requires_grad_(not frozen)
    thaws = config.optimizer.frozen_steps < config.steps
    norms = [one for one in learner.backbone.modules() if isinstance(one, _BatchNorm)]
    if config.optimizer.frozen_statistics:
        for norm in norms:
            norm.eval()
    elif config.accumulate > 1 and thaws and norms:
        raise UserError(
            f"accumulate {config.accumulate} for {config.model.backbone}, whose batch norm must see the whole batch; "
            "use --accumulate 1 with more processes, or a backbone without batch norm such as spherenet20"
        )
    head = HeadLoss(learner.head, config.losses)
    if world.size > 1 and not config.optimizer.frozen_statistics:
        learner.backbone = over_global_batch(learner.backbone, world.device)
    backbone = compiled(learner.backbone, world.device) if config.compile else learner.backbone
    if world.size == 1:
        return Trained(backbone, head, teacher)
    return Trained(
        _data_parallel(backbone, world),
        head if isinstance(learner.head, ShardedHead) else _data_parallel(head, world),
        teacher,
    )


def _data_parallel(network: nn.Module, world: World) -> nn.Module:
    """Average the gradients of a network over ranks, where it has any."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return network
    gpu_ids = [world.device.index] if world.device.type == "cuda" else None
    # Else the gradients are packed anew after a process's first step, and more than two ranks add them up in another
    # order: a resumed run would differ in its last digits. The warning is of what this costs, a look through the graph.
    warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
    return DistributedDataParallel(network, device_ids=gpu_ids, find_unused_parameters=world.size > 2)


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
    seen = batch.network_input(), batch.network_points(), _draws(trained.backbone, batch, config, world)
    inputs = LossInputs.of(batch, config, world, _targets(trained, seen, batch.photos, config, world))
    if config.accumulate == 1:
        losses = losses_of(embed(trained, seen, config, world, batch.step), inputs, trained.head, config)
        losses.total.backward()
        return losses
    parts = _in_parts(seen, config.accumulate)
    with torch.no_grad():
        found = [embed(trained, part, config, world, batch.step, i) for i, part in enumerate(parts)]
    embeddings = torch.cat(found).requires_grad_()
    losses = losses_of(embeddings, inputs, trained.head, config)
    losses.total.backward()
    if not any(parameter.requires_grad for parameter in trained.backbone.parameters()):
        return losses
    assert embeddings.grad is not None
    gradients = embeddings.grad.split([len(pictures) for pictures, *_ in parts])
    for i, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
        # Gradients add up on each rank; only with the last part are they averaged over ranks.
        adds_up = isinstance(trained.backbone, DistributedDataParallel) and i < len(parts) - 1
        with trained.backbone.no_sync() if adds_up else nullcontext():  # type: ignore[operator]
            embed(trained, part, config, world, batch.step, i).backward(gradient)
    return losses


def embed(trained: Trained, seen: Seen, config: Config, world: World, step: int, part: int = 0) -> Tensor:
    """Return the embeddings of what is seen: (N, 3, S, S), and perhaps (N, 5, 2) and (N, M) -> (N, D).

    What a backbone draws by itself, such as its dropout, is a function of (seed, step, rank, part): a resumed run draws
    the same, and a part that is embedded twice is dropped the same.
    """
    torch.manual_seed(int(np.random.SeedSequence((config.seed, step, world.rank, part)).generate_state(1)[0]))
    with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        embeddings: Tensor = trained.backbone(*_taken(trained.backbone, seen))
    return embeddings


def _draws(backbone: nn.Module, batch: Batch, config: Config, world: World) -> Tensor | None:
    """Return the numbers by which a backbone leaves out parts of each picture: (V b, M), or None.

    They depend on seed, step, view and place in the global batch, so that any number of processes has the same.
    """
    if (count := draws_taken(backbone)) == 0:
        return None
    share, views = batch.photos.shape
    random = generator(config.seed, Stream.DROPPING, batch.step)
    drawn = random.random((world.size * share, views, count), dtype=np.float32)
    mine = torch.from_numpy(drawn[world.rank * share : (world.rank + 1) * share])
    # (b, V, M) -> (V, b, M) -> (V b, M)
    return mine.transpose(0, 1).flatten(0, 1).to(world.device)


def _in_parts(seen: Seen, number: int) -> list[Seen]:
    pictures, points, draws = (None if one is None else one.chunk(number) for one in seen)
    assert pictures is not None
    absent = [None] * len(pictures)
    return list(zip(pictures, points or absent, draws or absent, strict=True))


def _taken(network: nn.Module, seen: Seen) -> tuple[Tensor, ...]:
    """Return what a network takes of what is seen."""
    pictures, points, draws = seen
    taken = [pictures]
    if takes_points(network):
        assert points is not None
        taken.append(points)
    if draws_taken(network):
        assert draws is not None
        taken.append(draws)
    return tuple(taken)


def _targets(trained: Trained, seen: Seen, photos: Tensor, config: Config, world: World) -> Tensor | None:
    """Return the teacher's embedding of each view's photo in full, (V b, D); None without a teacher.

    The first view of the views that show one photo is in full; its embedding is the target of them all. The target of a
    small picture that stands in for a view is the mean direction of all photos of the person in the batch.
    """
    if trained.teacher is None:
        return None
    # (V b, 3, S, S) -> V times (b, 3, S, S)
    taken = [one.chunk(len(config.views.sizes)) for one in _taken(trained.teacher, seen)]
    groups = photo_groups(config.views, config.sampling)
    autocast = torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    with torch.no_grad(), autocast:
        by_group = [trained.teacher(*(views[group[0]] for views in taken)) for group in groups]
    group_of = {view: number for number, group in enumerate(groups) for view in group}
    # V times (b, D) -> (V, b, D)
    targets = torch.stack([by_group[group_of[view]] for view in range(len(group_of))])
    # (b, V) -> (V, b)
    first = [groups[group_of[view]][0] for view in range(len(group_of))]
    # The numbers of photos are on the CPU: without small pictures a GPU has nothing to wait for.
    stands_in = (photos != photos[:, first]).T
    if stands_in.any():
        of_person = torch.stack([F.normalize(one) for one in by_group]).mean(dim=0)
        targets = torch.where(stands_in[:, :, None].to(targets.device), of_person, targets)
    # (V, b, D) -> (V b, D)
    return targets.flatten(0, 1)
