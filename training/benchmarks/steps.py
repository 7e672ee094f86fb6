"""The ways of doing a step that `python -m training.bench` compares, and what bounds them."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.benchmarks.runner import in_rounds
from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from training.engine.compiling import compiler_fault
from training.engine.optimizer import build_optimizer
from training.engine.step import Learner, build_learner, for_training, losses_and_gradients
from training.networks.backbones import channels_last
from training.objectives.losses import cross_resolution_triplet
from training.ranks.machine import keep_freed_memory, return_freed_memory
from training.ranks.world import World
from training.settings.config import Config

Step = Callable[[Batch], None]


@dataclass(frozen=True)
class Way:
    """A way of doing a step.

    Attributes:
        name: as the report has it; one that begins with + adds a lever to the way before it.
        one_pass: all views in one forward pass, else one for each.
        channels_last: the memory format of weights and pictures.
        reads_loss: the host waits for the loss of every step.
        keeps_memory: on a CPU, the allocator keeps freed memory; see `keep_freed_memory`.
        fused: the optimiser goes through the memory once.
        trainer: the trainer's own step, with all of the above and its optimiser.
        compiled: by torch.compile.
        precision: of the trainer.
    """

    name: str
    one_pass: bool = False
    channels_last: bool = False
    reads_loss: bool = True
    keeps_memory: bool = False
    fused: bool = False
    trainer: bool = False
    compiled: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"


STRAIGHTFORWARD = Way("straightforward")
TRAINER = Way("the trainer", True, True, False, True, True, trainer=True)


def ways(compiling: bool) -> list[Way]:
    """Return the straightforward way, each lever added to those before it, and the trainer with its options."""
    one_pass = replace(STRAIGHTFORWARD, name="+ one pass over all views", one_pass=True)
    last = replace(one_pass, name="+ channels last", channels_last=True)
    unread = replace(last, name="+ losses left on the device", reads_loss=False)
    kept = replace(unread, name="+ freed memory kept", keeps_memory=True)
    fused = replace(kept, name="+ fused SGD", fused=True)
    ladder = [STRAIGHTFORWARD, one_pass, last, unread, kept, fused, TRAINER]
    narrow = replace(TRAINER, name="the trainer, bfloat16", precision="bfloat16")
    if compiling:
        ladder.append(replace(TRAINER, name="the trainer, compiled", compiled=True))
    ladder.append(narrow)
    if compiling:
        ladder.append(replace(narrow, name="the trainer, bfloat16, compiled", compiled=True))
    return ladder


def straightforward_losses(learner: Learner, batch: Batch, config: Config) -> Tensor:
    """Return the full loss of a batch, view by view: a forward pass and a classification loss for each."""
    classification, embeddings = [], []
    for view in batch.views:
        pictures = Batch(batch.step, batch.labels, (view,), batch.photos, batch.size).network_input().contiguous()
        embedded = learner.backbone(pictures)
        logits = learner.head(embedded, batch.labels)
        classification.append(F.cross_entropy(logits, batch.labels))
        embeddings.append(embedded)
    return _with_triplet(torch.stack(classification).mean(), torch.cat(embeddings), batch, config)


def one_pass_losses(learner: Learner, batch: Batch, config: Config, *, channels_last: bool) -> Tensor:
    """Return the same loss from one forward pass over all views."""
    pictures, labels = batch.network_input(), batch.view_labels()
    embedded = learner.backbone(pictures if channels_last else pictures.contiguous())
    return _with_triplet(F.cross_entropy(learner.head(embedded, labels), labels), embedded, batch, config)


def _with_triplet(classification: Tensor, embeddings: Tensor, batch: Batch, config: Config) -> Tensor:
    labels = batch.view_labels()
    rows = torch.arange(len(labels), device=labels.device)
    losses = config.losses
    triplets = cross_resolution_triplet(embeddings, labels, rows, embeddings, labels, losses.triplet_margin)
    return classification + losses.triplet_weight * triplets.loss


def build_step(way: Way, config: Config, identities: int, device: str) -> Step:
    """Return a function that does one step of a way, on a network of its own that begins as all others do."""
    place = torch.device("cuda" if device == "gpu" else "cpu")
    config = replace(config, precision=way.precision, compile=way.compiled)
    learner = build_learner(config, identities).to(place)
    if way.channels_last:
        learner = channels_last(learner)
    optimizer = build_optimizer(config.optimizer, learner) if way.fused else _plain_optimizer(config, learner)
    if way.trainer:
        world = World(0, 1, place)
        trained = for_training(learner, config, world)

        def trainer_step(batch: Batch) -> None:
            optimizer.zero_grad(set_to_none=True)
            losses_and_gradients(trained, batch, config, world)
            optimizer.step()

        return trainer_step

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        if way.one_pass:
            loss = one_pass_losses(learner, batch, config, channels_last=way.channels_last)
        else:
            loss = straightforward_losses(learner, batch, config)
        loss.backward()
        optimizer.step()
        if way.reads_loss:
            loss.item()

    return step


def _plain_optimizer(config: Config, learner: Learner) -> torch.optim.Optimizer:
    settings = config.optimizer
    return torch.optim.SGD(
        learner.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def measure_rounds(options: Any, config: Config, batch: Batch) -> dict[str, list[float]]:
    """Return the seconds of a step of every way in every round."""
    device = torch.device("cuda" if options.device == "gpu" else "cpu")
    fault = None if options.no_compile else compiler_fault(device)
    if fault is not None:
        print(f"torch.compile left out: {fault}", file=sys.stderr)
    batch = batch.to(device)
    identities = max(options.identities, int(batch.labels.max()) + 1)
    steps = {
        way: build_step(way, config, identities, options.device) for way in ways(not options.no_compile and not fault)
    }
    by_name = {way.name: way for way in steps}

    def timed(name: str, _round: int) -> float:
        way = by_name[name]
        (keep_freed_memory if way.keeps_memory else return_freed_memory)()
        if way.keeps_memory:
            steps[way](batch)  # settles what is kept
        return _timed(partial(steps[way], batch), options.steps, device)

    for step in steps.values():
        step(batch)  # compiles and allocates
    seconds = in_rounds(by_name, options.rounds, timed, lambda took: f"{took:.3f} s a step")
    return_freed_memory()
    return seconds


def _timed(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the seconds of one of several steps, the device's work included."""
    _synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    _synchronise(device)
    return (time.perf_counter() - start) / steps


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_waiting(options: Any, config: Config, loader: Loader) -> float:
    """Return the share of the time, 0..1, that the trainer waits for data while it trains from the loader."""
    device = torch.device("cuda" if options.device == "gpu" else "cpu")
    step = build_step(TRAINER, config, max(options.identities, loader.identities), options.device)
    step(next(loader).to(device))
    _synchronise(device)
    waiting, start = 0.0, time.perf_counter()
    for _ in range(options.waiting_steps):
        asked = time.perf_counter()
        batch = next(loader).to(device)
        waiting += time.perf_counter() - asked
        step(batch)
    _synchronise(device)
    return waiting / (time.perf_counter() - start)


@dataclass(frozen=True)
class Arithmetic:
    """What the arithmetic of a step alone asks of a machine.

    Attributes:
        tflop: 10**12 floating point operations of a step of the backbone, forward and backward.
        tflop_per_second: the most that one large operation, a convolution or a matrix product, does here in float32.
    """

    tflop: float
    tflop_per_second: float

    @property
    def seconds(self) -> float:
        """Least seconds of a float32 step on this machine."""
        return self.tflop / self.tflop_per_second


def arithmetic(config: Config, pictures: int, device: str) -> Arithmetic:
    """Count the operations of a step, and measure how fast this machine does such operations."""
    place = torch.device("cuda" if device == "gpu" else "cpu")
    backbone = build_learner(config, 2).backbone.to(place)
    with FlopCounterMode(display=False) as counter:
        # Two pictures, for batch norms.
        backbone(torch.zeros(2, 3, config.size, config.size, device=place)).sum().backward()
    return Arithmetic(counter.get_total_flops() / 2 * pictures / 1e12, _fastest(place) / 1e12)


@torch.no_grad()
def _fastest(device: torch.device) -> float:
    """Return floating point operations a second: the better of a large convolution and a large matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    square = torch.randn(side, side, device=device)
    pictures = torch.randn(64, 256, 16, 16, device=device).to(memory_format=torch.channels_last)
    network = channels_last(nn.Conv2d(256, 256, 3, padding=1, device=device))
    fastest = 0.0
    for flop, work in (
        (2 * side**3, lambda: square @ square),
        (2 * 9 * 256 * 256 * 64 * 16 * 16, lambda: network(pictures)),
    ):
        work()
        fastest = max(fastest, *(flop / _timed(work, 3, device) for _ in range(2)))
    return fastest
