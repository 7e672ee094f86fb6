"""A small recogniser that knows full faces alone: what an adaptation begins with where nothing can be downloaded."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from experiments.trials.populations import rendered_population
from experiments.trials.settings import HOUR
from experiments.trials.variants import VARIANTS, configuration
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from shards.command import UserError
from training.checkpoints.run_folder import FINAL
from training.engine.loop import train
from training.engine.run import Run
from training.networks.backbone_file import TRUSTED
from training.ranks.world import joined_world

_PHOTOS = 8
# None of the people of an experiment, who are drawn with seed 0.
_SEED = 1


def rendered_recogniser(out: Path, people: int, workers: int, steps: int) -> Path:
    """Train a small network on rendered people in full size, or return the one that was trained before.

    Args:
        out: folder of its people, shards and run.
        people: number of rendered people, at least 4.
        workers: processes of rendering and sharding.
        steps: of the training.

    Returns:
        the checkpoint.

    Raises:
        UserError: the training was stopped.
    """
    (part,) = (part for part in HOUR.parts if part.name == "rendered")
    full_size = configuration(VARIANTS[0], part.config, seed=_SEED)
    milestones = (steps * 60 // 100, steps * 85 // 100)
    config = replace(
        full_size,
        steps=steps,
        batch=min(full_size.batch, people),
        optimizer=replace(full_size.optimizer, milestones=milestones),
    )
    os.environ[TRUSTED] = config.model.backbone
    out.mkdir(parents=True, exist_ok=True)
    drawn = rendered_population(out / "people", identities=people, photos=_PHOTOS, seed=_SEED, workers=workers)
    shard(Plan(drawn.source(), Settings(size=config.size, codec="png")), out / "shards", workers=workers)
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=True)
    with joined_world("cpu") as world:
        done = train(Run(config, "ablation", (out / "shards",), out / "run", resume=True), world)
    torch.set_num_threads(threads)
    if done < config.steps:
        raise UserError(f"the recogniser's training was stopped at step {done}; run the same command again")
    return out / "run" / FINAL
