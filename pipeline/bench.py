"""Benchmarks: `python -m pipeline.bench loader`, or another of the names below.

loader: ways of feeding a trainer, on rendered people or on your shards. storage: the loader on a disk and on
a web server whose answers come late, with and without a cache. decoding: what decoding costs the host, and
how much of it a GPU takes over. index: how long the index of millions of photos takes to load, and what a draw costs.
soak: memory of the loader over thousands of batches. shard: ways of aligning photos, and where the time goes. records:
memory and time of the offline stage's bookkeeping over ten thousand, a hundred thousand and a million records.
landmarks: speed, recall and landmark error of the face detector by the faces' width. Ways are measured in turn, round
by round, each run in a process of its own (but those of landmarks), and reported with their ratios.
"""

from pathlib import Path

from pipeline.benchmarks.runner import require_at_least
from shards.command import Parser, run
from shards.cores import usable_cores
from shards.storage.places import shard_folder


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.bench", description=__doc__)
    add = command.add_argument
    whats = ["loader", "storage", "decoding", "index", "soak", "shard", "records", "landmarks"]
    add("what", choices=whats, help="what to measure")
    add(
        "--shards",
        type=shard_folder,
        help="loader, storage, decoding, soak: folder written by pipeline.shard (default: rendered people)",
    )
    add(
        "--identities",
        type=int,
        default=400,
        help="loader, storage, decoding, soak: people to render, with 10 photos each",
    )
    add(
        "--latencies",
        type=int,
        nargs="+",
        default=[0, 20, 50, 100],
        metavar="MS",
        help="storage: milliseconds, 0 or more, after which the server answers",
    )
    add(
        "--mosaicml",
        type=Path,
        metavar="PYTHON",
        help="storage: interpreter of an environment with mosaicml-streaming and opencv-python-headless, "
        "to compare with (default: none)",
    )
    add("--root", type=Path, help="shard: folder of VGGFace2 (default: rendered people)")
    add("--landmarks", type=Path, metavar="CSV", help="shard: its landmark list (default: rendered people)")
    add("--photos", type=int, default=20_000, help="shard: photos to align; few are repeated to so many")
    add("--around", type=int, default=1, metavar="TIMES", help="shard: side of a photo, in sides of VGGFace2's")
    add("--size", type=int, default=128, help="side of a face in pixels; of shards that are named, their own counts")
    add("--network", type=Path, metavar="ONNX", help="landmarks: recogniser of 112 x 112 faces (default: none)")
    add("--out", type=Path, help="folder for the figures as JSON and PNG (default: none written)")
    add("--rounds", type=int, default=3, help="runs of every way; landmarks: scenes of twelve faces, too")
    add("--batches", type=int, default=10, help="loader, storage, decoding: batches measured in a run")
    add("--soak-batches", type=int, default=3000, help="soak: batches in all")
    add("--batch", type=int, default=128, help="identities in a batch; decoding: photos")
    add("--workers", type=int, default=usable_cores(), help="processes or threads of every way")
    add("--device", choices=["cpu", "gpu"], default="cpu", help="where batches are wanted")
    return command


def main() -> None:
    """Measure and report."""
    options = parser().parse_args()
    counts = ("identities", "photos", "around", "size", "rounds", "batches", "soak_batches", "batch", "workers")
    require_at_least(options, dict.fromkeys(counts, 1))
    if options.what == "loader":
        from pipeline.benchmarks.loader import bench_loader as bench
    elif options.what == "storage":
        from pipeline.benchmarks.storage import bench_storage as bench
    elif options.what == "decoding":
        from pipeline.benchmarks.decoding import bench_decoding as bench
    elif options.what == "shard":
        from pipeline.benchmarks.shard import bench_shard as bench
    elif options.what == "landmarks":
        from pipeline.benchmarks.landmarks import bench_landmarks as bench
    else:
        from pipeline.benchmarks import growth

        bench = {"index": growth.bench_index, "soak": growth.bench_soak, "records": growth.bench_records}[options.what]
    bench(options)


if __name__ == "__main__":
    run(main)
