"""Files that hold a model, how each is read, and how it is damaged; see `tests.campaigns.mutate_models`."""

import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.campaigns.mutations import Reader, mutated, other_fields, other_json

_SIZE, _EMBEDDING = 16, 4


def model_files(scratch: Path) -> dict[str, Reader]:
    """Write every kind of model: of a tiny network of ours, and a SphereNet as the authors have it."""
    import torch

    from evaluation.models.load import load_model
    from training.networks.backbone_file import load_backbone
    from training.networks.backbones import build_backbone
    from training.networks.export_formats import FORMATS

    ours = scratch / "ours.pt"
    write_checkpoint(ours, step=3)
    released, old = scratch / "released" / "net_backbone.pth", scratch / "old.pth"
    released.parent.mkdir()
    network = build_backbone("spherenet4", _SIZE, _EMBEDDING)
    torch.save(network.state_dict(), released)
    torch.save(network.state_dict(), old, _use_new_zipfile_serialization=False)
    settings = released.with_name("config.json")
    settings.write_text(json.dumps({"embedding_size": 4, "image_size": [16, 16], "net": {"backbone": "SphereNet-4"}}))
    exported = {kind: scratch / f"exported.{kind}" for kind in FORMATS}
    for kind, path in exported.items():
        path.write_bytes(FORMATS[kind](load_backbone(ours)))

    def load(path: Path) -> Callable[[], object]:
        return lambda: _used(load_model(str(path), template="paper", size=_SIZE))

    return {
        "ours.pt": Reader(ours, load(ours), damage=ends),
        "ours.pt, values": Reader(ours, load(ours), damage=other_checkpoint),
        "authors' .pth": Reader(released, load(released), damage=ends),
        "authors' .pth, values": Reader(released, load(released), damage=_other_weights),
        "authors' old .pth": Reader(old, load(old), damage=ends),
        "config.json beside": Reader(settings, load(released), damage=other_json),
        "safetensors": Reader(exported["safetensors"], load(exported["safetensors"]), damage=_other_safetensors),
        "onnx": Reader(exported["onnx"], load(exported["onnx"])),
        "onnx, metadata": Reader(exported["onnx"], load(exported["onnx"]), damage=_other_onnx),
        "torchscript": Reader(exported["torchscript"], load(exported["torchscript"]), damage=ends),
    }


def _used(loaded: Any) -> object:
    """Embed a picture, as whatever loads a model does next."""
    import torch

    side = loaded.preprocessing.size
    with torch.inference_mode():
        return loaded.backbone(torch.zeros(1, 3, side, side))


def config() -> Any:
    """Return the settings of the run whose files are damaged."""
    from training.settings.recipes import TINY

    return replace(TINY, size=_SIZE, model=replace(TINY.model, backbone="linear", embedding_size=_EMBEDDING))


def form() -> Any:
    """Return how its pictures are prepared."""
    from pipeline.alignment.align import preprocessing

    return preprocessing("paper", _SIZE)


def know_linear() -> None:
    """Add a backbone whose files are so small that damage hits every part of them."""
    from torch import nn

    from training.networks.backbones import BACKBONES

    BACKBONES["linear"] = lambda _, size, length: nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, length))


def write_checkpoint(path: Path, step: int) -> None:
    """Write a checkpoint of it after one step of the optimiser, and give it a number of steps."""
    import torch

    from training.checkpoints.checkpoint import Checkpoint, save_checkpoint
    from training.engine.training_state import new_state
    from training.ranks.world import ALONE

    torch.manual_seed(0)
    state = new_state(config(), 5, ALONE)
    for parameter in state.learner.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    whole, _, _ = state.divided()
    origin = {"config": config().to_dict(), "recipe": "tiny", "identities": 5, "shards_sha256": "0" * 64}
    save_checkpoint(path, Checkpoint(step=step, preprocessing=form(), **origin, **whole))


def ends(data: bytes, random_: random.Random) -> bytes:
    """Damage a file, of a large one mostly its beginning or its end, where everything but plain numbers is."""
    many = 4096
    if len(data) < 3 * many or random_.random() < 0.2:
        return mutated(data, random_)
    if random_.random() < 0.5:
        return mutated(data[:many], random_) + data[many:]
    return data[:-many] + mutated(data[-many:], random_)


def other_checkpoint(data: bytes, random_: random.Random) -> bytes:
    """Write a checkpoint anew, with its checksum, and with other values in it."""
    import torch

    from training.checkpoints.checksummed_file import write_data

    other = other_fields(torch.load(io.BytesIO(data), weights_only=True), random_)
    buffer = io.BytesIO()
    write_data(buffer, other)
    return buffer.getvalue()


def _other_weights(data: bytes, random_: random.Random) -> bytes:
    """Write weights anew with entries missing, added, of another shape or another kind."""
    import torch

    state: dict[Any, Any] = dict(torch.load(io.BytesIO(data), weights_only=True))
    name = random_.choice(list(state))
    value = state.pop(name)
    others = [
        None, value.T if value.ndim == 2 else value[None], value.reshape(-1), value[:0], value.double(), value.long(),
        value.to(torch.complex64), value.bool(), value.flatten()[0], torch.nn.Parameter(value), 3, "x", [value],
    ]  # fmt: skip
    names: list[Any] = [name, name, f"module.{name}", "x", 7, ("a",), "99999999999.weight", f"{name}.weight"]
    state[random_.choice(names)] = random_.choice(others)
    buffer = io.BytesIO()
    torch.save(other_fields(state, random_) if random_.random() < 0.2 else state, buffer)
    return buffer.getvalue()


def _other_safetensors(data: bytes, random_: random.Random) -> bytes:
    """Damage bytes, the header, or the metadata in it."""
    way = random_.random()
    if way < 0.4:
        return mutated(data, random_)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if way < 0.7:
        text = json.dumps(other_fields(header, random_)).encode()
    else:
        (name,) = header["__metadata__"]
        header["__metadata__"][name] = other_json(header["__metadata__"][name].encode(), random_).decode("latin-1")
        text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _other_onnx(data: bytes, random_: random.Random) -> bytes:
    """Write an ONNX model anew with other metadata."""
    import onnx

    model = onnx.load_from_string(data)
    (entry,) = model.metadata_props
    entry.value = other_json(entry.value.encode(), random_).decode("latin-1")
    content: bytes = model.SerializeToString()
    return content
