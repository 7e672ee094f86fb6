"""What each network and each head costs by itself: forward and backward, on numbers drawn for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.benchmarks.runner import in_rounds, print_table
from shards.command import UserError
from training.networks.backbones import BACKBONES, blank_input, build_backbone, channels_last
from training.objectives.head_loss import HeadLoss
from training.objectives.heads import HEADS, build_head
from training.settings.config import Head, Losses

_EMBEDDING = 512


@dataclass(frozen=True)
class Part:
    """A network or a head.

    Attributes:
        parameters: their number.
        gflop: 10**9 floating point operations of a picture's forward and backward pass; of a head of a sample's.
        seconds: of the passes of a batch, one a round.
    """

    parameters: int
    gflop: float
    seconds: list[float]


def measure_parts(options: Any) -> dict[str, Part]:
    """Measure each network and head that is named, in turn, round by round.

    Args:
        options: parts, size, batch, identities, rounds and device of the command.

    Raises:
        UserError: a name is neither of a network nor of a head.
    """
    device = torch.device("cuda" if options.device == "gpu" else "cpu")
    passes = {name: _passes(name, options, device) for name in options.parts}
    counted: dict[str, tuple[int, float]] = {}
    for name, (work, parameters) in passes.items():
        with FlopCounterMode(display=False) as counter:
            work()
        counted[name] = parameters, counter.get_total_flops() / options.batch / 1e9

    def timed(name: str, _round: int) -> float:
        _settle(device)
        start = time.perf_counter()
        passes[name][0]()
        _settle(device)
        return time.perf_counter() - start

    seconds = in_rounds(passes, options.rounds, timed, lambda took: f"{took:.3f} s a batch")
    return {name: Part(*counted[name], seconds[name]) for name in passes}


def _passes(name: str, options: Any, device: torch.device) -> tuple[Callable[[], None], int]:
    """Return a function that does the passes of a batch, and the number of parameters."""
    torch.manual_seed(0)
    if name in BACKBONES:
        network = channels_last(build_backbone(name, options.size, _EMBEDDING)).to(device)
        given = [torch.rand_like(one, device=device) for one in blank_input(network, options.batch, options.size)]

        def through_network() -> None:
            network.zero_grad(set_to_none=True)
            network(*given).sum().backward()

        return through_network, sum(one.numel() for one in network.parameters())
    if name not in HEADS:
        raise UserError(f"no network and no head {name!r}; choose of {', '.join([*HEADS, *BACKBONES])}")
    margin = 4.0 if name == "sphereface" else 0.35
    head = HeadLoss(build_head(Head(name=name, margin=margin), options.identities, _EMBEDDING), Losses()).to(device)
    embeddings = torch.randn(options.batch, _EMBEDDING, device=device, requires_grad=True)
    labels = torch.randint(0, options.identities, (options.batch,), device=device)

    def through_head() -> None:
        head.zero_grad(set_to_none=True)
        per_sample, penalty = head(embeddings, labels, 0, torch.arange(options.batch))
        (per_sample.mean() + penalty).backward()

    return through_head, sum(one.numel() for one in head.parameters())


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report_parts(parts: dict[str, Part], options: Any) -> None:
    """Print the figures."""
    rows = [
        (
            name,
            f"{part.parameters / 1e6:,.1f}",
            f"{part.gflop:,.2f}",
            f"{1000 * median(part.seconds) / options.batch:,.2f}",
            f"{1000 * min(part.seconds) / options.batch:,.2f} to {1000 * max(part.seconds) / options.batch:,.2f}",
        )
        for name, part in parts.items()
    ]
    columns = ("forward and backward", "million numbers", "GFLOP a picture", "ms a picture", "least to most")
    print_table(columns, rows)
    print(
        f"{options.device}, {options.threads} threads, torch {torch.__version__}; batches of {options.batch}, networks "
        f"at {options.size} x {options.size}, heads of {options.identities:,} identities"
    )
