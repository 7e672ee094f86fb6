"""Batch norm over the global batch: that of one process with all samples, forwards, backwards and remembered."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.loading.batch import Batch
from pipeline.sampling.views import Views
from shards.command import UserError
from tests.training.worlds import on_world, share
from training.engine.step import build_learner, for_training, losses_and_gradients
from training.networks.global_batch_norm import GlobalBatchNorm, over_global_batch
from training.ranks.world import World
from training.settings.config import Config, Model

CPU = torch.device("cpu")


def norms() -> list[tuple[nn.Module, Tensor]]:
    """Batch norms of all settings with a batch for each, far from mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(3)

    def rows(*shape: int) -> Tensor:
        return 5 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    made = [
        (nn.BatchNorm2d(6), rows(8, 6, 5, 5)),
        (nn.BatchNorm1d(4, momentum=0.3), rows(8, 4)),
        (nn.BatchNorm2d(3, momentum=None, eps=1e-3), rows(8, 3, 2, 2)),
        (nn.BatchNorm2d(3, affine=False), rows(4, 3, 2, 2)),
        (nn.BatchNorm2d(3, track_running_stats=False), rows(4, 3, 2, 2)),
    ]
    for norm, _ in made:
        norm.double()
        for parameter in norm.parameters():
            parameter.data += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return [(nn.Sequential(norm), batch) for norm, batch in made]


def two_passes(world: World) -> dict[str, Tensor]:
    """Two batches through each norm with a loss that weighs every output differently; what is left of them."""
    found = {}
    for number, (plain, batch) in enumerate(norms()):
        network = over_global_batch(plain, CPU) if world.size > 1 else plain
        assert isinstance(network.get_submodule("0"), GlobalBatchNorm) == (world.size > 1)
        for scale in (1.0, 0.5):
            inputs = share(batch * scale, world).clone().requires_grad_()
            outputs = network(inputs)
            weights = share(torch.linspace(-1, 2, batch.numel(), dtype=torch.float64).view_as(batch), world)
            # The mean over ranks of each rank's mean is the mean over all.
            loss = (weights * outputs.sin()).mean()
            network.zero_grad()
            loss.backward()
        assert inputs.grad is not None
        found[f"{number} outputs"], found[f"{number} inputs"] = outputs.detach(), inputs.grad
        found |= {f"{number} {name} gradient": p.grad for name, p in network.named_parameters() if p.grad is not None}
        found |= {f"{number} {name}": value for name, value in network.state_dict().items()}
        found[f"{number} evaluated"] = network.eval()(inputs).detach()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_it_is_batch_norm_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    (whole,) = on_world(1, two_passes, tmp_path)
    parts = on_world(size, two_passes, tmp_path)
    for name, expected in whole.items():
        of_ranks = [part[name] for part in parts]
        if name.endswith(("outputs", "evaluated")):
            found = torch.cat(of_ranks)
        elif name.endswith("inputs"):
            found = torch.cat(of_ranks) / size  # of the sum of the ranks' losses
        elif name.endswith("gradient"):
            found = torch.stack(of_ranks).mean(dim=0)  # as data-parallel training averages
        else:
            found = of_ranks[0]
            assert all(torch.equal(found, other) for other in of_ranks)
        torch.testing.assert_close(found, expected, msg=lambda text, name=name: f"{name}: {text}")


def test_alone_it_is_plain_batch_norm() -> None:
    torch.manual_seed(0)
    plain, ours = nn.BatchNorm2d(3), over_global_batch(nn.BatchNorm2d(3), CPU)
    batch = torch.randn(4, 3, 5, 5)
    assert torch.equal(plain(batch), ours(batch))
    assert torch.equal(plain.eval()(batch), ours.eval()(batch))


def test_the_exchange_keeps_parameters_names_and_mode() -> None:
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3), nn.PReLU(3)), nn.BatchNorm1d(4).eval())
    before = dict(network.named_parameters()), list(network.state_dict())
    changed = over_global_batch(network, CPU)
    assert changed is network
    assert [type(m) for m in changed.modules() if hasattr(m, "running_mean")] == [GlobalBatchNorm] * 2
    assert (dict(changed.named_parameters()), list(changed.state_dict())) == before
    assert all(p is before[0][name] for name, p in changed.named_parameters())
    assert (changed[0][0].training, changed[1].training) == (True, False)
    assert over_global_batch(network, CPU)[1] is changed[1]


def test_a_gpu_gets_the_synchronised_batch_norm_of_pytorch() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    before = dict(network.named_parameters()), list(network.state_dict())
    changed = over_global_batch(network, torch.device("cuda", 0))
    assert isinstance(changed.get_submodule("1"), nn.SyncBatchNorm)
    assert list(changed.state_dict()) == before[1]
    assert all(p is before[0][name] for name, p in changed.named_parameters())


BATCH = 4
CONFIG = Config(model=Model("mbf", 16), size=16, views=Views(sizes=(16, 8, 12)), batch=BATCH)


def step_of_mobilefacenet(world: World) -> dict[str, Tensor]:
    """One step of a MobileFaceNet: this rank's loss, some gradients and running statistics."""
    generator = torch.Generator().manual_seed(7)
    views = tuple(
        share(torch.randint(0, 256, (BATCH, s, s, 3), generator=generator, dtype=torch.uint8), world)
        for s in CONFIG.views.sizes
    )
    labels = share(torch.arange(BATCH), world)
    learner = build_learner(CONFIG, 10).double()
    trained: nn.Module = learner.backbone
    if world.size > 1:
        trained = DistributedDataParallel(over_global_batch(learner.backbone, CPU))
    batch = Batch(0, labels, views, torch.zeros(len(labels), 3, dtype=torch.int64), 16)
    network_input = batch.network_input().double()
    embeddings = trained(network_input)
    loss = nn.functional.cross_entropy(learner.head(embeddings, batch.view_labels()), batch.view_labels())
    loss = loss + embeddings.square().mean()
    loss.backward()
    found = {f"gradient {name}": p.grad for name, p in learner.backbone.named_parameters() if p.grad is not None}
    buffers = {f"buffer {name}": value for name, value in learner.backbone.named_buffers()}
    return {"loss": loss.detach(), **found, **buffers}


@pytest.mark.slow
def test_a_network_with_batch_norm_trains_equally_on_one_process_and_on_two(tmp_path: Path) -> None:
    (one,) = on_world(1, step_of_mobilefacenet, tmp_path)
    two = on_world(2, step_of_mobilefacenet, tmp_path)
    torch.testing.assert_close((two[0]["loss"] + two[1]["loss"]) / 2, one.pop("loss"))
    for name, expected in one.items():
        scale = max(float(expected.abs().max()), 1e-6)
        torch.testing.assert_close(two[0][name], expected, atol=1e-7 * scale, rtol=1e-6, msg=name)


@pytest.mark.slow
def test_a_step_of_an_ir_se_network_has_a_finite_loss() -> None:
    config = replace(CONFIG, model=Model("irse50", 16))
    world = World(0, 1, CPU)
    views = tuple(torch.randint(0, 256, (2, s, s, 3), dtype=torch.uint8) for s in CONFIG.views.sizes)
    batch = Batch(0, torch.arange(2), views, torch.zeros(2, 3, dtype=torch.int64), 16)
    learner = build_learner(config, 10)
    assert torch.isfinite(losses_and_gradients(for_training(learner, config, world), batch, config, world).total)
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters() if p.grad is not None)
    with pytest.raises(UserError, match="batch norm must see the whole batch"):
        for_training(learner, replace(config, accumulate=2), world)
