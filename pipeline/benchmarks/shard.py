"""The report of `python -m pipeline.bench shard`."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.benchmarks.runner import in_fresh_process, in_rounds, print_table, ratios, spread, write_figures
from pipeline.benchmarks.shard_ways import OURS, WAYS, ShardTask, measure, repeat_photos, surround_photos, time_by_part
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from shards.cores import usable_cores

_RENDERED_PEOPLE, _RENDERED_PHOTOS = 60, 10


def bench_shard(options: Any) -> None:
    """Measure the full stage against a bare loop and against the usual way."""
    if (options.root is None) != (options.landmarks is None):
        raise UserError("give both --root and --landmarks, or neither to measure with rendered people")
    if options.root is not None and options.around != 1:
        raise UserError("--around is for rendered photos; leave out --root and --landmarks")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        root, landmarks = _photos(options, Path(scratch))
        task = ShardTask(root, landmarks, options.size, options.workers)
        rates = in_rounds(
            WAYS,
            options.rounds,
            lambda way, _: in_fresh_process(measure, way, task),
            lambda rate: f"{rate:,.0f} photos/s",
        )
        parts = in_fresh_process(time_by_part, task)
    print_table(
        ("", "photos/s", f"{OURS} / this: median (min to max)"),
        [
            (way, f"{median(measured):,.0f}", str(spread(ratios(rates[OURS], measured))))
            for way, measured in rates.items()
        ],
    )
    whole = sum(parts.values())
    print_table(
        ("one worker's time", "us/photo", "%"),
        [(part, f"{cost:,.0f}", f"{100 * cost / whole:.0f}") for part, cost in parts.items()],
    )
    about = {
        "photos": options.photos,
        "times VGGFace2's side": options.around,
        "size": options.size,
        "workers": options.workers,
        "cores": usable_cores(),
    }
    print(
        f"{options.photos:,} photos of {options.around} times VGGFace2's side to {options.size} x {options.size} "
        f"pixels, {options.workers} workers, {usable_cores()} cores"
    )
    write_figures(options.out, "shard.json", {**about, "photos_per_second": rates, "microseconds_by_part": parts})


def _photos(options: Any, scratch: Path) -> tuple[Path, Path]:
    root, landmarks = options.root, options.landmarks
    if root is None:
        write_dataset(scratch, "vggface2", identities=_RENDERED_PEOPLE, photos=_RENDERED_PHOTOS, seed=0)
        root = scratch / "VGGFace2"
        landmarks = root / "bb_landmark" / "loose_landmark_train.csv"
        if options.around > 1:
            surround_photos(root / "train", landmarks, options.around)
        return repeat_photos(root, landmarks, options.photos, scratch / "repeated")
    return root, landmarks
