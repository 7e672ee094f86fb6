"""What the training benchmark found, as a table and as data."""

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from pipeline.benchmarks.runner import print_table, ratios, spread
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

    def ratio(self, way: str, other: str) -> str:
        """Return the step time of a way divided by that of another in the same round: median (least to largest)."""
        return str(spread(ratios(self.seconds[way], self.seconds[other])))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "processor": processor(self.device), "torch": str(torch.__version__)}


def report(measured: Measured) -> None:
    """Print the figures."""
    rows = []
    pictures = measured.identities * measured.views
    before = STRAIGHTFORWARD.name
    for way, seconds in measured.seconds.items():
        base = before if way.startswith("+") or way == TRAINER.name else TRAINER.name
        step = median(seconds)
        gain = "" if way == STRAIGHTFORWARD.name else measured.ratio(way, base)
        whole = measured.ratio(way, STRAIGHTFORWARD.name)
        rows.append((way, f"{step:.3f}", f"{pictures / step:,.1f}", whole, gain))
        before = way
    columns = ("", "s/step", "images/s", "of straightforward: median (min to max)", "of the way it adds to")
    print_table(columns, rows)
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
