"""A backbone out of a file, ours or the authors', ready to embed or to be trained on; no code in a file is run."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.alignment.align import preprocessing as preprocessing_of
from shards.command import UserError, first_line
from shards.digest import file_sha256
from shards.format import Preprocessing
from training.checkpoints.checkpoint import is_checkpoint, load_checkpoint
from training.checkpoints.checksummed_file import load_data
from training.networks.authors_settings import warn_of_contradicting_settings
from training.networks.backbones import fitting_backbone
from training.networks.spherenet import load_flat_spherenet

TRUSTED = "TRUSTED_BACKBONES"
"""Environment variable: import paths of backbones, separated by commas, that a checkpoint may name."""


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone ready to embed, and where it comes from.

    Attributes:
        backbone: in evaluation mode, on the CPU.
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


def load_backbone(path: Path) -> LoadedBackbone:
    """Load a backbone from one of our checkpoints or from the authors' plain state dict.

    The authors' files are recognised by their content. They carry no preprocessing: it is the published one
    (template "paper"), at the size that the last layer implies; what a `config.json` beside them says otherwise is told
    as a warning. No code in a file is run, nor any that a file names: a checkpoint whose backbone is an import path
    loads only where `TRUSTED_BACKBONES` names it too.

    Raises:
        UserError: the file is missing, damaged or neither of the two, or names a backbone that is not trusted.
    """
    data = load_data(path)
    sha256 = file_sha256(path)
    if is_checkpoint(data):
        checkpoint = load_checkpoint(path, checked=True)
        model = checkpoint.config["model"]
        size = checkpoint.preprocessing.size
        refuse_untrusted(path, model["backbone"])
        try:
            backbone = fitting_backbone(model["backbone"], size, model["embedding_size"], checkpoint.backbone)
        except ValueError as error:
            raise UserError(f"{path} does not fit the backbone {model['backbone']}: {error}") from error
        return LoadedBackbone(
            backbone.eval(),
            checkpoint.preprocessing,
            model["backbone"],
            checkpoint.step,
            checkpoint.recipe,
            sha256,
        )
    try:
        if not all(isinstance(value, torch.Tensor) for value in data.values()):
            raise ValueError("not all of its entries are tensors")
        # Copies: the file is mapped into memory.
        name, size, backbone = load_flat_spherenet({key: value.clone() for key, value in data.items()})
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is neither a checkpoint of a training run nor a plain SphereNet state dict: {first_line(error)}"
        ) from error
    *_, last = backbone.parameters()
    warn_of_contradicting_settings(path, backbone=name, size=size, embedding_size=len(last))
    return LoadedBackbone(backbone.float().eval(), preprocessing_of("paper", size), name, None, None, sha256)


def refuse_untrusted(path: Path, backbone: str) -> None:
    """Refuse a file that chooses what is imported, unless the user has chosen the same."""
    if ":" in backbone and backbone not in os.environ.get(TRUSTED, "").split(","):
        raise UserError(
            f"{path} names the backbone {backbone}, whose module would be imported; "
            f"set {TRUSTED}={backbone} if you trust it"
        )
