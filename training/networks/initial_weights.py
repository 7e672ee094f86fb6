"""Fine-tuning: a backbone that begins with the weights of another run, or of the authors."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from shards.command import UserError, first_line
from shards.format import WHOLE, Preprocessing
from training.checkpoints.checkpoint import Initial
from training.networks.backbone_file import load_backbone
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
    origin: Initial

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
    if loaded.preprocessing.size != config.size:
        raise UserError(
            f"{path} was trained on faces of {loaded.preprocessing.size} pixels, this run is of {config.size}; "
            f"give --size {loaded.preprocessing.size} and shards of that size"
        )
    return InitialBackbone(loaded.backbone, loaded.preprocessing, Initial(str(path), loaded.sha256))


def fine_tuned(initial: Preprocessing, shards: Preprocessing, path: Path | str, folder: object) -> Preprocessing:
    """Return the preprocessing of a run that goes on from another one.

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
