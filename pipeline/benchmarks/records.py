"""The report of `python -m pipeline.bench records`: what planning many photos takes."""

import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.benchmarks.runner import in_fresh_process, print_table, write_figures
from pipeline.sharding.plan import Plan, Settings
from pipeline.sources.datasets import Source, vggface2
from pipeline.sources.landmark_list import HEADER, LANDMARK_COLUMNS

_RECORDS = (10_000, 100_000, 1_000_000)
_PHOTOS_OF_A_PERSON = 100


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
