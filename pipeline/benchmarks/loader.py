"""The report of `python -m pipeline.bench loader`: ways of feeding a trainer, in turn, as table, JSON and chart."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.benchmarks.loader_ways import (
    BOUND,
    DATALOADER,
    OURS,
    WAYS,
    WEBDATASET,
    Task,
    decoded_views,
    measure,
)
from pipeline.benchmarks.measured import Measured
from pipeline.benchmarks.rendered import LOW_SIDES, render_shards
from pipeline.benchmarks.runner import Spread, in_fresh_process, in_rounds, print_table, ratios, spread, write_figures
from shards.command import UserError
from shards.cores import usable_cores
from shards.index import ShardIndex

_WARM_UP = 4
Runs = dict[str, list[Measured]]


def bench_loader(options: Any) -> None:
    """Measure every way on the shards named, or on rendered people with and without stored views."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folders = _folders(options, Path(scratch))
        loose = Path(scratch) / "loose"
        for index in folders.values():
            _check_batch(index, options.batch)
        write_loose(next(iter(folders.values())), loose)
        tasks = {
            name: Task(
                index.folder,
                loose,
                (index.manifest.preprocessing.size, *LOW_SIDES),
                options.batch,
                options.batches,
                warm_up=_WARM_UP,
                workers=options.workers,
                device=options.device,
            )
            for name, index in folders.items()
        }
        runs = _rounds(tasks, options.rounds)
        figures = {name: _figures(task, runs[name]) for name, task in tasks.items()}
    for name, task in tasks.items():
        _print_table(name, task, figures[name])
    about = {"workers": options.workers, "cores": usable_cores(), "device": options.device, "batch": options.batch}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    write_figures(options.out, "loader.json", {**about, "shards": figures})
    if options.out is not None:
        _draw(figures, options.out / "loader.png")


def _folders(options: Any, scratch: Path) -> dict[str, ShardIndex]:
    """Return the shards to measure by a name for each."""
    if options.shards is not None:
        index = ShardIndex.open(options.shards)
        return {"views stored" if index.manifest.stored_views else "views not stored": index}
    kinds = {"views stored": LOW_SIDES, "views not stored": ()}
    folders = render_shards(scratch, identities=options.identities, size=options.size, stored=list(kinds.values()))
    return {name: ShardIndex.open(folder) for name, folder in zip(kinds, folders, strict=True)}


def _check_batch(index: ShardIndex, batch: int) -> None:
    if batch > index.identities:
        raise UserError(
            f"a batch of {batch} identities asked of {index.folder}, which holds {index.identities}; "
            f"give --batch of at most {index.identities}"
        )


def write_loose(index: ShardIndex, folder: Path) -> None:
    """Write every photo as a file of its own: IDENTITY/PHOTO.jpg."""
    for label, name in enumerate(index.names):
        person = folder / f"{label:07d}-{Path(name).name}"
        person.mkdir(parents=True)
        for photo in range(int(index.first[label]), int(index.first[label + 1])):
            (person / f"{photo:09d}.{index.manifest.codec}").write_bytes(bytes(index.read(photo)))


def _rounds(tasks: dict[str, Task], rounds: int) -> dict[str, Runs]:
    """Run every way once a round, each in a fresh process."""
    ways = {f"{name}: {way}": (way, task) for name, task in tasks.items() for way in WAYS}
    runs = in_rounds(
        ways,
        rounds,
        lambda name, _: in_fresh_process(measure, *ways[name]),
        lambda run: f"{run.identities_per_second:,.0f} identities/s",
    )
    return {name: {way: runs[f"{name}: {way}"] for way in WAYS} for name in tasks}


def _figures(task: Task, runs: Runs) -> dict[str, Any]:
    """Return what the report says of each way, and every run behind it."""
    views = len(task.sizes)
    figures: dict[str, Any] = {}
    for way, measured in runs.items():
        rates = _rates(measured)
        decoded = decoded_views(task) if way not in (DATALOADER, WEBDATASET) else views
        cost = 1e6 * median(one.core_seconds / one.identities for one in measured)
        figures[way] = {
            "identities_per_second": median(rates),
            "views_per_second": median(rates) * views,
            "photos_decoded_per_second": median(rates) * decoded,
            "core_us_per_photo": cost / decoded,
            "core_us_per_view": cost / views,
            "peak_mib": max(one.peak_mib for one in measured),
            "this_loader_over_it": vars(spread(ratios(_rates(runs[OURS]), rates))),
            "it_over_decoding_alone": vars(spread(ratios(rates, _rates(runs[BOUND])))),
            "runs": [vars(one) for one in measured],
        }
    return {"views": task.sizes, "batches": task.batches, "ways": figures}


def _rates(runs: list[Measured]) -> list[float]:
    return [run.identities_per_second for run in runs]


def _print_table(name: str, task: Task, figures: dict[str, Any]) -> None:
    heads = ["", "identities/s", "photos decoded/s", "core-us/photo", "core-us/view", "peak MiB"]
    keys = ["identities_per_second", "photos_decoded_per_second", "core_us_per_photo", "core_us_per_view", "peak_mib"]
    rows = [
        [
            way,
            *(f"{one[key]:,.0f}" for key in keys),
            *(str(Spread(**one[key])) for key in ("this_loader_over_it", "it_over_decoding_alone")),
        ]
        for way, one in figures["ways"].items()
    ]
    title = f"{name}: {len(task.sizes)} views of {', '.join(map(str, task.sizes))} pixels"
    print_table([*heads, f"{OURS} / this", "this / decoding alone"], rows, title=title)


def _draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the rates as bars, one group a kind of shards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.9 + 1.9 * len(figures)), layout="constrained")
    colours = ["#b9c2cc", "#7fb2d6", "#1b6ca8", "#e08e1d", "#2e933c"]
    for axes, (name, one) in zip(figure.subplots(len(figures), squeeze=False)[:, 0], figures.items(), strict=True):
        rates = [way["identities_per_second"] for way in one["ways"].values()]
        bars = axes.barh(list(one["ways"]), rates, color=colours)
        axes.bar_label(bars, fmt="{:,.0f}", padding=4)
        axes.invert_yaxis()
        axes.set_title(name, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
    axes.set_xlabel("identities per second")
    figure.savefig(path, dpi=120)
