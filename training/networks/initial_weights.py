"""Fine-tuning: a backbone that begins with the weights of another run, or of the authors."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pipeline.sampling.sampler import photo_groups
from shards.command import UserError, first_line
from shards.format import WHOLE, Preprocessing
from training.checkpoints.checkpoint import WeightsFile
from training.networks.backbone_file import LoadedBackbone, load_backbone
from training.settings.config import Config


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
    """Load the backbone to begin with, from a checkpoint of ours or the authors'.

    Raises:
        UserError: no such file, or a network other than the run's.
    """
    loaded = load_backbone(path)
    if loaded.name != config.model.backbone:
        raise UserError(
            f"{path} holds a {loaded.name}, this run is of a {config.model.backbone}; "
            f"give --model.backbone {loaded.name}"
        )
    return _of_size(path, loaded, config)


def load_teacher(path: Path | None, config: Config, begun: WeightsFile | None) -> InitialBackbone | None:
    """Load the frozen network that a run learns from, None where it has none.

    Args:
        path: checkpoint, ours or the authors'.
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
    loaded = load_backbone(path)
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
    return InitialBackbone(loaded.backbone, loaded.preprocessing, WeightsFile(str(path), loaded.sha256))


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
    return shards
