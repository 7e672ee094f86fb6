"""Benchmarks: `python -m pipeline.bench loader --shards DIR`, `... shard`, `... records`.

loader: ways of feeding a trainer. shard: ways of aligning photos, and where the time goes. records: memory and
time of the offline stage's bookkeeping over ten thousand, a hundred thousand and a million records. Every run is in
a process of its own; ways are measured in turn, round by round, and reported with their ratios.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from pipeline.bench_loader import Measured, Task
    from shards.index import ShardIndex

OURS = "this loader"


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.bench", description=__doc__)
    command.add_argument("what", choices=["loader", "shard", "records"], help="what to measure")
    command.add_argument("--shards", type=Path, help="loader: folder written by pipeline.shard")
    command.add_argument("--root", type=Path, help="shard: folder of VGGFace2 (default: rendered people)")
    command.add_argument("--landmarks", type=Path, metavar="CSV", help="shard: its landmark list")
    command.add_argument(
        "--photos", type=int, default=20_000, help="shard: photos to align; few are repeated to so many"
    )
    command.add_argument("--size", type=int, default=128, help="shard: side of a face in pixels")
    command.add_argument("--out", type=Path, help="folder for the figures as JSON and PNG (default: none written)")
    command.add_argument("--rounds", type=int, default=3, help="runs of every way")
    command.add_argument("--batches", type=int, default=10, help="loader: batches measured in a run")
    command.add_argument("--batch", type=int, default=128, help="loader: identities in a batch")
    command.add_argument("--workers", type=int, default=os.cpu_count(), help="processes or threads of every way")
    command.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where batches are wanted")
    return command


def main() -> None:
    """Measure and report."""
    options = parser().parse_args()
    if options.what == "loader":
        _bench_loader(options)
    else:
        from pipeline.bench_offline import bench_records, bench_shard

        bench = {"shard": bench_shard, "records": bench_records}[options.what]
        bench(options)


def _bench_loader(options: Any) -> None:
    from pipeline.bench_loader import Task
    from shards.index import ShardIndex

    if options.shards is None:
        raise UserError("bench loader needs --shards, a folder written by pipeline.shard")
    index = ShardIndex.open(options.shards)
    if options.batch > index.identities:
        raise UserError(
            f"a batch of {options.batch} identities asked of {options.shards}, which holds {index.identities}; "
            f"give --batch of at most {index.identities}"
        )
    sizes = (index.manifest.preprocessing.size, 8, 12, 16)
    with tempfile.TemporaryDirectory() as loose:
        _write_loose(index, Path(loose))
        task = Task(
            options.shards,
            Path(loose),
            sizes,
            options.batch,
            options.batches,
            warm_up=4,
            workers=options.workers,
            device=options.device,
        )
        runs = _rounds(task, options.rounds)
    _report(task, runs, options.out)


def _write_loose(index: "ShardIndex", folder: Path) -> None:
    """Write every photo as a file of its own: IDENTITY/PHOTO.jpg."""
    for label, name in enumerate(index.names):
        person = folder / f"{label:07d}-{Path(name).name}"
        person.mkdir()
        for photo in range(int(index.first[label]), int(index.first[label + 1])):
            (person / f"{photo:09d}.{index.manifest.codec}").write_bytes(bytes(index.read(photo)))


def _rounds(task: "Task", rounds: int) -> "dict[str, list[Measured]]":
    """Run every way once a round, each in a fresh process."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from pipeline.bench_loader import WAYS, measure

    runs: dict[str, list[Measured]] = {way: [] for way in WAYS}
    context = multiprocessing.get_context("spawn")
    for number in range(rounds):
        for way in WAYS:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                measured = pool.submit(measure, way, task).result()
            runs[way].append(measured)
            print(f"round {number + 1}: {way}: {measured.identities_per_second:,.0f} identities/s", flush=True)
    return runs


def _report(task: "Task", runs: "dict[str, list[Measured]]", out: Path | None) -> None:
    from statistics import median

    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("", "identities/s", "photos/s", "core-us/photo", "MiB", f"{OURS} / this: median (min to max)"):
        table.add_column(column, justify="right" if column else "left")
    data = {}
    for way, measured in runs.items():
        rate = median(m.identities_per_second for m in measured)
        photos = rate * len(task.sizes)
        peak = max(m.peak_mib for m in measured)
        ratios = [
            own.identities_per_second / other.identities_per_second
            for own, other in zip(runs[OURS], measured, strict=True)
        ]
        cost = 1e6 * task.workers / photos
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        table.add_row(way, f"{rate:,.0f}", f"{photos:,.0f}", f"{cost:,.0f}", f"{peak:,.0f}", spread)
        data[way] = {"identities_per_second": [m.identities_per_second for m in measured], "peak_mib": peak}
    Console(width=120).print(table)
    print(f"{task.workers} workers, {os.cpu_count()} cores, {task.device}, batches of {task.batch}, views {task.sizes}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        about = {"workers": task.workers, "cores": os.cpu_count(), "batch": task.batch, "views": task.sizes}
        (out / "loader.json").write_text(json.dumps({**about, "ways": data}, indent=1) + "\n")
        _draw({way: median(m.identities_per_second for m in measured) for way, measured in runs.items()}, out)


def _draw(rates: dict[str, float], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(rates), list(rates.values()), color=["#b9c2cc", "#7fb2d6", "#1b6ca8", "#e08e1d", "#2e933c"])
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel("identities per second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(out / "loader.png", dpi=120)


if __name__ == "__main__":
    run(main)
