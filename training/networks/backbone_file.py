"""A backbone out of a PyTorch file, of whichever project, ready to embed or to be trained on; no code in it is run."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.alignment.align import preprocessing as preprocessing_of
from shards.command import UserError
from shards.digest import file_sha256
from shards.format import Preprocessing
from training.checkpoints.checkpoint import is_checkpoint, load_checkpoint
from training.checkpoints.checksummed_file import load_data
from training.networks.authors_settings import warn_of_contradicting_settings
from training.networks.backbones import fitting_backbone
from training.networks.input_adapter import adapt_input
from training.networks.spherenet import load_flat_spherenet
from training.peers.state_dicts import keys_told, plain_state, recognised

TRUSTED = "TRUSTED_BACKBONES"
"""Environment variable: import paths of backbones, separated by commas, that a checkpoint may name."""


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone ready to embed, and where it comes from.

    Attributes:
        backbone: in evaluation mode, on the CPU; takes RGB in [-1, 1] whatever its project does (`adapt_input`).
        preprocessing: what its pictures must go through.
        name: of the architecture.
        step: steps of training, or None where the file does not say.
        recipe: name of the recipe, or None.
        sha256: of the file.
    """

    backbone: nn.Module
    preprocessing: Preprocessing
    name: str
    step: int | None
    recipe: str | None
    sha256: str


def load_backbone(path: Path, averaged: bool = False) -> LoadedBackbone:
    """Load a backbone from one of our checkpoints, the authors' plain state dict, or a file of another project.

    Files that are not ours are recognised by their keys and shapes. They carry no preprocessing: it is what their
    project trains with, for the authors the published one (template "paper"), at the size that the last layer implies;
    a `config.json` beside the authors' that says otherwise gives a warning. No code in a file is run, nor any that
    a file names: a checkpoint whose backbone is an import path loads only where `TRUSTED_BACKBONES` names it too.

    Args:
        path: the file.
        averaged: take the moving average of the weights, which a run with `optimizer.average` keeps.

    Raises:
        UserError: the file is missing, damaged or none of these, names a backbone that is not trusted, or holds no
            average.
    """
    data = load_data(path, foreign=True)
    sha256 = file_sha256(path)
    if is_checkpoint(data):
        return _of_checkpoint(path, sha256, averaged)
    if averaged:
        raise UserError(f"{path} holds no average of weights, only the trained ones; leave the option out")
    return from_state(path, data, sha256)


def from_state(path: Path, data: dict[str, Any], sha256: str) -> LoadedBackbone:
    """Load a backbone from a state dict of the authors or another project, or from a dict that holds one.

    Args:
        path: of the file, for messages.
        data: what it holds.
        sha256: of the file.

    Raises:
        UserError: a network that is not known here.
    """
    if (peer := recognised(data)) is not None:
        form = replace(
            preprocessing_of(peer.template, peer.size), colour=peer.colour, mean=peer.mean, deviation=peer.deviation
        )
        backbone = fitting_backbone(peer.name, peer.size, peer.embedding_size, peer.state)
        return LoadedBackbone(adapt_input(backbone.eval(), form), form, peer.name, None, None, sha256)
    # Copies: the file is mapped into memory.
    state = {key: value.clone() for key, value in plain_state(data).items()}
    try:
        name, size, backbone = load_flat_spherenet(state)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} holds {keys_told(data)}, of no network that is known here; name the code that builds it, as "
            "package.module:callable, or export it to ONNX"
        ) from error
    *_, last = backbone.parameters()
    warn_of_contradicting_settings(path, backbone=name, size=size, embedding_size=len(last))
    return LoadedBackbone(backbone.float().eval(), preprocessing_of("paper", size), name, None, None, sha256)


def _of_checkpoint(path: Path, sha256: str, averaged: bool) -> LoadedBackbone:
    """Load the backbone of a checkpoint of ours."""
    checkpoint = load_checkpoint(path, checked=True)
    model, form = checkpoint.config["model"], checkpoint.preprocessing
    state = checkpoint.averaged if averaged else checkpoint.backbone
    if state is None:
        raise UserError(f"{path} holds no average of weights; train with --optimizer.average, or leave the option out")
    if averaged:
        # Other weights than the file's own are another model.
        sha256 = hashlib.sha256(f"{sha256} averaged".encode()).hexdigest()
    refuse_untrusted(path, model["backbone"])
    try:
        backbone = fitting_backbone(model["backbone"], form.size, model["embedding_size"], state)
    except ValueError as error:
        raise UserError(f"{path} does not fit the backbone {model['backbone']}: {error}") from error
    return LoadedBackbone(
        adapt_input(backbone.eval(), form), form, model["backbone"], checkpoint.step, checkpoint.recipe, sha256
    )


def refuse_untrusted(path: Path, backbone: str) -> None:
    """Refuse a file that chooses what is imported, unless the user has chosen the same."""
    if ":" in backbone and backbone not in os.environ.get(TRUSTED, "").split(","):
        raise UserError(
            f"{path} names the backbone {backbone}, whose module would be imported; "
            f"set {TRUSTED}={backbone} if you trust it"
        )
