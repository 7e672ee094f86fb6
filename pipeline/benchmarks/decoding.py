"""The report of `python -m pipeline.bench decoding`: what decoding costs the host, and how much a GPU takes off it.

A JPEG of 128 x 128 pixels is small, and a GPU's hybrid decoder may leave its Huffman codes to the host. The host's
time on cores shows it: where the GPU does all the work, little of a CPU decoder's time is left.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.benchmarks.measured import cpu_seconds, family
from pipeline.benchmarks.rendered import render_shards
from pipeline.benchmarks.runner import in_fresh_process, in_rounds, print_table, write_figures
from pipeline.loading.dali_graph import Samples, build_graph
from shards.index import ShardIndex

HOST = "cpu"
# Shares of the photos for the GPU's JPEG unit, where it has one.
GPU_WAYS = {f"gpu, {share:.0%} to the JPEG unit": share for share in (0.0, 0.65, 1.0)}
_WARM_UP = 5


@dataclass(frozen=True)
class Decoded:
    """One run: photos per second, and microseconds of the host's cores per photo."""

    photos_per_second: float
    host_us_per_photo: float


def bench_decoding(options: Any) -> None:
    """Decode the same photos on the host and, with --device gpu, on the GPU in several ways."""
    ways = [HOST, *(GPU_WAYS if options.device == "gpu" else ())]
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = options.shards
        if folder is None:
            identities, size = options.identities, options.size
            (folder,) = render_shards(Path(scratch), identities=identities, size=size, stored=[()])
        given = (options.batch, options.batches, options.workers)
        runs = in_rounds(
            ways,
            options.rounds,
            lambda way, _: in_fresh_process(decode_photos, folder, way, *given),
            lambda run: f"{run.photos_per_second:,.0f} photos/s",
        )
    figures, rows = {}, []
    for way, measured in runs.items():
        rate, cost = median(one.photos_per_second for one in measured), host_cost(measured)
        share = cost / max(host_cost(runs[HOST]), 1e-9)
        rows.append((way, f"{rate:,.0f}", f"{cost:,.0f}", f"{share:.0%}"))
        figures[way] = {"photos_per_second": rate, "host_us_per_photo": cost, "share_of_cpu": share}
    print_table(("decoder", "photos/s", "host core-us/photo", "of the cpu's"), rows)
    write_figures(options.out, "decoding.json", {"batch": options.batch, "ways": figures})


def host_cost(runs: list[Decoded]) -> float:
    """Return the median of the host's microseconds per photo."""
    return median(one.host_us_per_photo for one in runs)


def decode_photos(folder: Path, way: str, batch: int, batches: int, threads: int) -> Decoded:
    """Decode batches of the first photos of a folder, again and again."""
    index = ShardIndex.open(folder)
    photos = [index.read(photo) for photo in range(min(index.photos, 4 * batch))]
    device = "cpu" if way == HOST else "gpu"
    graph = build_graph(
        _in_turn(photos, batch),
        most=batch,
        device=device,
        device_id=0 if device == "gpu" else None,
        threads=threads,
        prefetch=2,
        hardware_load=GPU_WAYS.get(way, 0.0),
    )
    for _ in range(_WARM_UP):
        graph.run()
    spent, start = cpu_seconds(family()), time.perf_counter()
    for _ in range(batches):
        (faces,) = graph.run()
        # Copying a GPU's output waits until it is there.
        faces.as_cpu()
    seconds, spent = time.perf_counter() - start, cpu_seconds(family()) - spent
    count = batch * batches
    return Decoded(count / seconds, 1e6 * spent / count)


def _in_turn(photos: Samples, batch: int) -> Callable[[], Samples]:
    endless = itertools.cycle(photos)
    return lambda: list(itertools.islice(endless, batch))
