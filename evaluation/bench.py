"""Benchmarks: `python -m evaluation.bench pairs`, or identify.

pairs: compares embedding once with the pair-by-pair way, on rendered QMUL-SurvFace verification pictures of the real
data set's number and sizes, with as many pairs. The pair-by-pair ways take long, so that they are measured on a random
sample of the pairs and their rate is what counts; this evaluation embeds and scores all of them. Ways are measured in
turn, round by round, each run in a process of its own; reading the lists, opening the model and a warm-up are not
counted.

identify: milliseconds of each stage from a 720p video with three faces to decisions, and of a search among many
enrolled photos, each round in a process of its own; the stages one by one, then the whole as `evaluation.identify
--video` does it.
"""

import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pipeline.benchmarks.runner import (
    in_fresh_process,
    in_rounds,
    print_table,
    ratios,
    require_at_least,
    spread,
    write_figures,
)
from shards.command import Parser, UserError, run
from shards.cores import usable_cores

if TYPE_CHECKING:
    from evaluation.benchmarks.ways import Measured, Task


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.bench", description=__doc__)
    add = command.add_argument
    add("what", choices=["pairs", "identify"], nargs="?", default="pairs", help="what to measure")
    add("--model", type=Path, metavar="FILE", help="identify: the network (default: --backbone, with random weights)")
    add("--template", choices=["paper", "centred"], default="centred", help="identify: where landmarks go")
    add("--enrolled", type=int, default=100_000, help="identify: photos in the gallery")
    add("--seconds", type=float, default=6.0, help="identify: seconds of video, at 25 frames a second")
    add("--pictures", type=int, default=10_051, help="verification pictures to render")
    add("--pairs", type=int, default=10_640, help="pairs, half of one person, half of two")
    add("--sample", type=int, default=300, help="pairs that a pair-by-pair way is measured on in a round")
    add("--rounds", type=int, default=3, help="runs of every way")
    add("--backbone", default="spherenet20", help="architecture; its weights are random, which costs the same")
    add("--size", type=int, default=128, help="side of the network's input in pixels")
    add("--threads", type=int, default=usable_cores(), help="threads of every way")
    add("--device", choices=["cpu", "gpu"], default="cpu", help="where the network runs")
    add("--data", type=Path, metavar="DIR", help="folder to keep the rendered pictures in (default: kept nowhere)")
    add("--out", type=Path, metavar="DIR", help="folder for the figures as JSON (default: none written)")
    return command


def main() -> None:
    """Render, measure and report."""
    options = parser().parse_args()
    require_at_least(
        options, {"pictures": 38, "pairs": 2, "sample": 1, "rounds": 1, "size": 16, "threads": 1, "enrolled": 1}
    )
    if options.what == "identify":
        _identify(options)
        return
    if options.pairs < options.pictures:
        raise UserError(f"{options.pairs} pairs of {options.pictures} pictures; give as many pairs as pictures or more")
    from evaluation.benchmarks.data import rendered_verification_set
    from evaluation.benchmarks.ways import WAYS, Task, measure
    from training.networks.backbones import BACKBONES

    if options.backbone not in BACKBONES:
        raise UserError(f"no backbone {options.backbone!r}; choose one of {', '.join(BACKBONES)}")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = options.data or Path(scratch) / "data"
        pairs = rendered_verification_set(folder, options.pictures, options.pairs, workers=options.threads)
        task = Task(
            folder,
            tuple(pairs),
            min(options.sample, len(pairs)),
            options.backbone,
            options.size,
            options.threads,
            options.device,
            Path(scratch) / "cache",
        )
        runs = in_rounds(
            WAYS,
            options.rounds,
            lambda way, number: in_fresh_process(measure, way, task, number),
            lambda run: f"{run.pairs_per_second:,.2f} pairs/s",
        )
    _report(task, options, runs)


def _identify(options: Any) -> None:
    from evaluation.benchmarks.identify import bench_identify

    if not 1 <= options.seconds <= 600:
        raise UserError(f"--seconds {options.seconds}; give 1 to 600")
    if options.model and not options.model.is_file():
        raise UserError(f"no file {options.model}; expected a network")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = options.data or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        bench_identify(options, folder)


def _report(task: "Task", options: Any, runs: "dict[str, list[Measured]]") -> None:
    from evaluation.benchmarks.ways import BFLOAT16, OURS

    rows = []
    ways: dict[str, Any] = {}
    for way, measured in runs.items():
        rates = [one.pairs_per_second for one in measured]
        gains = ratios([own.pairs_per_second for own in runs[OURS]], rates)
        peak = max(one.peak_mib for one in measured)
        rate = median(rates)
        rows.append((way, f"{rate:,.2f}", f"{len(task.pairs) / rate:,.0f}", f"{peak:,.0f}", str(spread(gains))))
        ways[way] = {
            "pairs_per_second": rates,
            "pairs_measured": measured[0].pairs,
            "ratios": gains,
            "peak_mib": peak,
            "largest_difference": max(one.largest_difference for one in measured),
        }
    print_table(("", "pairs/s", "all pairs, s", "MiB", f"{OURS} / this: median (min to max)"), rows)
    about = {
        "pictures": options.pictures,
        "pairs": len(task.pairs),
        "sample": task.sample,
        "rounds": options.rounds,
        "backbone": task.backbone,
        "size": task.size,
        "threads": task.threads,
        "cores": usable_cores(),
        "device": task.device,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    apart = {name: way["largest_difference"] for name, way in ways.items()}
    mixed = apart.pop(BFLOAT16)
    print(
        f"scores of sampled pairs differ by at most {max(apart.values()):.1e} between the ways, {mixed:.1e} in bfloat16"
    )
    write_figures(options.out, "evaluation.json", {**about, "ways": ways})


if __name__ == "__main__":
    run(main)
