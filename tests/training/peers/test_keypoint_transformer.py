"""ViT with KP-RPE: against a slow loop written from the papers' equations, its files, and its gradients."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.alignment.align import preprocessing
from shards.command import UserError
from training.networks.backbone_file import LoadedBackbone, load_backbone
from training.networks.backbones import takes_points
from training.networks.export_formats import FORMATS
from training.networks.exported_file import load_exported, load_trainable
from training.peers.keypoint_transformer import KEYPOINT_TRANSFORMERS, KeypointTransformer, buckets
from training.peers.state_dicts import recognised
from training.peers.vision_transformer import Shape

SMALL = Shape(width=8, depth=2, heads=2, widening=3, patch=8)


def network(size: int = 32, embedding_size: int = 6) -> KeypointTransformer:
    torch.manual_seed(0)
    made = KeypointTransformer(SMALL, size, embedding_size).double().eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def piecewise(distance: int) -> int:
    """Equation 18 of iRPE (Wu et al., 2021) with alpha 1.9, beta 3.8, gamma 15.2, cut to whole numbers of beta."""
    alpha, beta, gamma = 1.9, 3.8, 15.2
    if abs(distance) <= alpha:
        return distance
    far = round(alpha + math.log(abs(distance) / alpha) / math.log(gamma / alpha) * (beta - alpha))
    return int(math.copysign(math.floor(min(far, beta)), distance))


def attention_by_hand(made: KeypointTransformer, number: int, x: Tensor, points: Tensor, side: int) -> Tensor:
    """The attention of one block for one picture, pair by pair: (T, W) and (5, 2) -> (T, W)."""
    block, heads, width = made.blocks[number].attn, SMALL.heads, SMALL.width
    each = width // heads
    qkv = x @ block.qkv.weight.T
    out = torch.zeros_like(x)
    for h in range(heads):
        query, key, value = (qkv[:, k * width + h * each : k * width + (h + 1) * each] for k in range(3))
        first = (number * heads + h) * 49
        for i in range(side * side):
            centre = torch.tensor([(i % side + 0.5) / side, (i // side + 0.5) / side], dtype=x.dtype)
            away = torch.cat([centre - point for point in points])
            logits = []
            for j in range(side * side):
                rows, columns = i // side - j // side, i % side - j % side
                place = first + (piecewise(rows) + 3) * 7 + piecewise(columns) + 3
                of_points = made.keypoint_linear.weight[place] @ away + made.keypoint_linear.bias[place]
                logits.append(query[i] @ key[j] / math.sqrt(each) + of_points)
            shares = torch.stack(logits).softmax(0)
            out[i, h * each : (h + 1) * each] = sum(share * row for share, row in zip(shares, value, strict=True))
    return out @ block.proj.weight.T + block.proj.bias


def embedding_by_hand(made: KeypointTransformer, picture: Tensor, points: Tensor) -> Tensor:
    side = picture.shape[1] // SMALL.patch
    x = made.patch_embed(picture[None])[0] + made.pos_embed[0]
    for number, block in enumerate(made.blocks):
        x = x + attention_by_hand(made, number, block.norm1(x), points, side)
        x = x + block.mlp(block.norm2(x))
    return made.feature(made.norm(x).flatten()[None])[0]


@torch.no_grad()
def test_embeddings_are_those_of_the_equations() -> None:
    made = network(size=48)
    pictures = torch.rand(2, 3, 48, 48, dtype=torch.float64) * 2 - 1
    points = torch.rand(2, 5, 2, dtype=torch.float64)
    by_hand = torch.stack([embedding_by_hand(made, *one) for one in zip(pictures, points, strict=True)])
    torch.testing.assert_close(made(pictures, points), by_hand)


def test_the_buckets_of_fourteen_patches_are_those_of_the_piecewise_function() -> None:
    found = buckets(14)
    for i in range(0, 196, 5):
        for j in range(196):
            rows, columns = i // 14 - j // 14, i % 14 - j % 14
            assert found[i, j] == (piecewise(rows) + 3) * 7 + piecewise(columns) + 3


def test_the_points_of_a_new_network_change_nothing_and_their_gradient_does() -> None:
    made = KeypointTransformer(SMALL, 32, 6).eval()
    pictures, points = torch.rand(3, 3, 32, 32), torch.rand(3, 5, 2)
    torch.testing.assert_close(made(pictures, points), made(pictures, points + 0.1))
    made(pictures, points).sum().backward()
    gradient = made.keypoint_linear.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_cvlfaces_base_has_these_keys_and_shapes() -> None:
    with torch.device("meta"):
        state = KeypointTransformer(KEYPOINT_TRANSFORMERS["vit_kprpe_base"], 112, 512).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes["patch_embed.proj.weight"] == (512, 3, 8, 8)
    assert shapes["pos_embed"] == (1, 196, 512)
    assert shapes["blocks.23.attn.qkv.weight"] == (1536, 512)
    assert shapes["blocks.23.mlp.fc1.weight"] == (1536, 512)
    assert shapes["keypoint_linear.weight"] == (49 * 16 * 24, 10)
    assert shapes["feature.0.weight"] == (512, 196 * 512)
    assert len(shapes) == 3 + 24 * 11 + 2 + 2 + 12
    assert not any("qkv.bias" in key or "mask_token" in key or "rpe" in key for key in shapes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> LoadedBackbone:
    """A network of CVLface's layout, small enough for tests, ready to embed pictures of 32 pixels."""
    monkeypatch.setitem(KEYPOINT_TRANSFORMERS, "vit_kprpe_small", SMALL)
    backbone = network().float()
    return LoadedBackbone(backbone, preprocessing("centred", 32), "vit_kprpe_small", 1, "kprpe", "")


@pytest.mark.parametrize("prefix", ["", "net.", "model.net."])
def test_a_file_of_cvlface_is_recognised_and_gives_its_embeddings(
    prefix: str, small: LoadedBackbone, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save({prefix + key: value for key, value in small.backbone.state_dict().items()}, path)
    loaded = load_backbone(path)
    assert (loaded.name, loaded.preprocessing) == (small.name, small.preprocessing)
    assert_same(loaded.backbone, small.backbone, tolerance=0)


def assert_same(one: torch.nn.Module, other: torch.nn.Module, tolerance: float) -> None:
    pictures, points = torch.rand(3, 3, 32, 32) * 2 - 1, torch.rand(3, 5, 2)
    with torch.no_grad():
        torch.testing.assert_close(one(pictures, points), other(pictures, points), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["safetensors", pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
def test_an_exported_network_takes_pictures_and_points(kind: str, small: LoadedBackbone, tmp_path: Path) -> None:
    path = tmp_path / "exported"
    path.write_bytes(FORMATS[kind](small))
    if kind == "torchscript":
        found: torch.nn.Module = torch.jit.load(path)
    else:
        found = load_exported(path).backbone
        assert takes_points(found)
    if kind == "onnx":
        with pytest.raises(UserError, match="input"):
            load_trainable(path)
    assert_same(found, small.backbone, tolerance=1e-4)


def test_both_sizes_are_told_apart_and_from_networks_without_points() -> None:
    for name, shape in KEYPOINT_TRANSFORMERS.items():
        with torch.device("meta"):
            state = KeypointTransformer(shape, 112, 512).state_dict()
        peer = recognised(state)
        assert peer is not None
        assert (peer.name, peer.size, peer.embedding_size) == (name, 112, 512)
