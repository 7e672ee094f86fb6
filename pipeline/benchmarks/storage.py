"""The benchmark of storage: `python -m pipeline.bench storage`.

The loader on a local disk, warm and cold, and on a web server of this machine, whose answers come after a latency,
without a cache and with a warm one; and the webdataset library on the same server, which reads in sequence.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.benchmarks.loader_ways import OURS, WEBDATASET, Measured, Task, measure
from pipeline.benchmarks.range_server import served
from pipeline.benchmarks.rendered import LOW_SIDES, render_shards
from pipeline.benchmarks.runner import in_fresh_process, in_rounds, print_table, ratios, spread, write_figures
from shards.command import UserError
from shards.cores import usable_cores
from shards.index import ShardIndex
from shards.storage.limits import Kept
from shards.storage.places import RemotePath

WARM, COLD = "local disk, warm", "local disk, cold"
_WARM_UP = 4
_CACHE_BYTES = 8 << 30


def bench_storage(options: Any) -> None:
    """Measure every place on the shards named, which must lie on a disk, or on rendered people."""
    if isinstance(options.shards, RemotePath):
        raise UserError(f"{options.shards} is not on this machine; name a local folder, which is then served")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as servers:
        folder = (
            options.shards
            or render_shards(Path(scratch), identities=options.identities, size=options.size, stored=[()])[0]
        )
        index = ShardIndex.open(folder)
        if options.batch > index.identities:
            raise UserError(f"a batch of {options.batch} identities of {index.identities}; give a smaller --batch")
        sides = (index.manifest.preprocessing.size, *LOW_SIDES)
        task = Task(folder, Path(scratch), sides, options.batch, options.batches, _WARM_UP, options.workers, "cpu")
        ways = dict(_ways(task, options.latencies, Path(scratch), servers))
        for way, one in ways.values():
            if isinstance(one.shards, RemotePath) and one.shards.kept.cache:
                in_fresh_process(measure, way, one)
        runs = in_rounds(
            ways,
            options.rounds,
            partial(_measure, ways),
            lambda run: f"{run.identities_per_second:,.0f} identities/s",
        )
    figures = {name: _figures(name, runs) for name in ways}
    _print(figures, sides)
    about = {"workers": options.workers, "cores": usable_cores(), "batch": options.batch, "batches": options.batches}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    write_figures(options.out, "storage.json", {**about, "ways": figures})


def _ways(
    task: Task, latencies: list[int], scratch: Path, servers: ExitStack
) -> Iterator[tuple[str, tuple[str, Task]]]:
    """Yield every way by its name, as a way of the loader's benchmark and its task; servers start as needed."""
    yield WARM, (OURS, task)
    yield COLD, (OURS, task)
    assert isinstance(task.shards, Path)
    for latency in latencies:
        url = servers.enter_context(served(task.shards, latency / 1000))
        yield f"{latency} ms", (OURS, replace(task, shards=RemotePath(url)))
        kept = Kept(cache=scratch / f"cache-{latency}", cache_bytes=_CACHE_BYTES)
        yield f"{latency} ms, warm cache", (OURS, replace(task, shards=RemotePath(url, kept)))
        yield f"{latency} ms, webdataset", (WEBDATASET, replace(task, shards=RemotePath(url)))


def _measure(ways: dict[str, tuple[str, Task]], name: str, number: int) -> Measured:
    way, task = ways[name]
    if name == COLD:
        assert isinstance(task.shards, Path)
        _forget(task.shards)
    return in_fresh_process(measure, way, task)


def _forget(folder: Path) -> None:
    """Let the system forget what it holds of the files of a folder."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _figures(name: str, runs: dict[str, list[Measured]]) -> dict[str, Any]:
    rates, local = ([run.identities_per_second for run in runs[one]] for one in (name, WARM))
    return {
        "identities_per_second": spread(rates).median,
        "over_local_warm": vars(spread(ratios(rates, local))),
        "peak_mib": max(run.peak_mib for run in runs[name]),
        "runs": [vars(run) for run in runs[name]],
    }


def _print(figures: dict[str, Any], sides: tuple[int, ...]) -> None:
    rows = []
    for name, one in figures.items():
        over = one["over_local_warm"]
        ratio = f"{over['median']:.2f} ({over['least']:.2f} to {over['largest']:.2f})"
        rows.append([name, f"{one['identities_per_second']:,.0f}", ratio, f"{one['peak_mib']:,.0f}"])
    title = f"{len(sides)} views of {', '.join(map(str, sides))} pixels"
    print_table(["", "identities/s", "over local, warm", "peak MiB"], rows, title=title)
