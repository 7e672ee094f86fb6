"""The run: from a shard folder to a final checkpoint, continued wherever it was interrupted."""

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.loader import Loader
from shards.command import UserError
from shards.writer import write_atomically
from training.batch_norm import over_global_batch
from training.checkpoint import (
    FINAL,
    Checkpoint,
    checkpoint_path,
    latest_checkpoint,
    manifest_digest,
    remove_old_checkpoints,
    save_checkpoint,
)
from training.config import Config, refuse_changes
from training.distributed import World, any_rank, mean_over_ranks
from training.metrics_log import MetricsLog
from training.model import channels_last
from training.schedule import learning_rate
from training.step import Learner, build_learner, step_losses

CONFIG = "config.json"


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes.

    Attributes:
        config: everything the run was told.
        recipe: the name it was started by.
        shards: shard folder.
        run_dir: folder of the run.
        resume: continue what is there.
    """

    config: Config
    recipe: str
    shards: Path
    run_dir: Path
    resume: bool


def train(run: Run, world: World) -> int:
    """Train to the end, or until a signal asks to stop.

    Returns:
        the number of steps done.

    Raises:
        UserError: the run folder, the shards or the settings do not fit together.
    """
    config = run.config
    begun = _begun(run)
    start_step = begun.step if begun else 0
    if begun is not None and begun.step >= config.steps:
        if world.is_main:
            print(f"{run.run_dir} is finished at step {begun.step}")
        return begun.step
    loader = _open_loader(run, world, start_step)
    _check_shards(run, loader, begun)
    _claim_run_dir(run, world)
    learner = channels_last(build_learner(config, loader.identities)).to(world.device)
    optimizer = torch.optim.SGD(
        learner.parameters(),
        lr=config.optimizer.learning_rate,
        momentum=config.optimizer.momentum,
        weight_decay=config.optimizer.weight_decay,
    )
    if begun is not None:
        learner.backbone.load_state_dict(begun.backbone)
        learner.head.load_state_dict(begun.head)
        optimizer.load_state_dict(begun.optimizer)
    elif world.is_main:
        _save(run, loader, learner, optimizer, 0)
    try:
        return _steps(run, world, loader, learner, optimizer, start_step)
    finally:
        loader.close()


def _steps(
    run: Run,
    world: World,
    loader: Loader,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    start_step: int,
) -> int:
    """The loop: one line a deed."""
    config = run.config
    trained: nn.Module = learner
    if world.size > 1:
        gpu_ids = [world.device.index] if world.device.type == "cuda" else None
        trained = DistributedDataParallel(over_global_batch(learner, world.device), device_ids=gpu_ids)
    pictures = config.batch * len(config.views.sizes)
    log = (
        MetricsLog(run.run_dir, start_step=start_step, steps=config.steps, pictures_per_step=pictures)
        if world.is_main
        else None
    )
    waiting, step = 0.0, start_step
    try:
        with _stop_requests() as stop_requested:
            while step < config.steps:
                asked = time.monotonic()
                batch = next(loader).to(world.device)
                waiting += time.monotonic() - asked
                assert batch.step == step
                rate = _set_learning_rate(optimizer, config, step)
                losses = step_losses(trained, batch, config, world)
                optimizer.zero_grad(set_to_none=True)
                losses.total.backward()
                optimizer.step()
                step += 1
                stopping = any_rank(stop_requested())
                log_due = step % config.log_every == 0 or step == config.steps
                save_due = stopping or step % config.checkpoint_every == 0 or step == config.steps
                if log_due or save_due:
                    # No checkpoint is written of weights whose loss is not finite.
                    values = _read_losses(losses.values(), config, step)
                if log_due and log is not None:
                    log.log(step, {**values, "learning_rate": rate}, waiting)
                if log_due:
                    waiting = 0.0
                if log is not None:
                    log.advance(step)
                if save_due and world.is_main:
                    _save(run, loader, learner, optimizer, step)
                if stopping:
                    break
    finally:
        if log is not None:
            log.close()
    return step


def _read_losses(values: Tensor, config: Config, step: int) -> dict[str, float]:
    """Read the losses from the device, the only place that waits for it; stop when one is not finite."""
    numbers = mean_over_ranks(values).tolist()
    views = [f"classification/{size}px" for size in config.views.sizes]
    if len(set(views)) < len(views):
        views = [f"{name}/view{number}" for number, name in enumerate(views)]
    names = ["loss", "triplet", "hardest_positive", "hardest_negative", "penalty", *views]
    read = dict(zip(names, numbers, strict=True))
    for name, value in read.items():
        if not math.isfinite(value):
            raise UserError(
                f"{name} is {value} at step {step}; lower --optimizer.learning_rate or resume from an earlier "
                "checkpoint with other data"
            )
    return read


def _set_learning_rate(optimizer: torch.optim.Optimizer, config: Config, step: int) -> float:
    schedule = config.optimizer
    rate = learning_rate(
        step,
        base=schedule.learning_rate,
        milestones=schedule.milestones,
        factor=schedule.factor,
        warmup_steps=schedule.warmup_steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


@contextmanager
def _stop_requests() -> Iterator[Any]:
    """Turn SIGTERM and SIGINT into a request that the loop honours after its step."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _begun(run: Run) -> Checkpoint | None:
    """Return the checkpoint to continue from, or None for a run that starts."""
    config_path = run.run_dir / CONFIG
    if not config_path.is_file():
        return None
    if not run.resume:
        raise UserError(f"{run.run_dir} holds a run; add --resume to continue it or choose another --run-dir")
    refuse_changes(json.loads(config_path.read_text(encoding="utf-8"))["config"], run.config.to_dict())
    return latest_checkpoint(run.run_dir)


def _claim_run_dir(run: Run, world: World) -> None:
    """Note the configuration in the run folder, once every rank has looked at what was there."""
    if world.size > 1:
        dist.barrier()
    if world.is_main:
        try:
            (run.run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
            about = {"recipe": run.recipe, "config": run.config.to_dict()}
            write_atomically(run.run_dir / CONFIG, (json.dumps(about, indent=1) + "\n").encode())
        except OSError as error:
            raise UserError(f"{run.run_dir} cannot be written ({error.strerror}); name another --run-dir") from error


def _open_loader(run: Run, world: World, start_step: int) -> Loader:
    config = run.config
    return Loader(
        run.shards,
        config.views,
        seed=config.seed,
        global_batch=config.batch,
        rank=world.rank,
        world=world.size,
        start_step=start_step,
        device="gpu" if world.device.type == "cuda" else "cpu",
        device_id=world.device.index or 0,
        threads=torch.get_num_threads(),
        prefetch=config.decoding.prefetch,
        hardware_load=config.decoding.hardware_load,
        quarantine=run.run_dir / f"quarantine-{world.rank}.csv",
        largest_damaged_share=config.largest_damaged_share,
    )


def _check_shards(run: Run, loader: Loader, begun: Checkpoint | None) -> None:
    """Refuse shards of another size than the network's, or others than the run was begun with."""
    size = loader.preprocessing.size
    if size != run.config.size:
        raise UserError(
            f"{run.shards} holds faces of {size} pixels, the network takes {run.config.size}; "
            f"give --size {size} with fitting --views.sizes, or write shards with --size {run.config.size}"
        )
    if begun is None:
        return
    if differences := begun.preprocessing.differences(loader.preprocessing):
        raise UserError(f"the checkpoint and {run.shards} differ in {differences[0]}; name the run's own shards")
    if begun.identities != loader.identities or begun.shards_sha256 != manifest_digest(run.shards):
        raise UserError(
            f"the run was begun on other shards of {begun.identities} identities, {run.shards} holds "
            f"{loader.identities}; name the run's own shards"
        )


def _save(run: Run, loader: Loader, learner: Learner, optimizer: torch.optim.Optimizer, step: int) -> None:
    checkpoint = Checkpoint(
        step=step,
        config=run.config.to_dict(),
        recipe=run.recipe,
        preprocessing=loader.preprocessing,
        identities=loader.identities,
        shards_sha256=manifest_digest(run.shards),
        backbone=learner.backbone.state_dict(),
        head=learner.head.state_dict(),
        optimizer=optimizer.state_dict(),
    )
    # A run counts as finished by its last numbered checkpoint, so the final one must be there before it.
    if step >= run.config.steps:
        save_checkpoint(run.run_dir / FINAL, checkpoint)
    save_checkpoint(checkpoint_path(run.run_dir, step), checkpoint)
    remove_old_checkpoints(run.run_dir, run.config.keep_checkpoints)
