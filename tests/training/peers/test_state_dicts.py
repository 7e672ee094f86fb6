"""Networks of other projects: the embeddings of their own code, recognition by keys and shapes, refusal of the rest."""

import argparse
import json
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shards.command import UserError
from training.networks.backbone_file import load_backbone
from training.networks.backbones import build_backbone
from training.peers.state_dicts import PEER_BACKBONES, recognised

PEERS = json.loads((Path(__file__).parent / "peer_networks.json").read_text())["networks"]


def numbers_of(key: str, shape: list[int]) -> Tensor:
    """Fill a tensor by the rule of peer_networks.json."""
    draw = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_mean"):
        values = draw.normal(0, 0.1, shape)
    elif key.endswith("running_var"):
        values = draw.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:
        values = draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    else:
        values = draw.normal(0, 0.1, shape) if key.endswith("bias") else draw.uniform(0.2, 1, shape)
    return torch.from_numpy(values.astype(np.float32))


def state_of(peer: str) -> dict[str, Tensor]:
    keys = PEERS[peer]["keys"]
    return {key: numbers_of(key, shape) for key, shape in (keys.items() if isinstance(keys, dict) else keys)}


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["adaface_ir18", "arcface_r18"])
def test_embeddings_are_those_of_the_peers_own_code(peer: str, tmp_path: Path) -> None:
    path = tmp_path / "peer.pth"
    torch.save(state_of(peer), path)
    loaded = load_backbone(path)
    pictures = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32))
    with torch.no_grad():
        found = torch.nn.functional.normalize(loaded.backbone(pictures))[:, :8]
    torch.testing.assert_close(found, torch.tensor(PEERS[peer]["expected"]), atol=1e-5, rtol=0)
    assert (loaded.preprocessing.template, loaded.preprocessing.size) == ("centred", 112)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEER_BACKBONES)
def test_every_network_is_recognised_by_its_own_keys(name: str) -> None:
    size = 160 if name.startswith("inception") else 112
    with torch.device("meta"):
        state = PEER_BACKBONES[name](name, size, 384).state_dict()
    # Old files have no counts of batches.
    state = OrderedDict((key, value) for key, value in state.items() if not key.endswith("num_batches_tracked"))
    peer = recognised({f"module.{key}": value for key, value in state.items()})
    assert peer is not None
    assert (peer.name, peer.size, peer.embedding_size) == (name, size, 384)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mbf", "vit_t", "inception_resnet_v1", "evolve-irse50"])
def test_a_network_is_built_by_its_name_and_embeds_each_picture_alone(name: str) -> None:
    size = 160 if name.startswith("inception") else 112
    network = build_backbone(name, size, 64).eval()
    pictures = torch.rand(2, 3, size, size) * 2 - 1
    with torch.no_grad():
        both, alone = network(pictures), network(pictures[1:])
    assert both.shape == (2, 64)
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-4)


def small_adaface() -> dict[str, Tensor]:
    return build_backbone("adaface-ir18", 32, 16).state_dict()


@pytest.mark.slow
def test_adafaces_own_files_want_bgr_and_cvlfaces_rgb(tmp_path: Path) -> None:
    state = small_adaface()
    lightning = {
        "state_dict": {f"model.{key}": value for key, value in state.items()} | {"head.kernel": torch.ones(16, 3)},
        "hyper_parameters": argparse.Namespace(arch="ir_18", head="adaface"),
        "callbacks": {argparse.Namespace: {"best": 1.0}},
        "epoch": 3,
    }
    torch.save(lightning, tmp_path / "adaface.ckpt")
    torch.save({f"net.{key}": value for key, value in state.items()}, tmp_path / "cvlface.pt")
    bgr, rgb = load_backbone(tmp_path / "adaface.ckpt"), load_backbone(tmp_path / "cvlface.pt")
    assert (bgr.preprocessing.colour, rgb.preprocessing.colour) == ("BGR", "RGB")
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(bgr.backbone(pictures.flip(1)), rgb.backbone(pictures))
        assert not torch.allclose(bgr.backbone(pictures), rgb.backbone(pictures))


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_in_a_file_are_never_run(zipped: bool, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (trap,)

    path = tmp_path / "hostile.ckpt"
    weights = {f"model.{key}": value for key, value in small_adaface().items()}
    torch.save({"state_dict": weights, "hyper_parameters": Trap()}, path, _use_new_zipfile_serialization=zipped)
    assert load_backbone(path).name == "adaface-ir18"
    assert not trap.exists()


def test_a_file_of_no_known_network_is_refused_with_its_keys_and_the_ways_out(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"stem.conv.weight": torch.zeros(8, 3, 3, 3), "end.bias": torch.zeros(4)}, path)
    with pytest.raises(UserError, match=r"stem.conv.weight \(8, 3, 3, 3\).*package.module:callable.*ONNX"):
        load_backbone(path)


def test_a_network_with_one_other_shape_is_none_of_ours() -> None:
    state = small_adaface()
    state["body.3.res_layer.1.weight"] = torch.zeros(64, 64, 5, 5)
    assert recognised(state) is None
