"""Photos to shards: `python -m pipeline.shard --dataset vggface2 --root DIR --landmarks CSV --out DIR`.

Reads photos with five landmarks, aligns the faces and writes tar shards with an index. The command may be
killed at any moment: the same command continues, and the finished folder is the same to the byte.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shards.command import Parser, UserError, run
from shards.cores import usable_cores
from shards.storage.places import Folder, shard_folder

if TYPE_CHECKING:
    from shards.format import Manifest


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.shard", description=__doc__)
    _add_input(command)
    command.add_argument(
        "--out",
        type=shard_folder,
        required=True,
        help="shard folder to write or to continue, or its address in a bucket such as s3://bucket/folder",
    )
    command.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder of this machine where a folder in a bucket is written first; may be removed once that is finished "
        "(default: none, needed where --out is an address)",
    )
    _add_faces(command)
    _add_tars(command)
    command.add_argument("--workers", type=int, default=usable_cores(), help="processes of this machine")
    command.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="work on the Dask cluster of this scheduler instead, such as tcp://host:8786 (default: none)",
    )
    return command


def _add_input(command: Parser) -> None:
    """Add the options that say which photos there are."""
    add = command.add_argument
    add(
        "--dataset",
        choices=["vggface2", "orl", "folder", "recordio", "survface", "scface", "tinyface"],
        help="layout of the input (default: none; this or --sources is needed)",
    )
    add("--root", type=Path, help="folder of the data set (default: none, which does for orl)")
    add(
        "--landmarks",
        type=Path,
        nargs="+",
        default=[],
        metavar="CSV",
        help="landmark lists; scface: their folder (default: none)",
    )
    add("--aligned", action="store_true", help="folder: the photos are aligned faces, no landmarks needed")
    add(
        "--unlabelled",
        action="store_true",
        help="folder: nobody knows whom the photos show; each is an identity of its own (with --min-photos 1)",
    )
    add("--people", choices=["train", "held-out", "all"], default="train", help="orl: which people")
    add("--exclude", type=Path, metavar="FILE", help="list of identities to leave out, one a line (default: none)")
    add(
        "--sources",
        type=Path,
        metavar="TOML",
        help="several sources in one run, instead of the options above (default: none)",
    )


def _add_faces(command: Parser) -> None:
    """Add the options that say how a photo becomes an encoded face."""
    add = command.add_argument
    add(
        "--template",
        choices=["paper", "centred", "whole"],
        help="where landmarks go; whole: not aligned (default: paper; recordio centred, survface and tinyface whole)",
    )
    add(
        "--warp",
        choices=["plain", "antialiased"],
        default="plain",
        help="plain: as published; antialiased: reads every pixel of a photo larger than its face, such as a mugshot",
    )
    add("--size", type=int, default=128, help="side of a face in pixels")
    add("--codec", choices=["jpg", "png", "webp"], default="jpg", help="png and webp are lossless")
    add("--quality", type=int, default=95, help="of JPEG, 1 to 100")


def _add_tars(command: Parser) -> None:
    """Add the options that say which faces go into which tar, and what stands beside them."""
    add = command.add_argument
    add("--seed", type=int, default=0, help="of the order of identities over the tars")
    add("--min-photos", type=int, default=4, help="identities with fewer photos are dropped")
    add("--tar-mb", type=int, default=256, help="bound of a tar in MiB")
    add("--min-tars", type=int, default=8, help="fewest tars, or one an identity where there are fewer of them")
    add(
        "--store-views",
        type=int,
        nargs="+",
        default=[],
        metavar="SIDE",
        help="store views of these sides in pixels beside each face, so that training need not decode to make them "
        "(default: none)",
    )


def main() -> None:
    """Write a shard folder."""
    options = parser().parse_args()
    from rich.console import Console

    from pipeline.jobs.executors import prepare_processes
    from pipeline.sharding.plan import Plan, Settings
    from pipeline.sharding.run import refuse_unusable, shard
    from pipeline.sharding.source_options import open_sources
    from pipeline.sharding.to_bucket import shard_to_bucket

    if options.workers < 1:
        raise UserError(f"{options.workers} workers; give at least 1")
    local = _local(options.out, options.work)
    sources, template = open_sources(options)
    settings = Settings(
        template=template,
        size=options.size,
        codec=options.codec,
        quality=options.quality,
        seed=options.seed,
        min_photos=options.min_photos,
        tar_mb=options.tar_mb,
        min_tars=options.min_tars,
        stored_views=tuple(options.store_views),
        warp=options.warp,
    )
    try:
        refuse_unusable(local)
        if not options.dask:
            prepare_processes()
        with Console(stderr=True).status("reading what is listed and what lies on disk"):
            plan = Plan(sources, settings)
        write = shard if isinstance(options.out, Path) else partial(shard_to_bucket, target=options.out)
        manifest, already = write(plan, local, workers=options.workers, dask=options.dask)
    except OSError as error:
        raise UserError(
            f"{error.filename or local}: {error.strerror or error}; make room or mend it, then run the same "
            "command again: finished tars are kept"
        ) from error
    except MemoryError as error:
        raise UserError(
            f"no memory is left ({error}); give fewer --workers, then run the same command again: finished tars "
            "are kept"
        ) from error
    passed_over = sum(source.passed_over.pictures for source in sources)
    _summary(manifest, options.out, already, passed_over)


def _local(out: Folder, work: Path | None) -> Path:
    """Return the folder of this machine to write.

    Raises:
        UserError: none is named, or two are.
    """
    if isinstance(out, Path):
        if work is not None:
            raise UserError(f"--work {work} beside --out {out}, which is on this machine; leave --work out")
        return out
    if work is None:
        raise UserError(f"--out {out} is not on this machine; name a folder for its tars in the making by --work")
    return work


def _summary(manifest: "Manifest", out: Folder, already: bool, passed_over: int) -> None:
    """Print what the folder holds and that the counts add up."""
    from rich.console import Console
    from rich.table import Table

    print(f"{out}: {'was finished already' if already else 'finished'}")
    table = Table()
    table.add_column("photos")
    table.add_column("count", justify="right")
    table.add_row("in the input", f"{manifest.input_records:,}")
    table.add_row(f"written, of {manifest.identities:,} identities", f"{manifest.photos:,}")
    for reason, count in manifest.rejects.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    table.add_section()
    total = manifest.photos + sum(manifest.rejects.values())
    table.add_row("written + rejected = input", f"{total:,} = {manifest.input_records:,}")
    if passed_over:
        table.add_row("passed over beside them: hidden files", f"{passed_over:,}")
    table.add_row("tars", f"{len(manifest.tars):,}")
    table.add_row("MiB", f"{sum(tar.bytes for tar in manifest.tars) / 2**20:,.1f}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
