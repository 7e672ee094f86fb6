"""The benchmark of storage: `python -m pipeline.bench storage`.

The loader on a local disk, warm and cold, and on a web server of this machine, whose answers come after a latency,
without a cache and with a warm one; the webdataset library on the same server, which reads in sequence; and
mosaicml-streaming, where an interpreter has it, whose data set holds the same photos.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.benchmarks.loader_ways import OURS, WEBDATASET, Task, measure
from pipeline.benchmarks.measured import Measured
from pipeline.benchmarks.mosaicml import Mosaicml
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
        ways = dict(_ways(task, options, Path(scratch), servers))
        runs = in_rounds(
            ways,
            options.rounds,
            lambda name, _: ways[name](),
            lambda run: f"{run.identities_per_second:,.0f} identities/s",
        )
    figures = {name: _figures(name, runs) for name in ways}
    _print(figures, sides)
    about = {"workers": options.workers, "cores": usable_cores(), "batch": options.batch, "batches": options.batches}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    write_figures(options.out, "storage.json", {**about, "ways": figures})


def _ways(task: Task, options: Any, scratch: Path, servers: ExitStack) -> Iterator[tuple[str, Callable[[], Measured]]]:
    """Yield every way by its name, as what measures a run of it; servers start and caches fill as needed."""
    assert isinstance(task.shards, Path)
    yield WARM, partial(_in_fresh_process, OURS, task)
    yield COLD, partial(_cold, task.shards, partial(_in_fresh_process, OURS, task))
    peer = options.mosaicml and Mosaicml.written(options.mosaicml, task, scratch / "mosaicml")
    if peer:
        yield "local disk, mosaicml-streaming", partial(peer.measure, None, peer.folder)
    for latency in options.latencies:
        url = servers.enter_context(served(task.shards, latency / 1000))
        yield f"{latency} ms", partial(_in_fresh_process, OURS, replace(task, shards=RemotePath(url)))
        kept = Kept(cache=scratch / f"cache-{latency}", cache_bytes=_CACHE_BYTES)
        cached = partial(_in_fresh_process, OURS, replace(task, shards=RemotePath(url, kept)))
        cached()
        yield f"{latency} ms, warm cache", cached
        remote = replace(task, shards=RemotePath(url))
        yield f"{latency} ms, webdataset", partial(_in_fresh_process, WEBDATASET, remote)
        if peer:
            bucket = servers.enter_context(served(peer.folder, latency / 1000))
            yield f"{latency} ms, mosaicml-streaming", partial(_fetched, peer, bucket, scratch)


def _in_fresh_process(way: str, task: Task) -> Measured:
    return in_fresh_process(measure, way, task)


def _cold(folder: Path, way: Callable[[], Measured]) -> Measured:
    _forget(folder)
    return way()


def _fetched(peer: Mosaicml, bucket: str, scratch: Path) -> Measured:
    """Measure a run that has nothing of the bucket before."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return peer.measure(bucket, Path(folder))


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
