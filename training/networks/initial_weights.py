"""Fine-tuning: a backbone that begins with the weights of another run, of the authors, or of any recogniser."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pipeline.alignment.align import preprocessing as preprocessing_of
from pipeline.sampling.sampler import photo_groups
from shards.command import UserError, first_line
from shards.format import WHOLE, Preprocessing
from training.checkpoints.checkpoint import WeightsFile
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import blank_input
from training.networks.exported_file import load_trainable
from training.networks.input_adapter import adapt_input
from training.settings.config import Config, Model


@dataclass(frozen=True)
class InitialBackbone:
    """What a fine-tuned run begins with.

    Attributes:
        backbone: with the weights.
        preprocessing: what its pictures went through.
        origin: the file, for the checkpoints of the run.
    """

    backbone: nn.Module
    preprocessing: Preprocessing
    origin: WeightsFile

    def copy_to(self, backbone: nn.Module) -> None:
        """Give its weights to the backbone of a run.

        Raises:
            UserError: the two have other shapes.
        """
        try:
            backbone.load_state_dict(self.backbone.state_dict())
        except RuntimeError as error:
            raise UserError(
                f"{self.origin.file} does not fit the network of this run ({first_line(error)}); "
                "give --model.backbone and --model.embedding_size as it was trained"
            ) from error


def load_initial(path: Path, config: Config) -> InitialBackbone:
    """Load the backbone to begin with, from a file of any recogniser, as of `load_trainable`.

    Raises:
        UserError: no such file, or a network other than the run's.
    """
    loaded = load_trainable(path)
    if loaded.name != config.model.backbone:
        raise UserError(
            f"{path} holds a {loaded.name}, this run is of a {config.model.backbone}; "
            f"give --model.backbone {loaded.name}"
        )
    return _of_size(path, loaded, config)


def load_teacher(path: Path | None, config: Config, begun: WeightsFile | None) -> InitialBackbone | None:
    """Load the frozen network that a run learns from, None where it has none.

    Args:
        path: a file of any recogniser, as of `load_trainable`.
        config: of the run.
        begun: the teacher that a continued run started with.

    Raises:
        UserError: no such file, another one than the run was started with, or one without or against the settings.
    """
    if path is None:
        if config.distillation.is_on:
            raise UserError("distillation weights without a teacher; name its checkpoint with --teacher")
        return None
    if not config.distillation.is_on:
        raise UserError(f"--teacher {path} with all distillation weights 0; use --recipe adapt or give a weight")
    groups = photo_groups(config.views, config.sampling)
    if any(config.views.ranges[group[0]] != (config.size, config.size) for group in groups):
        raise UserError(
            f"a teacher needs each photo in full ({config.size} pixels) in the first view that shows it, found sizes "
            f"{list(config.views.sizes)} with photos {config.views.photos}; "
            f"give --views.photos paired with a first half of {config.size}"
        )
    loaded = load_trainable(path)
    if begun is not None and begun.sha256 != loaded.sha256:
        raise UserError(
            f"the run was started with the teacher {begun.file}, {path} is another file; "
            "name the same teacher or choose another --run-dir"
        )
    return _of_size(path, loaded, config)


def _of_size(path: Path, loaded: LoadedBackbone, config: Config) -> InitialBackbone:
    """Return a loaded backbone, or refuse one for faces of another size than the run's."""
    if loaded.preprocessing.size != config.size:
        raise UserError(
            f"{path} was trained on faces of {loaded.preprocessing.size} pixels, this run is of {config.size}; "
            f"give --size {loaded.preprocessing.size} and shards of that size"
        )
    form = as_told(loaded.preprocessing, config.model)
    return InitialBackbone(adapt_input(loaded.backbone, form), form, WeightsFile(str(path), loaded.sha256))


def as_told(own: Preprocessing, told: Model) -> Preprocessing:
    """Return how a file's pictures are prepared: as a run's settings tell it, and for the rest as the file says."""
    placed = own if told.template is None else preprocessing_of(told.template, own.size).with_input_of(own)
    return replace(
        placed,
        colour=told.colour or own.colour,
        mean=own.mean if told.mean is None else told.mean,
        deviation=told.deviation or own.deviation,
    )


def following(config: Config, path: Path) -> Config:
    """Return a recipe for the network of a file: its backbone, its length of embeddings and the size of its pictures.

    Raises:
        UserError: no such file, or no recogniser.
    """
    loaded = load_trainable(path)
    size = loaded.preprocessing.size
    with torch.no_grad():
        embedding_size = loaded.backbone(*blank_input(loaded.backbone, 1, size)).shape[1]
    sizes = tuple(size if side == config.size else side for side in config.views.sizes)
    form = loaded.preprocessing
    print(f"{path}: {loaded.name}, {form.template} template, {form.size} pixels, {form.input_told}", file=sys.stderr)
    return replace(
        config,
        model=replace(config.model, backbone=loaded.name, embedding_size=embedding_size),
        size=size,
        views=replace(config.views, sizes=sizes),
    )


def fine_tuned(initial: Preprocessing, shards: Preprocessing, path: Path | str, folder: object) -> Preprocessing:
    """Return the preprocessing of a run that continues another one's training.

    Pictures taken whole, those of the low-resolution sets, have no landmarks to be aligned by: a network trained on
    aligned faces may go on with them, and where a face is aligned it still is on the network's own template.

    Raises:
        UserError: the shards differ from what the network was trained on, naming both.
    """
    if shards.template == WHOLE and shards.size == initial.size:
        return initial
    if differences := initial.differences(shards):
        raise UserError(
            f"{path} and {folder} differ in {differences[0]}; write the shards as the network was trained, "
            "or begin with another checkpoint"
        )
    return shards.with_input_of(initial)
