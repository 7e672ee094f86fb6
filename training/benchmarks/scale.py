"""The report of `python -m training.bench scale`: what grows with the data set, at two sizes and more."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.benchmarks.measured import peak_mib
from pipeline.benchmarks.rendered import write_large_index
from pipeline.benchmarks.runner import in_fresh_process, print_table, write_figures

# Those of WebFace42M.
_PHOTOS_OF_AN_IDENTITY = 21
_PHOTOS_OF_A_TAR = 28_000
_STEPS = 20


@dataclass(frozen=True)
class Scale:
    """What a data set of some size costs; seconds, and MiB at the most.

    Attributes:
        photos, identities, tars: of the data set.
        open_s: until the index answers, the sizes of all tars compared.
        draw_s: of the photos of a step, each identity once an epoch.
        photo_draw_s: the same, each photo once an epoch.
        verify_s: for `shards.verify` to find the photos of each tar.
        rows_s: for the last of the ranks to draw its rows of the class matrix.
        sampled_s: for it to draw the classes of a step.
        copy_s: for it to copy its rows and their momentum for a checkpoint, while which its steps wait.
        write_s: for it to write them, with their SHA-256 and to the disk, while which they do not.
        index_mib, head_mib: memory of the process of the first four and of the last two.
    """

    photos: int
    identities: int
    tars: int
    open_s: float
    draw_s: float
    photo_draw_s: float
    verify_s: float
    rows_s: float
    sampled_s: float
    copy_s: float
    write_s: float
    index_mib: float
    head_mib: float


def bench_scale(options: Any) -> None:
    """Measure data sets of the sizes asked for, each in fresh processes, and report seconds and their growth."""
    runs = [measure(photos, options) for photos in sorted(options.photos)]
    rows = []
    for name, unit, of in (
        ("index: open, compare the sizes of all tars", "s", lambda one: one.open_s),
        (f"sampler: the photos of a step of {options.batch} identities", "ms", lambda one: 1e3 * one.draw_s),
        ("the same, by photo", "ms", lambda one: 1e3 * one.photo_draw_s),
        ("shards.verify: the photos of each tar", "s", lambda one: one.verify_s),
        (f"class matrix: rows of the last of {options.ranks} ranks", "s", lambda one: one.rows_s),
        (f"sampled classes of a step ({options.sampling:g}), that rank", "ms", lambda one: 1e3 * one.sampled_s),
        ("checkpoint: to copy its rows and momentum", "s", lambda one: one.copy_s),
        ("checkpoint: to write them, in the background", "s", lambda one: one.write_s),
        ("memory: index, sampler and verify", "MiB", lambda one: one.index_mib),
        ("memory: class matrix of that rank, momentum, copy", "MiB", lambda one: one.head_mib),
    ):
        rows.append([f"{name}, {unit}", *(f"{of(one):,.2f}" for one in runs)])
    heads = [f"{one.photos:,} photos, {one.identities:,} identities, {one.tars:,} tars" for one in runs]
    print_table(("", *heads), rows)
    figures = {"batch": options.batch, "ranks": options.ranks, "sampling": options.sampling}
    write_figures(options.out, "scale.json", {**figures, "runs": [vars(one) for one in runs]})


def measure(photos: int, options: Any) -> Scale:
    """Measure a data set of so many photos."""
    identities, tars = max(2, photos // _PHOTOS_OF_AN_IDENTITY), max(1, photos // _PHOTOS_OF_A_TAR)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.scratch) as scratch:
        folder = Path(scratch) / "index"
        write_large_index(Path(scratch), folder, identities=identities, photos=photos, tars=tars)
        of_index = in_fresh_process(index_costs, folder, min(options.batch, identities // 2))
        share = (options.ranks, options.sampling, options.embedding_size)
        of_head = in_fresh_process(head_costs, Path(scratch), identities, *share)
    return Scale(photos, identities, tars, **of_index, **of_head)


def index_costs(folder: Path, batch: int) -> dict[str, float]:
    """Open an index, draw from it, and find the photos of each tar; in a process that has done nothing before."""
    from pipeline.sampling.sampler import Sampler
    from pipeline.sampling.views import Views
    from shards.index import ShardIndex

    before = peak_mib([os.getpid()])
    start = time.perf_counter()
    index = ShardIndex.open(folder)
    index.check_tars()
    found = {"open_s": time.perf_counter() - start}
    for name, sampling in (("draw_s", "identity"), ("photo_draw_s", "photo")):
        sampler = Sampler.of([index.first], Views(), seed=0, global_batch=batch, sampling=sampling)  # type: ignore[arg-type]
        found[name] = _seconds_of_a_step(sampler.draw)
    start = time.perf_counter()
    assert sum(map(len, index.rows_by_tar())) == index.photos
    found["verify_s"] = time.perf_counter() - start
    return found | {"index_mib": peak_mib([os.getpid()]) - before}


def head_costs(scratch: Path, identities: int, ranks: int, sampling: float, embedding_size: int) -> dict[str, float]:
    """Draw what the last rank draws of a class matrix, and save it; in a process that has done nothing before."""
    import torch

    from training.checkpoints.class_rows import write_rows
    from training.checkpoints.run_folder import rows_path
    from training.objectives.class_shards import initial_rows, sampled_classes, shard_range

    ranks = min(ranks, identities)
    classes = shard_range(identities, ranks - 1, ranks)
    before, start = peak_mib([os.getpid()]), time.perf_counter()
    rows = initial_rows(classes, embedding_size)
    seconds = time.perf_counter() - start
    assert rows.shape == (len(classes), embedding_size)
    sampled = _seconds_of_a_step(lambda step: sampled_classes(classes, sampling, 0, step))
    kept = {"weight": rows, "momentum_buffer": torch.ones_like(rows)}
    start = time.perf_counter()
    copies = {name: value.clone() for name, value in kept.items()}
    copied = time.perf_counter()
    write_rows(scratch / rows_path(scratch, 0, ranks - 1, ranks).name, copies, classes)
    written = time.perf_counter()
    memory = peak_mib([os.getpid()]) - before
    found = {"rows_s": seconds, "sampled_s": sampled, "copy_s": copied - start, "write_s": written - copied}
    return found | {"head_mib": memory}


def _seconds_of_a_step(draw: Callable[[int], Any]) -> float:
    """Return the median time of a draw, over steps spread through many epochs."""
    times = []
    for step in range(0, 1009 * _STEPS, 1009):
        start = time.perf_counter()
        draw(step)
        times.append(time.perf_counter() - start)
    return median(times)
