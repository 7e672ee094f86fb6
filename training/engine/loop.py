"""The loop of a run: from a shard folder to a final checkpoint, continued wherever it was interrupted."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from pipeline.loading.batch import Batch
from training.checkpoints.checkpoint import Best
from training.engine.compiling import waiting_for_compilers
from training.engine.finite_guard import FiniteGuard
from training.engine.gradient_norm import clip_gradients
from training.engine.next_batch import BatchFetcher
from training.engine.optimizer import set_learning_rate
from training.engine.run import Job, Run, locked_run, open_run
from training.engine.saving import Saver
from training.engine.step import Trained, for_training, losses_and_gradients
from training.engine.training_state import TrainingState
from training.engine.validation import Validate
from training.monitoring.metrics_log import MetricsLog
from training.monitoring.run_page import note_start, try_to_write_page
from training.ranks.machine import machine_name
from training.ranks.stop_signals import StoppedEarly, StopRequests, stop_requests
from training.ranks.world import (
    World,
    any_rank,
    broadcast_from_main,
    errors_end_all_ranks,
    raise_on_all_ranks,
    wait_for_all,
)
from training.settings.config import Config


def train(run: Run, world: World, validate: Validate | None = None) -> int:
    """Train until the last step or a stop signal.

    Args:
        run: what to train and where.
        world: this process among all.
        validate: called every `config.validate_every` steps, only in the main process.

    Returns:
        the number of steps done.

    Raises:
        UserError: the run folder, the shards or the settings do not fit together, or a loss, a gradient or a weight is
            not finite.
    """
    with locked_run(run, world) as begun:
        if begun is not None and begun.step >= run.config.steps and not begun.validation_due:
            if world.is_main:
                print(f"{run.run_dir} is finished at step {begun.step}")
            return begun.step
        with open_run(run, world, begun) as job:
            del begun
            return _steps(job, world, validate)


def _steps(job: Job, world: World, validate: Validate | None) -> int:
    """Run the steps, and log, validate and save when each is due."""
    config, state = job.config, job.state
    trained = for_training(state.learner, config, world, state.step, job.teacher)
    guard = FiniteGuard(config, job.loader, state, job.run_dir, world)
    feed = BatchFetcher(job.loader, world.device, world.rank)
    begun = state.step
    saver = Saver(job.run_dir, job.origin, config, world)
    log = _begin_log(job, world) if world.is_main else None
    try:
        with stop_requests() as stops:
            stopping = state.validation_due and _validate_pending(job, world, validate, log, stops, saver)
            if state.step < config.steps and not stopping:
                feed.fetch()
                raise_on_all_ranks(world, feed.mistake)
            while state.step < config.steps and not stopping:
                if state.step == config.optimizer.frozen_steps > 0:
                    trained = for_training(state.learner, config, world, state.step, job.teacher)
                with _compiling(config, state.step, begun, stops, world):
                    rate = _step(job, trained, feed.take(), guard, world)
                last = state.step == config.steps
                if not last:
                    feed.fetch()
                # Patiently: the data of one rank may come late.
                stops.made, failed = any_rank(stops.made, feed.mistake is not None, group=world.patient)
                stopping = stops.made or failed
                log_due = last or _due(state.step, config.log_every)
                validating = validate if _due(state.step, config.validate_every) else None
                save_due = bool(stopping or last or validating or _due(state.step, config.checkpoint_every))
                values = guard.read(before_saving=save_due) if log_due or save_due else {}
                _log_step(log, state.step, {**values, "learning_rate": rate} if log_due else None, feed)
                is_best = validating is not None and _validated(job, world, validating, log, stops)
                if validating:
                    stopping = any_rank(stops.made)[0] or failed
                if save_due:
                    _save(job, world, log, saver, is_best, background=not (stopping or last))
                if failed:
                    raise_on_all_ranks(world, feed.mistake)
            saver.wait()
    except StoppedEarly:
        if world.is_main:
            print(
                f"step {state.step + 1} interrupted; it is done again when the run continues",
                file=sys.stderr,
                flush=True,
            )
    finally:
        saver.close()
        if log is not None:
            log.close()
            try_to_write_page(job.run_dir)
    return state.step


@contextmanager
def _compiling(config: Config, step: int, begun: int, stops: StopRequests, world: World) -> Iterator[None]:
    """Do a step of a compiled run: that which begins it compiles, which takes minutes, and that which thaws it."""
    if not config.compile or step not in (begun, config.optimizer.frozen_steps):
        yield
        return
    # Nothing is lost if the first step is interrupted: its start is on disk.
    with waiting_for_compilers(world, config.timeout), stops.stops_early() if step == begun else nullcontext():
        yield


def _step(job: Job, trained: Trained, batch: Batch, guard: FiniteGuard, world: World) -> float:
    """Do a step, and return its learning rate."""
    config, state = job.config, job.state
    assert batch.step == state.step
    rate = set_learning_rate(state.optimizer, config.optimizer, state.step, config.steps)
    state.optimizer.zero_grad(set_to_none=True)
    guard.note(batch, losses_and_gradients(trained, batch, config, world))
    clip_gradients(state.learner, config.optimizer)
    state.optimizer.step()
    if state.average is not None:
        state.average.follow(state.learner.backbone)
    state.step += 1
    return rate


def _log_step(log: MetricsLog | None, step: int, values: dict[str, float] | None, feed: BatchFetcher) -> None:
    """Show the progress in the main process, and write values, if there are any, as a line of metrics."""
    if log is not None and values is not None:
        log.log(step, values, feed.waiting)
    if values is not None:
        feed.waiting = 0.0
    if log is not None:
        log.advance(step)


def _due(step: int, every: int) -> bool:
    """Return whether something is due that is done every `every` steps; 0 for never."""
    return every > 0 and step % every == 0


def _validated(job: Job, world: World, validate: Validate, log: MetricsLog | None, stops: StopRequests) -> bool:
    """Validate the backbone in the main process; every rank learns whether it is the best so far.

    A stop request interrupts the validation, which is then done when the run continues.
    """
    state, backbone = job.state, job.state.learner.backbone
    state.validation_due = True
    if world.is_main:
        # Kept for each module: frozen batch norms stay in evaluation mode.
        training, started = {one: one.training for one in backbone.modules()}, time.monotonic()
        try:
            with stops.stops_early(), state.average.lent_to(backbone) if state.average else nullcontext():
                figures = validate(backbone.eval(), state.step)
        except StoppedEarly:
            print(
                f"validation at step {state.step} interrupted; it is done again when the run continues",
                file=sys.stderr,
                flush=True,
            )
        else:
            _record_validation(state, figures)
            if log is not None:
                log.validated(state.step, figures, time.monotonic() - started)
        for module, was_training in training.items():
            module.training = was_training
    wait_for_all(world)
    state.best, state.validation_due = broadcast_from_main((state.best, state.validation_due))
    return not state.validation_due and state.best is not None and state.best.step == state.step


def _record_validation(state: TrainingState, figures: dict[str, float]) -> None:
    """Record the figures of a validation, and whether its step is the best."""
    name, value = next(iter(figures.items()))
    # A finite value is better than NaN.
    if state.best is None or value > state.best.value or math.isnan(state.best.value):
        state.best = Best(state.step, name, value)
    state.validation_due = False


def _validate_pending(
    job: Job, world: World, validate: Validate | None, log: MetricsLog | None, stops: StopRequests, saver: Saver
) -> bool:
    """Validate the step that a run continues from, if that was interrupted; return whether to stop again."""
    if validate is None:
        job.state.validation_due = False
    is_best = validate is not None and _validated(job, world, validate, log, stops)
    if not job.state.validation_due:
        _save(job, world, log, saver, is_best)
    return any_rank(stops.made)[0]


def _save(
    job: Job, world: World, log: MetricsLog | None, saver: Saver, is_best: bool, *, background: bool = False
) -> None:
    """Write a checkpoint, after the lines of metrics up to it are on disk."""
    with errors_end_all_ranks(world):
        if log is not None:
            log.sync()
    saver.save(job.state, is_best=is_best, background=background)


def _begin_log(job: Job, world: World) -> MetricsLog:
    """Record where the run starts or continues, and open its log."""
    origin = {
        "identities": job.origin.identities,
        "preprocessing": job.origin.preprocessing.to_dict(),
        "shards_sha256": job.origin.shards_sha256,
    }
    note_start(job.run_dir, origin, step=job.state.step, processes=world.size, device=machine_name(world.device))
    pictures = job.config.batch * len(job.config.views.sizes)
    return MetricsLog(job.run_dir, start_step=job.state.step, steps=job.config.steps, pictures_per_step=pictures)
