"""World sizes 1, 2 and 4 give the same losses and gradients, with real processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from pipeline.batch import Batch
from training.config import Config, Head, Losses, Model
from training.distributed import joined_world
from training.recipes import TINY
from training.step import build_learner, step_losses

IDENTITIES, BATCH = 20, 8
CONFIG = Config(
    model=Model(backbone="spherenet4", embedding_size=16), size=32, views=TINY.views, batch=BATCH, head=Head(scale=10)
)


def global_batch(share: slice = slice(None)) -> Batch:
    generator = torch.Generator().manual_seed(7)
    views = tuple(
        torch.randint(0, 256, (BATCH, s, s, 3), generator=generator, dtype=torch.uint8)[share]
        for s in CONFIG.views.sizes
    )
    labels = torch.randperm(IDENTITIES, generator=generator)[:BATCH][share]
    return Batch(0, labels, views, torch.zeros(len(labels), 4, dtype=torch.int64), 32)


def one_step(rank: int, world_size: int, port: int, out: Path) -> None:
    import os

    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with joined_world("cpu") as world:
        torch.set_num_threads(1)
        learner = build_learner(CONFIG, IDENTITIES)
        trained = DistributedDataParallel(learner) if world_size > 1 else learner
        each = BATCH // world_size
        losses = step_losses(trained, global_batch(slice(rank * each, (rank + 1) * each)), CONFIG, world)
        losses.total.backward()
        if rank == 0:
            np.savez(out, **{name: p.grad.numpy() for name, p in learner.named_parameters() if p.grad is not None})


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 4])
def test_gradients_do_not_depend_on_the_world_size(world_size: int, tmp_path: Path) -> None:
    import socket

    gradients = []
    for size in (1, world_size):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        out = tmp_path / f"{size}.npz"
        mp.spawn(one_step, (size, port, out), nprocs=size)
        with np.load(out) as data:
            gradients.append({name: data[name] for name in data.files})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradients[1][name], expected, atol=2e-5 * scale, err_msg=name)


def test_the_total_is_the_published_sum() -> None:
    from training.distributed import World

    world = World(0, 1, 1, torch.device("cpu"))
    learner = build_learner(CONFIG, IDENTITIES)
    losses = step_losses(learner, global_batch(), CONFIG, world)
    torch.testing.assert_close(losses.total, losses.classification.mean() + losses.triplet)
    halved = Config(**{**vars(CONFIG), "losses": Losses(triplet_weight=0.5)})
    torch.testing.assert_close(
        step_losses(learner, global_batch(), halved, world).total, losses.classification.mean() + 0.5 * losses.triplet
    )
    without = Config(**{**vars(CONFIG), "losses": Losses(triplet_weight=0.0)})
    torch.testing.assert_close(step_losses(learner, global_batch(), without, world).total, losses.classification.mean())


def test_the_seed_gives_the_weights() -> None:
    first, again = build_learner(CONFIG, IDENTITIES), build_learner(CONFIG, IDENTITIES)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    other = build_learner(Config(**{**vars(CONFIG), "seed": 1}), IDENTITIES)
    assert not torch.equal(first.head.weight, other.head.weight)
