"""A margin head whose class matrix is divided among the ranks, for more classes than one device holds.

Each rank keeps the rows of its classes and computes the logits of all ranks' embeddings with them; of the softmax
only the greatest logit, the sum of exponentials and the logit of the label pass between ranks (An et al., 2021,
"Partial FC", section 3.1). Optionally a step sees only a sample of the negative classes (section 3.2).
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from shards.command import UserError
from training.objectives.class_shards import initial_rows, sampled_classes, shard_range
from training.objectives.cosine_heads import at_least_float32
from training.objectives.margin_head import RULES, drawn, lengths
from training.objectives.margin_rules import Samples
from training.ranks.world import World, gather_rows
from training.settings.config import Head


class ShardedHead(nn.Module):
    """One rank's share of a class matrix, and the loss over all shares.

    How to use it in a training step, on every rank of the world:

        head = ShardedHead(config.head, identities, embedding_size, world, seed=config.seed)
        embeddings = data_parallel_backbone(pictures)             # (N, D), of this rank, N the same on all
        entropy = head.entropy(embeddings, labels, step)          # (N,)
        (entropy.mean() + other_terms).backward()

    The head stays outside `DistributedDataParallel`: its rows are this rank's alone. Gradients follow the convention
    of `training.engine.step`, that the backbone's are averaged over ranks afterwards: the embeddings' gradient is
    that of the sum of all ranks' losses, and the rows' gradient is that of the mean of all ranks' losses, complete as
    it is.
    One optimiser may hold both. If gradients are clipped by their norm, the rows' share of it must be summed over
    ranks.

    Without sampling, losses and gradients equal those of the head of the same name in `training.objectives.heads`
    with the same rows; with sampling they do not depend on the number of ranks either. Rows that are not sampled have
    gradient 0,
    which leaves momentum and weight decay to act on them.

    To save: each rank its own rows (`TrainingState.divided`); to resume, on any number of ranks: `load_rows`.

    Args:
        settings: name (one of `RULES`), scale, margin and what else the head of that name reads.
        identities: number of classes C of all ranks, at least one for each.
        embedding_size: length D of an embedding.
        world: this process among all; rank and size choose the classes.
        seed: of the samples, and of what the rule draws. The initial rows come from torch's generator, as those of the
            head in one piece do.
        sampling: share of the negative classes that a step sees, above 0 and up to 1. Labels always take part.

    Raises:
        UserError: a head that cannot be divided, fewer classes than ranks, or an impossible share.
    """

    def __init__(
        self,
        settings: Head,
        identities: int,
        embedding_size: int,
        world: World,
        *,
        seed: int = 0,
        sampling: float = 1.0,
    ) -> None:
        super().__init__()
        if settings.name not in RULES:
            raise UserError(f"head {settings.name} cannot be sharded; choose one of {', '.join(RULES)}")
        if identities < world.size:
            raise UserError(f"{identities} classes for {world.size} processes; give each at least one")
        if not 0 < sampling <= 1:
            raise UserError(f"sampling {sampling} of the negative classes; give a share above 0 and up to 1")
        self.settings, self.identities, self.world = settings, identities, world
        self.seed, self.sampling = seed, sampling
        self.classes = shard_range(identities, world.rank, world.size)
        rows = initial_rows(self.classes, embedding_size, settings.initial)
        self.weight = nn.Parameter(rows.to(world.device))
        self.rule = RULES[settings.name](settings)

    def entropy(self, embeddings: Tensor, labels: Tensor, step: int, places: Tensor | None = None) -> Tensor:
        """Return the cross entropy of each of this rank's samples over the classes of all ranks: (N,), with gradient.

        Args:
            embeddings: (N, D) of this rank, of any length; computed with in float32 at least. N is the same on all
                ranks.
            labels: (N,) int64, 0..C - 1.
            step: number of the step, which with the seed gives the sampled classes.
            places: (N,) int64 on the CPU, of the samples in the global batch; see `ClassificationHead.forward`.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            wide = at_least_float32(embeddings)
            directions, norms = self._directions(wide)
            numbers = drawn(self.rule, self.seed, step, places, wide)
            rows, targets = self._rows_of_step(gather_rows(labels), step)
            logits = self._logits(directions, norms, rows, targets, None if numbers is None else gather_rows(numbers))
            entropy = _ShardedCrossEntropy.apply(logits, targets)
        own: Tensor = entropy[self.world.rank * len(labels) :][: len(labels)]
        return own

    def penalty(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return what the rule adds to the loss, the mean over this rank's samples."""
        del labels
        return self.rule.penalty(lengths(embeddings))

    def load_rows(self, rows: Tensor, state: dict[str, Tensor]) -> None:
        """Take this rank's rows, and the rule's state out of a head's state dict.

        Args:
            rows: (classes of this rank, D).
            state: state dict of the same head in one piece, with or without the class matrix.
        """
        if rows.shape != self.weight.shape:
            raise UserError(
                f"class rows of {tuple(rows.shape)} for {len(self.weight)} classes of {self.weight.shape[1]} numbers; "
                "name the checkpoint of the same run"
            )
        with torch.no_grad():
            self.weight.copy_(rows)
        self.rule.load_state_dict({name: state[f"rule.{name}"] for name in self.rule.state_dict()})

    def _rows_of_step(self, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return this rank's rows of the step, and each label's place among them, -1 where it is another rank's."""
        targets = labels - self.classes.start
        targets = torch.where((targets >= 0) & (targets < len(self.classes)), targets, -1)
        if self.sampling == 1:
            return self.weight, targets
        drawn = torch.from_numpy(sampled_classes(self.classes, self.sampling, self.seed, step)).to(labels.device)
        mine = targets >= 0
        chosen = torch.cat([drawn, targets[mine]]).unique()
        return self.weight.index_select(0, chosen), torch.where(mine, torch.searchsorted(chosen, targets), -1)

    def _directions(self, embeddings: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return all ranks' unit vectors (W N, D), and the embeddings' lengths (W N, 1) for a rule that asks."""
        if not self.rule.uses_norms:
            return gather_rows(F.normalize(embeddings)), None
        # In one exchange: ranks whose graphs differ would otherwise exchange gradients in different orders.
        both = gather_rows(torch.cat([F.normalize(embeddings), lengths(embeddings)], dim=1))
        return both[:, :-1], both[:, -1:]

    def _logits(
        self, directions: Tensor, norms: Tensor | None, rows: Tensor, targets: Tensor, numbers: Tensor | None
    ) -> Tensor:
        """Return the scaled cosines of all ranks' samples with the rows, with the margin: (W N, K)."""
        cosines: Tensor = _Cosines.apply(directions, rows.to(directions.dtype), self.world.size)
        # Where the label is another rank's, column 0 is written with what it holds: no GPU is asked which rows are.
        mine, columns = targets[:, None] >= 0, targets.clamp_min(0)[:, None]
        own = cosines.gather(1, columns) if len(rows) else cosines.new_zeros(len(targets), 1)
        of_owner = torch.where(mine, own.detach(), 0)
        samples = Samples(norms, of_owner, numbers)
        if self.rule.sees_all:
            _reduce(of_owner, dist.ReduceOp.SUM)
            samples = self.rule.prepare(samples)
        if not len(rows):
            return cosines
        others = self.rule.elsewhere(cosines, samples)
        at_label = torch.where(mine, self.rule.at_label(own, samples), others.gather(1, columns))
        return self.settings.scale * others.scatter(1, columns, at_label)


class _Cosines(torch.autograd.Function):
    """Unit vectors (N, D) times normalised rows (K, D), without a second matrix of the rows' size.

    Autograd through F.normalize would keep the normalised rows and make two more matrices on the way back. The
    gradient of the rows is divided by the number of ranks on its way, as an average over ranks would be.
    """

    @staticmethod
    def forward(ctx: Any, directions: Tensor, rows: Tensor, ranks: int) -> Tensor:
        """Return the cosines (N, K)."""
        lengths = torch.linalg.vector_norm(rows, dim=1).clamp_min(1e-12)
        cosines = (directions @ rows.T).div_(lengths)
        ctx.save_for_backward(directions, rows, lengths, cosines)
        ctx.ranks = ranks
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients (N, D) and (K, D)."""
        directions, rows, lengths, cosines = ctx.saved_tensors
        over_lengths = gradients[0] / lengths
        of_directions = over_lengths @ rows
        over_lengths /= ctx.ranks
        # The part of a row's gradient along the row is taken out.
        along = (over_lengths * cosines).sum(dim=0) / lengths
        of_rows = over_lengths.T @ directions
        of_rows.addcmul_(rows, along[:, None], value=-1)
        return of_directions, of_rows, None


class _ShardedCrossEntropy(torch.autograd.Function):
    """The cross entropy of logits whose columns lie on several ranks, the same on all of them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Return (N,) from this rank's columns (N, K) and each label's column, -1 where it is another rank's."""
        some = logits.shape[1] > 0
        greatest = logits.amax(dim=1) if some else logits.new_full((len(logits),), -torch.inf)
        _reduce(greatest, dist.ReduceOp.MAX)
        shares = logits - greatest[:, None]
        mine, columns = targets >= 0, targets.clamp_min(0)[:, None]
        sums = shares.new_zeros(2, len(logits))
        if some:
            sums[1] = torch.where(mine, shares.gather(1, columns)[:, 0], 0)
        sums[0] = shares.exp_().sum(dim=1)
        _reduce(sums, dist.ReduceOp.SUM)
        shares /= sums[0][:, None]
        ctx.save_for_backward(shares, mine, columns)
        return sums[0].log() - sums[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the sum of all ranks' losses: the softmax, less 1 at the label."""
        shares, mine, columns = ctx.saved_tensors
        total = gradients[0].contiguous().clone()
        _reduce(total, dist.ReduceOp.SUM)
        of_logits = shares * total[:, None]
        if of_logits.shape[1]:
            of_logits.scatter_add_(1, columns, -torch.where(mine, total, 0)[:, None])
        return of_logits, None


def _reduce(values: Tensor, operation: Any) -> None:
    if dist.is_initialized():
        dist.all_reduce(values, op=operation)
