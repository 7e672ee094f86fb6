"""The sharded head: that of one piece, on any number of ranks, and never the whole matrix on one."""

from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shards.command import UserError
from tests.training.worlds import on_world, share
from training.engine.optimizer import build_optimizer
from training.engine.saving import Snapshot
from training.engine.step import Learner, for_training
from training.engine.training_state import TrainingState
from training.objectives.class_shards import initial_rows, sampled_classes, shard_range, shard_state
from training.objectives.head_loss import HeadLoss
from training.objectives.heads import build_head
from training.objectives.margin_head import RULES
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import World
from training.settings.config import Config, Head, Losses, Optimizer
from training.settings.head import Initial

CLASSES, LENGTH, BATCH = 11, 6, 8
ALONE = World(0, 1, torch.device("cpu"))
SETTINGS = {name: Head(name=name, norm_range=(1.0, 2.5), norm_rate=0.5, filter_above=0.2) for name in RULES} | {
    "elastic-arcface": Head(name="elastic-arcface", margin_deviation=0.2, elastic_sorted=True)
}
CASES = [*((name, "cross-entropy") for name in sorted(RULES)), ("arcface", "focal")]


def losses_of(kind: str) -> Losses:
    return Losses(classification="focal" if kind == "focal" else "cross-entropy")


def batch(step: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    pictures = torch.randn(BATCH, 9, generator=generator, dtype=torch.float64)
    return pictures, torch.randint(CLASSES, (BATCH,), generator=generator)


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(9, LENGTH).double()


def in_one_piece(name: str, kind: str) -> dict[str, Tensor]:
    """Losses and gradients of the head in one piece, on the global batch."""
    torch.manual_seed(5)
    head, network = build_head(SETTINGS[name], CLASSES, LENGTH).double(), backbone()
    weight = head.get_parameter("weight")
    pictures, labels = batch()
    embeddings = network(pictures)
    embeddings.retain_grad()
    per_sample, penalty = HeadLoss(head, losses_of(kind))(embeddings, labels, 3)
    (per_sample.mean() + penalty).backward()
    found = {"losses": per_sample, "embeddings": embeddings.grad, "rows": weight.grad}
    found |= {f"state of {name}": value for name, value in head.state_dict().items() if name != "weight"}
    return found | {name: p.grad for name, p in network.named_parameters()}


def in_shards(world: World, sampling: float = 1.0) -> dict[str, Tensor]:
    """The same from shards, for every case; the embeddings' gradient over the number of ranks."""
    found = {}
    for name, kind in CASES:
        torch.manual_seed(5)
        head = ShardedHead(SETTINGS[name], CLASSES, LENGTH, world, sampling=sampling).double()
        network = backbone()
        trained = DistributedDataParallel(network) if world.size > 1 else network
        pictures, labels = (share(rows, world) for rows in batch())
        embeddings = trained(pictures)
        embeddings.retain_grad()
        per_sample, penalty = HeadLoss(head, losses_of(kind))(embeddings, labels, 3)
        (per_sample.mean() + penalty).backward()
        assert head.weight.grad is not None
        key = f"{name} {kind} "
        found |= {f"{key}losses": per_sample.detach(), f"{key}embeddings": embeddings.grad / world.size}
        found |= {f"{key}state of {name}": value for name, value in head.state_dict().items() if name != "weight"}
        seen = head.weight.grad.abs().sum(dim=1) > 0
        found |= {f"{key}rows": head.weight.grad, f"{key}classes": seen.sum()[None]}
        found |= {f"{key}{name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found


def merged(parts: list[dict[str, Tensor]], key: str) -> Tensor:
    """What the ranks returned, put together; the backbone's gradients are the same on all."""
    if key.endswith(("losses", "embeddings", "rows")):
        return torch.cat([part[key] for part in parts])
    if key.endswith("classes"):
        return torch.stack([part[key] for part in parts]).sum(dim=0)
    return parts[-1][key]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4])
def test_it_equals_the_head_in_one_piece(size: int, tmp_path: Path) -> None:
    parts = on_world(size, in_shards, tmp_path)
    for name, kind in CASES:
        for key, expected in in_one_piece(name, kind).items():
            found = merged(parts, f"{name} {kind} {key}")
            torch.testing.assert_close(found, expected.detach(), atol=1e-12, rtol=1e-9, msg=f"{name} {kind} {key}")


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [0.05, 0.5])
def test_with_sampling_it_does_not_depend_on_the_number_of_ranks(sampling: float, tmp_path: Path) -> None:
    worlds = [on_world(size, in_shards, tmp_path, sampling) for size in (1, 2, 4)]
    for key in worlds[0][0]:
        for parts in worlds[1:]:
            torch.testing.assert_close(merged(parts, key), merged(worlds[0], key), atol=1e-12, rtol=1e-9, msg=key)
    assert worlds[0][0]["arcface focal classes"] < CLASSES


def test_sampling_keeps_the_labels_and_draws_the_rest_anew() -> None:
    classes = range(1000)
    drawn = [sampled_classes(classes, 0.1, 5, step) for step in range(20)]
    assert (drawn[0] == sampled_classes(classes, 0.1, 5, 0)).all()
    assert 1700 < sum(map(len, drawn)) < 2300
    assert len({d.tobytes() for d in drawn}) == 20
    assert sampled_classes(classes, 0.1, 6, 0).tolist() != drawn[0].tolist()
    head = ShardedHead(Head(), 1000, LENGTH, ALONE, sampling=0.1)
    labels = torch.arange(0, 1000, 50)
    head.entropy(torch.randn(20, LENGTH), labels, 0).sum().backward()
    assert head.weight.grad is not None
    touched = head.weight.grad.abs().sum(dim=1) > 0
    assert touched[labels].all()
    sampled = set(sampled_classes(classes, 0.1, 0, 0).tolist())
    assert touched.tolist() == [k in sampled or k % 50 == 0 for k in classes]


@given(
    first=st.integers(0, 300_000),
    sizes=st.lists(st.integers(0, 100_000), min_size=1, max_size=4),
    rate=st.sampled_from([1e-300, 1e-5, 0.01, 0.1, 0.5, 0.99]),
    step=st.integers(0, 9),
)
@examples(max_examples=25, deadline=None)
def test_every_division_of_classes_samples_the_same(first: int, sizes: list[int], rate: float, step: int) -> None:
    whole = sampled_classes(range(first, first + sum(sizes)), rate, 3, step)
    assert (np.diff(whole) > 0).all()
    assert not len(whole) or 0 <= whole[0] <= whole[-1] < sum(sizes)
    ends = [0, *accumulate(sizes)]
    parts = [sampled_classes(range(first + a, first + b), rate, 3, step) + a for a, b in pairwise(ends)]
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_every_class_is_sampled_at_the_rate_and_by_itself(rate: float) -> None:
    seen = np.zeros((200, 2000), dtype=bool)
    for step, row in enumerate(seen):
        # Over the edge of two blocks.
        row[sampled_classes(range(64_536, 66_536), rate, 1, step)] = True
    deviation = np.sqrt(rate * (1 - rate))
    assert abs(seen.mean() - rate) < 4 * deviation / np.sqrt(seen.size)
    assert np.abs(seen.mean(axis=0) - rate).max() < 5 * deviation / np.sqrt(len(seen))
    # Neighbours, the two on either side of the edge of the blocks among them, are no likelier together.
    together = (seen[:, 1:] & seen[:, :-1]).mean()
    assert abs(together - rate**2) < 5 * rate / np.sqrt(seen.size)


@pytest.mark.parametrize("name", sorted(RULES))
def test_gradients_are_right_and_finite(name: str) -> None:
    head = ShardedHead(Head(name=name, scale=4), 5, 3, ALONE).double()
    embeddings, labels = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 4, 1, 1])
    head.eval()

    def entropy(x: Tensor, _: Tensor) -> Tensor:
        # Of AdaFace's margin the length of an embedding is no part of the gradient.
        return head.entropy(F.normalize(x) if name == "adaface" else x, labels, 0)

    assert torch.autograd.gradcheck(entropy, (embeddings, head.weight))
    extreme = torch.stack([head.weight[0], -head.weight[1], torch.zeros(3).double()]).detach().float().requires_grad_()
    head.float().entropy(extreme, torch.tensor([0, 1, 2]), 0).sum().backward()
    assert torch.isfinite(extreme.grad).all()  # type: ignore[arg-type]


def test_low_precision_and_no_samples() -> None:
    head = ShardedHead(Head(), CLASSES, LENGTH, ALONE)
    low, labels = torch.randn(4, LENGTH).bfloat16(), torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        found = head.entropy(low, labels, 0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, head.entropy(low.float(), labels, 0))
    assert head.entropy(low[:0], labels[:0], 0).shape == (0,)


def memory(name: str) -> int:
    """Of this process in bytes: VmRSS now, VmHWM at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def peaks(world: World, identities: int, length: int) -> dict[str, Tensor]:
    """Growth of this process's memory in bytes: by the rows, by a whole step, by what it holds of a checkpoint."""
    for classes in (1000, identities):  # first a small one, for what PyTorch loads at its first step
        before = memory("VmRSS")
        learner = Learner(nn.Linear(length, length), ShardedHead(Head(), classes, length, world))
        rows = memory("VmHWM") - before
        state = TrainingState(learner, build_optimizer(Optimizer(learning_rate=0.1, weight_decay=0), learner))
        labels = torch.tensor([world.rank * (classes - 1)])
        trained = for_training(learner, Config(), world)
        per_sample, _ = trained.head(trained.backbone(torch.randn(1, length)), labels, 0)
        per_sample.mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        step = memory("VmHWM") - before
        rest = memory("VmRSS")
        snapshot = Snapshot.of(state, world, copied=True)
        saving = memory("VmHWM") - rest
        assert (snapshot.whole is not None) == world.is_main
        assert snapshot.rows is not None
        assert {name: len(value) for name, value in snapshot.rows.items()} == dict.fromkeys(
            ("weight", "momentum_buffer"), len(shard_range(classes, world.rank, world.size))
        )
    found = {"rows": rows, "step": step, "saving": saving}
    return {name: torch.tensor(value) for name, value in found.items()} | {"losses": per_sample.detach()}


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_million_classes_lie_half_on_each_of_two_ranks(tmp_path: Path) -> None:
    identities, length = 1_000_000, 64
    whole = 4 * identities * length
    first, second = on_world(2, peaks, tmp_path, identities, length)
    for found in (first, second):
        assert torch.isfinite(found["losses"]).all()
        assert whole / 2 * 0.95 < found["rows"] < whole * 0.6
        # Rows, gradient and momentum; in one piece each would be twice that.
        assert found["step"] < 3 * whole * 0.6
        # A copy of its rows and their momentum, whatever the rank; the highest so far was at a gradient of the rows.
        assert found["saving"] < whole * 1.2


def rows_of(classes: range, seed: int, initial: Initial = "uniform") -> Tensor:
    torch.manual_seed(seed)
    return initial_rows(classes, 3, initial)


@pytest.mark.parametrize("initial", ["uniform", "normal", "unit"])
def test_classes_are_divided_evenly_and_rows_drawn_alike(initial: Initial) -> None:
    for identities in (4, 10, 11, 9000):
        whole = rows_of(range(identities), 1, initial)
        for size in (1, 2, 3, 4):
            ranges = [shard_range(identities, rank, size) for rank in range(size)]
            assert [k for part in ranges for k in part] == list(range(identities))
            assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
            assert torch.equal(torch.cat([rows_of(part, 1, initial) for part in ranges]), whole)
            full = torch.randn(identities, 2)
            assert torch.equal(torch.cat([shard_state(full, rank, size) for rank in range(size)]), full)
    assert not torch.equal(rows_of(range(9000), 2, initial), whole)
    assert len(whole.unique(dim=0)) == 9000
    first, later = whole[:4096], whole[4096:]
    torch.manual_seed(1)
    expected = torch.empty(4096, 3)
    expected = expected.normal_(std=0.01) if initial == "normal" else expected.uniform_(-1, 1)
    assert torch.equal(first, F.normalize(expected) if initial == "unit" else expected)
    # What is drawn by blocks is of the same distribution (Kolmogorov and Smirnov's test of two samples).
    assert ks_2samp(first.flatten().numpy(), later.flatten().numpy()).pvalue > 0.001


def test_impossible_shards_are_refused() -> None:
    world = World(0, 4, torch.device("cpu"))
    for settings, identities, sampling, message in (
        (Head(name="sphereface", margin=4), 9, 1.0, "cannot be sharded; choose one of normface"),
        (Head(), 3, 1.0, "3 classes for 4 processes"),
        (Head(), 9, 0.0, "above 0 and up to 1"),
    ):
        with pytest.raises(UserError, match=message):
            ShardedHead(settings, identities, LENGTH, world, sampling=sampling)
    with pytest.raises(UserError, match="for 9 classes of 6 numbers"):
        ShardedHead(Head(), 9, LENGTH, ALONE).load_rows(torch.zeros(8, LENGTH), {})
