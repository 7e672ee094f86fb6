"""What grows with photos and batches: `python -m pipeline.bench index`, `soak` and `records`."""

import os
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pipeline.benchmarks.measured import peak_mib, resident_mib
from pipeline.benchmarks.range_server import served
from pipeline.benchmarks.rendered import LOW_SIDES, render_shards, write_large_index
from pipeline.benchmarks.runner import in_fresh_process, print_table, write_figures
from pipeline.sharding.plan import Plan, Settings
from pipeline.sources.datasets import Source, vggface2
from pipeline.sources.landmark_list import HEADER, LANDMARK_COLUMNS
from shards.command import UserError
from shards.storage.places import Folder, RemotePath

# VGGFace2 without its overlaps, and WebFace42M.
_SCALES = ((9_131, 3_300_000), (2_000_000, 42_000_000))
_LATENCY_S = 0.05
_DRAWS = 50
_SAMPLES = 200
_RECORDS = (10_000, 100_000, 1_000_000)
_PHOTOS_OF_A_PERSON = 100


@dataclass(frozen=True)
class Loaded:
    """What an index cost, in seconds and MiB; memory is what the process holds beyond its imports.

    Attributes:
        place: where it lies.
        open_s: until the index answers.
        loader_s: until a loader stands on it.
        first_batch_s: from there to the first batch.
        index_mib: of the index and its reader; mapped pages of files count.
        names_s: to read all names, which only messages need.
        draw_us: microseconds of a draw of a batch, each identity once an epoch.
        photo_draw_us: the same, each photo once an epoch.
    """

    place: str
    identities: int
    photos: int
    open_s: float
    loader_s: float
    first_batch_s: float
    index_mib: float
    names_s: float
    draw_us: float
    photo_draw_us: float


def bench_index(options: Any) -> None:
    """Build indexes of the sizes of real sets, load them in fresh processes from a disk and a server, and draw."""
    runs = []
    for identities, photos in _SCALES:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            folder = Path(scratch) / "index"
            write_large_index(Path(scratch), folder, identities=identities, photos=photos)
            with served(folder, _LATENCY_S) as url:
                for place in (folder, RemotePath(url)):
                    runs.append(in_fresh_process(load_index, place, options.batch, options.workers))
    heads = ("place", "photos", "identities", "open, s", "loader, s", "first batch, s", "MiB", "all names, s")
    rows = []
    for one in runs:
        times = [f"{value:.2f}" for value in (one.open_s, one.loader_s, one.first_batch_s)]
        draws = [f"{value:,.0f}" for value in (one.draw_us, one.photo_draw_us)]
        counts = [one.place, f"{one.photos:,}", f"{one.identities:,}"]
        rows.append([*counts, *times, f"{one.index_mib:,.0f}", f"{one.names_s:.2f}", *draws])
    print_table((*heads, "draw, us", "draw by photo, us"), rows, title=f"batches of {options.batch} identities")
    write_figures(options.out, "index.json", {"batch": options.batch, "runs": [vars(one) for one in runs]})


def load_index(folder: Folder, batch: int, threads: int) -> Loaded:
    """Open an index, make a loader, take a batch, and draw; in a process that has done nothing before."""
    from pipeline.loading.loader import Loader
    from pipeline.sampling.sampler import Sampler
    from pipeline.sampling.views import Views
    from shards.index import ShardIndex

    before, start = peak_mib_now(), time.perf_counter()
    index = ShardIndex.open(folder)
    assert index.first[-1] == index.photos
    opened = time.perf_counter()
    views = Views(sizes=(128, *LOW_SIDES))
    sampler = Sampler.of([index.first], views, seed=0, global_batch=batch)
    draw_us = _draw_us(sampler)
    memory = peak_mib_now() - before
    ready = time.perf_counter()
    loader = Loader(folder, views, seed=0, global_batch=batch, threads=threads)
    made = time.perf_counter()
    next(loader)
    first = time.perf_counter()
    loader.close()
    by_photo = Sampler.of([index.first], views, seed=0, global_batch=batch, sampling="photo")
    photo_draw_us = _draw_us(by_photo)
    asked = time.perf_counter()
    assert len(index.names) == index.identities
    names = time.perf_counter() - asked
    return Loaded(
        "a disk" if isinstance(folder, Path) else f"a server, {1000 * _LATENCY_S:.0f} ms",
        index.identities,
        index.photos,
        opened - start,
        made - ready,
        first - made,
        memory,
        names,
        draw_us,
        photo_draw_us,
    )


def peak_mib_now() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    return peak_mib([os.getpid()])


def _draw_us(sampler: Any) -> float:
    """Return the median time of a draw in microseconds, over steps spread through many epochs."""
    times = []
    for step in range(0, 1009 * _DRAWS, 1009):
        start = time.perf_counter()
        sampler.draw(step)
        times.append(time.perf_counter() - start)
    return 1e6 * median(times)


@dataclass(frozen=True)
class Soak:
    """Memory over a long run: batches done, and MiB of memory that is no mapped file."""

    batches: list[int]
    mib: list[float]
    batches_per_epoch: int

    def growth(self) -> float:
        """Return the growth in MiB per thousand batches over the last three quarters: the slope of a line."""
        start = len(self.batches) // 4
        return float(np.polyfit(self.batches[start:], self.mib[start:], 1)[0]) * 1000


def bench_soak(options: Any) -> None:
    """Run the loader over many epochs and plot its memory."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = options.shards
        if folder is None:
            identities, size = options.identities, options.size
            (folder,) = render_shards(Path(scratch), identities=identities, size=size, stored=[LOW_SIDES])
        soak = in_fresh_process(run_soak, folder, options.batch, options.soak_batches, options.workers, options.device)
    epochs = options.soak_batches / soak.batches_per_epoch
    print(f"{options.soak_batches:,} batches of {options.batch} identities, {epochs:,.0f} epochs")
    print(f"memory {soak.mib[len(soak.mib) // 4]:,.1f} MiB after a quarter, {soak.mib[-1]:,.1f} MiB at the end")
    print(f"growth {soak.growth():+.2f} MiB in a thousand batches, over the last three quarters")
    figures = {**vars(soak), "batch": options.batch, "mib_per_thousand_batches": soak.growth()}
    write_figures(options.out, "soak.json", figures)
    if options.out is not None:
        _draw(soak, options.out / "soak.png")


def run_soak(folder: Path, batch: int, batches: int, threads: int, device: str) -> Soak:
    """Take batches as training does, and note the memory."""
    import torch

    from pipeline.loading.loader import Loader
    from pipeline.sampling.views import Views
    from shards.index import ShardIndex

    torch.set_num_threads(threads)
    size = ShardIndex.open(folder).manifest.preprocessing.size
    if size <= max(LOW_SIDES):
        raise UserError(f"{folder} holds faces of {size} pixels; soak takes some of more than {max(LOW_SIDES)}")
    loader = Loader(folder, Views(sizes=(size, *LOW_SIDES)), seed=0, global_batch=batch, threads=threads, device=device)
    every = max(1, batches // _SAMPLES)
    done, mib = [], []
    for number in range(1, batches + 1):
        next(loader).network_input()
        if number % every == 0:
            done.append(number)
            mib.append(resident_mib())
    loader.close()
    return Soak(done, mib, ShardIndex.open(folder).identities // batch)


def _draw(soak: Soak, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([number / soak.batches_per_epoch for number in soak.batches], soak.mib, color="#1b6ca8")
    axes.set(xlabel="epochs", ylabel="MiB, without mapped files", ylim=(0, 1.15 * max(soak.mib)))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def bench_records(options: Any) -> None:
    """Measure the peak memory and the time of reading a landmark list, planning, and dealing out the work."""
    measured = []
    for records in _RECORDS:
        measured.append(one := in_fresh_process(_plan_records, records))
        print(f"{records:,} records: planned in {one.plan_s:.1f} s", flush=True)
    print_table(
        ("records", "peak MiB", "list read, s", "whole plan, s"),
        [(f"{one.records:,}", f"{one.peak_mib:,.0f}", f"{one.list_s:.1f}", f"{one.plan_s:.1f}") for one in measured],
    )
    write_figures(options.out, "records.json", {"runs": [vars(one) for one in measured]})


@dataclass(frozen=True)
class Bookkeeping:
    """What planning so many records took, in MiB and seconds."""

    records: int
    peak_mib: float
    list_s: float
    plan_s: float


def _plan_records(records: int) -> Bookkeeping:
    """Write a landmark list, plan it as if every photo were there, and go through all the work."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        root = Path(scratch)
        (root / "train").mkdir()
        path = root / "list.csv"
        _write_list(path, records)
        source = vggface2(root, [path])
        start = time.perf_counter()
        for _ in source.listed():
            pass
        read = time.perf_counter()
        plan = Plan(_all_there(source), Settings(tar_mb=32))
        planned = sum(len(plan.tar_contents(number).paths) for number in range(plan.tars))
        assert planned == records
        plan.records.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Bookkeeping(records, peak, read - start, time.perf_counter() - read)


def _all_there(source: Source) -> Source:
    """Return the source with every listed photo found on disk, where there is none."""

    def on_disk() -> Any:
        for table in source.listed():
            yield from zip(table["identity"], table["path"], strict=True)

    return replace(source, on_disk=on_disk)


def _write_list(path: Path, records: int) -> None:
    points = ",".join(f"{40 + 0.125 * number}" for number in range(len(LANDMARK_COLUMNS)))
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(HEADER) + "\n")
        for number in range(records):
            person, photo = divmod(number, _PHOTOS_OF_A_PERSON)
            file.write(f'"n{person:06d}/{photo:04d}_01",{points}\n')
