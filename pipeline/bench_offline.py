"""The reports of `python -m pipeline.bench shard` and `python -m pipeline.bench records`."""

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.bench_run import in_fresh_process, write_figures
from pipeline.bench_shard import WAYS, ShardTask, measure, repeat_photos, time_by_part
from pipeline.landmark_list import LANDMARK_COLUMNS
from pipeline.plan import Plan, Settings
from pipeline.sources import Source, vggface2
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from shards.cores import usable_cores

_OURS = "this stage"
_RENDERED_PEOPLE, _RENDERED_PHOTOS = 60, 10
_RECORDS = (10_000, 100_000, 1_000_000)
_PHOTOS_OF_A_PERSON = 100


def bench_shard(options: Any) -> None:
    """Measure the full stage against a bare loop and against the usual way."""
    if (options.root is None) != (options.landmarks is None):
        raise UserError("give both --root and --landmarks, or neither to measure with rendered people")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        root, landmarks = _photos(options, Path(scratch))
        task = ShardTask(root, landmarks, options.size, options.workers)
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(options.rounds):
            for way in WAYS:
                rates[way].append(in_fresh_process(measure, way, task))
                print(f"round {number + 1}: {way}: {rates[way][-1]:,.0f} photos/s", flush=True)
        parts = in_fresh_process(time_by_part, task)
    table = Table()
    for column in ("", "photos/s", f"{_OURS} / this: median (min to max)"):
        table.add_column(column, justify="right" if column else "left")
    for way, measured in rates.items():
        ratios = [own / other for own, other in zip(rates[_OURS], measured, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        table.add_row(way, f"{median(measured):,.0f}", spread)
    where = Table()
    for column in ("one worker's time", "us/photo", "%"):
        where.add_column(column, justify="right" if column != "one worker's time" else "left")
    for part, cost in parts.items():
        where.add_row(part, f"{cost:,.0f}", f"{100 * cost / sum(parts.values()):.0f}")
    console = Console(width=120)
    console.print(table)
    console.print(where)
    about = {"photos": options.photos, "size": options.size, "workers": options.workers, "cores": usable_cores()}
    print(", ".join(f"{value} {name}" for name, value in about.items()))
    write_figures(options.out, "shard.json", {**about, "photos_per_second": rates, "microseconds_by_part": parts})


def bench_records(options: Any) -> None:
    """Measure the peak memory and the time of reading a landmark list, planning, and dealing out the work."""
    table = Table()
    for column in ("records", "peak MiB", "list read, s", "whole plan, s"):
        table.add_column(column, justify="right")
    measured = [in_fresh_process(_plan_records, records) for records in _RECORDS]
    for one in measured:
        table.add_row(f"{one.records:,}", f"{one.peak_mib:,.0f}", f"{one.list_s:.1f}", f"{one.plan_s:.1f}")
    Console(width=120).print(table)
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
        planned = sum(len(plan.unit(number).paths) for number in range(plan.tars))
        assert planned == records
        plan.records.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Bookkeeping(records, peak, read - start, time.perf_counter() - read)


def _all_there(source: Source) -> Source:
    """Return the source with every listed photo found on disk, where there is none."""
    from dataclasses import replace

    def on_disk() -> Any:
        for table in source.listed():
            yield from zip(table["identity"], table["path"], strict=True)

    return replace(source, on_disk=on_disk)


def _write_list(path: Path, records: int) -> None:
    points = ",".join(f"{40 + 0.125 * number}" for number in range(len(LANDMARK_COLUMNS)))
    with path.open("w", encoding="utf-8") as file:
        file.write("NAME_ID," + ",".join(f"P{n}{axis}" for n in range(1, 6) for axis in "XY") + "\n")
        for number in range(records):
            person, photo = divmod(number, _PHOTOS_OF_A_PERSON)
            file.write(f'"n{person:06d}/{photo:04d}_01",{points}\n')


def _photos(options: Any, scratch: Path) -> tuple[Path, Path]:
    root, landmarks = options.root, options.landmarks
    if root is None:
        write_dataset(scratch, "vggface2", identities=_RENDERED_PEOPLE, photos=_RENDERED_PHOTOS, seed=0)
        root = scratch / "VGGFace2"
        landmarks = root / "bb_landmark" / "loose_landmark_train.csv"
        return repeat_photos(root, landmarks, options.photos, scratch / "repeated")
    return root, landmarks
