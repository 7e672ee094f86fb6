"""Epochs as steps."""

from collections.abc import Sequence
from dataclasses import replace

from shards.command import UserError
from shards.format import read_manifest
from shards.storage.places import Folder
from training.settings.config import Config


def in_steps(config: Config, shards: Sequence[Folder]) -> Config:
    """Return the settings of a run with everything that they give in epochs turned into steps.

    An epoch has as many steps as the items of all folders make full batches.

    Args:
        config: as told.
        shards: the shard folders of the run.

    Raises:
        UserError: a folder cannot be read, or holds less than one batch.
    """
    optimizer = config.optimizer
    if not (config.epochs or optimizer.milestone_epochs or optimizer.warmup_epochs):
        return config
    manifests = [read_manifest(folder) for folder in shards]
    items = sum(one.photos if config.sampling == "photo" else one.identities for one in manifests)
    each = items // config.batch
    if not each:
        what = "photos" if config.sampling == "photo" else "identities"
        raise UserError(f"{items} {what} for a batch of {config.batch}: no epoch; give a smaller --batch")
    milestones = tuple(round(epochs * each) for epochs in optimizer.milestone_epochs)
    told = replace(
        optimizer,
        milestones=optimizer.milestones or milestones,
        milestone_epochs=(),
        warmup_steps=optimizer.warmup_steps or round(optimizer.warmup_epochs * each),
        warmup_epochs=0.0,
    )
    return replace(config, optimizer=told, steps=config.steps or max(1, round(config.epochs * each)), epochs=0.0)
