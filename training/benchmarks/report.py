"""What the training benchmark found, as a table and as data."""

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from training.benchmarks.steps import STRAIGHTFORWARD, TRAINER, Arithmetic


@dataclass(frozen=True)
class Measured:
    """The figures of a run of the benchmark.

    Attributes:
        device: "cpu" or "gpu".
        threads: of torch.
        identities: in a batch.
        views: of each.
        seconds: of a step, by way, one a round.
        waiting: share of the time, 0..1, that the trainer waits for data.
        arithmetic: of a step, and what the machine can do.
    """

    device: str
    threads: int
    identities: int
    views: int
    seconds: dict[str, list[float]]
    waiting: float
    arithmetic: Arithmetic

    def ratios(self, way: str, other: str) -> list[float]:
        """Return the step time of a way divided by that of another, round by round."""
        return [mine / theirs for mine, theirs in zip(self.seconds[way], self.seconds[other], strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "processor": processor(self.device), "torch": str(torch.__version__)}


def report(measured: Measured) -> None:
    """Print the figures."""
    table = Table(caption_justify="left")
    for column in ("", "s/step", "images/s", "of straightforward: median (min to max)", "of the way it adds to"):
        table.add_column(column, justify="right" if column else "left")
    pictures = measured.identities * measured.views
    before = STRAIGHTFORWARD.name
    for way, seconds in measured.seconds.items():
        base = before if way.startswith("+") or way == TRAINER.name else TRAINER.name
        step = median(seconds)
        gain = "" if way == STRAIGHTFORWARD.name else _spread(measured.ratios(way, base))
        whole = _spread(measured.ratios(way, STRAIGHTFORWARD.name))
        table.add_row(way, f"{step:.3f}", f"{pictures / step:,.1f}", whole, gain)
        before = way
    Console(width=120).print(table)
    print(
        f"{measured.device} ({processor(measured.device)}), {measured.threads} threads, torch {torch.__version__}; "
        f"batches of {measured.identities} identities x {measured.views} views"
    )
    trainer, bound = median(measured.seconds[TRAINER.name]), measured.arithmetic
    print(
        f"bound: a step is {bound.tflop:.2f} TFLOP; one large operation alone reaches {bound.tflop_per_second:.3f} "
        f"TFLOP/s in float32, so a step takes {bound.seconds:.3f} s at least, "
        f"{bound.seconds / trainer:.0%} of the trainer's"
    )
    print(f"waiting for data: {measured.waiting:.2%} of the time")


def processor(device: str) -> str:
    """Return the name of the GPU, or what the CPU can do."""
    return torch.cuda.get_device_name() if device == "gpu" else torch.backends.cpu.get_cpu_capability()


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
