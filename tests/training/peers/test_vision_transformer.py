"""What a vision transformer leaves out in training: against a slow loop, its files, and any number of processes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.loading.batch import Batch
from shards.command import UserError
from tests.training.worlds import on_world, share
from training.engine.step import build_learner, for_training, losses_and_gradients
from training.peers.keypoint_transformer import KeypointTransformer
from training.peers.vision_transformer import Dropping, Shape, VisionTransformer
from training.ranks.world import ALONE, World
from training.settings.config import Config, Losses, Model

SMALL = Shape(width=8, depth=3, heads=2, widening=2, patch=8)
PATCHES = 16
DROPPING = Dropping(paths=0.6, patches=0.3)


def network(dropping: Dropping) -> VisionTransformer:
    torch.manual_seed(0)
    made = VisionTransformer(SMALL, 32, 6).double()
    made.drop(dropping)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    # Else a picture's embedding would depend on those beside it.
    made.feature.eval()
    return made


def pictures_and_draws(number: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(number, 3, 32, 32, dtype=torch.float64), torch.rand(number, 2 * SMALL.depth + PATCHES)


def embedding_by_hand(made: VisionTransformer, picture: Tensor, draws: list[float]) -> Tensor:
    """Embed a picture, branch by branch."""
    x = made.patch_embed(picture[None]) + made.pos_embed
    of_patches = draws[2 * SMALL.depth :]
    left_out = round(PATCHES * made.dropping.patches + 0.4999)
    seen = sorted(range(PATCHES), key=of_patches.__getitem__)[: PATCHES - left_out]
    x = x[:, seen]
    for number, block in enumerate(made.blocks):
        rate = made.dropping.paths * number / (SMALL.depth - 1)
        for draw, branch in zip(
            draws[2 * number : 2 * number + 2],
            (lambda x, block=block: block.attn(block.norm1(x)), lambda x, block=block: block.mlp(block.norm2(x))),
            strict=True,
        ):
            if draw >= rate:
                x = x + branch(x) / (1 - rate)
    whole = made.mask_token.repeat(1, PATCHES, 1)
    for place, patch in zip(seen, made.norm(x)[0], strict=True):
        whole[0, place] = patch
    return made.feature(whole.flatten(1))[0]


@torch.no_grad()
@pytest.mark.parametrize("dropping", [DROPPING, Dropping(paths=0.6), Dropping(patches=0.3)])
def test_branches_and_patches_are_left_out_as_the_papers_say(dropping: Dropping) -> None:
    made = network(dropping)
    pictures, draws = pictures_and_draws(12)
    by_hand = [embedding_by_hand(made, *one) for one in zip(pictures, draws.tolist(), strict=True)]
    torch.testing.assert_close(made(pictures, draws), torch.stack(by_hand), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_in_evaluation_nothing_is_left_out() -> None:
    made = network(DROPPING).eval()
    pictures, draws = pictures_and_draws(2)
    assert torch.equal(made(pictures, draws), made(pictures))


def test_a_path_contributes_as_much_in_the_mean_as_if_it_were_never_left_out() -> None:
    made = network(Dropping(paths=0.6))
    for factors in made.path_factors(torch.rand(20_000, 2 * SMALL.depth + PATCHES)):
        assert factors is not None
        torch.testing.assert_close(factors.mean(dim=1).flatten(), torch.ones(2), atol=0.05, rtol=0)


def test_the_token_is_learned_only_where_patches_are_left_out_and_files_have_it_either_way() -> None:
    plain, masked = network(Dropping(paths=0.6)), network(DROPPING)
    assert "mask_token" not in dict(plain.named_parameters())
    masked(*pictures_and_draws(2)).square().sum().backward()
    assert masked.mask_token.grad is not None and masked.mask_token.grad.any()
    plain.load_state_dict(masked.state_dict())
    assert torch.equal(plain.mask_token, masked.mask_token)
    masked.load_state_dict(plain.state_dict())


@torch.no_grad()
def test_paths_are_left_out_beside_key_points_too() -> None:
    torch.manual_seed(0)
    made = KeypointTransformer(SMALL, 32, 6)
    made.feature.eval()
    made.drop(Dropping(paths=0.9))
    pictures, points = torch.randn(1, 3, 32, 32), torch.rand(1, 5, 2)
    draws = torch.ones(1, made.draws)
    draws[:, 2:] = 0
    # What is left is the first block.
    x = made.patch_embed(pictures) + made.pos_embed
    expected = made.feature(made.norm(made.blocks[0](x)).flatten(1))
    torch.testing.assert_close(made(pictures, points, draws), expected)
    torch.testing.assert_close(made.eval()(pictures, points, draws), made(pictures, points))


CONFIG = Config(
    model=Model(backbone="vit_t", embedding_size=16, dropped_paths=0.5, masked_patches=0.3),
    size=32,
    batch=4,
    losses=Losses(triplet_weight=0.0),
)


def batch_of(step: int, world: World) -> Batch:
    generator = torch.Generator().manual_seed(step)
    views = tuple(
        share(torch.randint(0, 256, (4, 32, 32, 3), generator=generator, dtype=torch.uint8), world) for _ in range(4)
    )
    labels = share(torch.randperm(9, generator=generator)[:4], world)
    return Batch(step, labels, views, torch.zeros(len(labels), 4, dtype=torch.int64), 32)


def gradients(world: World, config: Config = CONFIG, step: int = 0) -> dict[str, Tensor]:
    learner = build_learner(config, 9)
    losses_and_gradients(for_training(learner, config, world), batch_of(step, world), config, world)
    return {name: parameter.grad for name, parameter in learner.named_parameters() if parameter.grad is not None}


@pytest.mark.slow
def test_a_step_leaves_out_the_same_on_one_process_and_on_two(tmp_path: Path) -> None:
    (one,) = on_world(1, gradients, tmp_path)
    first, second = on_world(2, gradients, tmp_path)
    assert "backbone.mask_token" in one
    for name, expected in one.items():
        torch.testing.assert_close(first[name], expected, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: name + text)
        assert torch.equal(first[name], second[name]), name


def test_every_step_leaves_out_something_else_and_again_the_same() -> None:
    found = [gradients(ALONE)["head.weight"] for _ in range(2)]
    assert torch.equal(*found)
    other = replace(CONFIG, model=replace(CONFIG.model, dropped_paths=0.0, masked_patches=0.0))
    assert not torch.equal(found[0], gradients(ALONE, other)["head.weight"])
    learner = build_learner(CONFIG, 9)
    same = [replace(batch_of(0, ALONE), step=step) for step in (0, 1)]
    losses = [losses_and_gradients(for_training(learner, CONFIG, ALONE), one, CONFIG, ALONE).total for one in same]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model("spherenet4", 16, masked_patches=0.1), r"model.masked_patches 0.1 for spherenet4, which cannot"),
        (Model("vit_kprpe_small", 16, masked_patches=0.1), r"masked_patches 0.1 for a network with KP-RPE"),
    ],
)
def test_a_network_that_cannot_leave_them_out_is_named(model: Model, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_learner(replace(CONFIG, model=model), 9)


def test_a_rate_of_one_would_leave_nothing() -> None:
    with pytest.raises(UserError, match=r"dropped_paths 1.0; give a value from 0 to below 1"):
        Model(dropped_paths=1.0)
