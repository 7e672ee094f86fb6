"""Checkpoints to figures: `python -m evaluation --checkpoint FILE --out DIR --scface DIR --survface DIR`.

Runs the protocol of every data set that is given and writes results.json, report.md and report.html. Give
--checkpoint several times to see models side by side. Your own people: `--gallery DIR --probes DIR`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.metrics.figures import AlignmentKind, Outcome
    from evaluation.models.embedder import PictureEmbedder
    from evaluation.reporting.results import Model
    from evaluation.scoring.faces import FaceSource


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation", description=__doc__)
    add = command.add_argument
    models = f"{CHECKPOINT_HELP}; several: side by side (default: none)"
    add("--checkpoint", action="append", default=[], metavar="MODEL", help=models)
    embeddings = "an .npz of names and vectors, in place of a model; several likewise (default: none)"
    add("--embeddings", action="append", default=[], metavar="FILE", help=embeddings)
    add("--out", type=Path, required=True, help="folder for the report")
    add("--lfw", type=Path, metavar="DIR", help="folder LFW (default: skipped)")
    add("--scface", type=Path, metavar="DIR", help="folder SCface (default: skipped)")
    add("--survface", type=Path, metavar="DIR", help="folder QMUL-SurvFace (default: skipped)")
    add("--tinyface", type=Path, metavar="DIR", help="folder TinyFace (default: skipped)")
    add("--orl", action="store_true", help="run on the ORL people that the quickstart holds out")
    own = "folder of folders of people, PERSON/PHOTO"
    add("--gallery", type=Path, metavar="DIR", help=f"{own}: whom the system knows (default: skipped)")
    add("--probes", type=Path, metavar="DIR", help=f"{own}: other photos of them, under the same names (default: none)")
    add("--strangers", type=Path, metavar="DIR", help=f"{own}: people who must not be found (default: none)")
    add("--pairs", type=Path, metavar="FILE", help="two names and 1 or 0 a line, or LFW's form (default: skipped)")
    add("--root", type=Path, metavar="DIR", help="folder that the names of --pairs are relative to (default: none)")
    xqlfw = "folder XQLFW, with xqlfw_pairs.txt (default: skipped)"
    add("--xqlfw", type=Path, metavar="DIR", help=xqlfw)
    ijb = "folder IJBB or IJBC, with meta and loose_crop (default: skipped)"
    add("--ijb", type=Path, metavar="DIR", help=ijb)
    bins = "pair sets as InsightFace shares them, lfw.bin, cfp_fp.bin and others (default: skipped)"
    add("--bin", type=Path, nargs="+", default=[], metavar="FILE", help=bins)
    _add_face_options(command)
    add(
        "--lists",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of landmark and pair lists (default: each data set's own, and data)",
    )
    add(
        "--sizes",
        type=int,
        nargs="+",
        help="of reduced pictures, in pixels (default: 8 12 16 20 for LFW and ORL, none for your own people and --bin)",
    )
    add(
        "--match-gallery",
        action="store_true",
        help="reduce gallery pictures to the probes' size; published figures have them in full",
    )
    add_model_options(command)
    return command


def _add_face_options(command: Parser) -> None:
    """Add what says where the faces stand in pictures for which no data set's own list says it."""
    add = command.add_argument
    where = "of your own people and pairs, TinyFace and QMUL-SurvFace"
    add(
        "--landmarks",
        type=Path,
        nargs="+",
        default=[],
        metavar="CSV",
        help=f"five points a picture {where}: one list, or one each for gallery, probes and strangers "
        "(default: pictures are taken whole)",
    )
    add("--detect", action="store_true", help=f"find the faces {where} with the detector of pipeline.landmarks")
    add("--aligned", action="store_true", help=f"say that the pictures {where} hold aligned faces already")
    add(
        "--several",
        choices=["largest", "central", "none"],
        default="largest",
        help="which face of several --detect takes",
    )
    add("--score", type=float, default=0.9, help="how sure --detect must be of a face, 0 to 1")
    add("--smallest", type=float, default=10.0, help="width in pixels of the smallest face that --detect looks for")
    add(
        "--not-found",
        choices=["error", "whole"],
        default="error",
        help="a picture without a face counts as an error, or is taken whole",
    )


def main() -> None:
    """Evaluate checkpoints on every data set given."""
    options = parser().parse_args()
    _check(options)
    from rich.console import Console

    from evaluation.models.embedder import library_versions
    from evaluation.protocols.selection import LOW_SIZES, ProtocolOptions, plan
    from evaluation.reporting.report import write_report
    from evaluation.reporting.results import Report, Settings
    from evaluation.reporting.tables import figure_tables, print_tables

    device = device_of(options)
    protocols, skipped = plan(
        ProtocolOptions(
            options.lfw,
            options.scface,
            options.survface,
            options.tinyface,
            options.orl,
            options.lists,
            options.sizes,
            options.match_gallery,
            options.gallery,
            options.probes,
            options.strangers,
            options.pairs,
            options.root,
            options.xqlfw,
            options.ijb,
            options.bin,
            _faces(options),
        )
    )
    embedders, models = _models(options, device)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(options.out, error) from error
    outcomes = {}
    for evaluate in protocols:
        results = tuple(evaluate(embedder) for embedder in embedders)
        outcomes[results[0].protocol] = results
    _refuse_nothing_measured(embedders, list(outcomes.values()))
    settings = Settings(
        device, options.flip, tuple(options.sizes or LOW_SIZES), options.match_gallery, options.precision
    )
    report = Report(_unlike(models), outcomes, skipped, settings, library_versions())
    try:
        page = write_report(options.out, report)
    except OSError as error:
        raise _unwritable(options.out, error) from error
    # A file or a pipe has no width of its own.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    print_tables(report, figure_tables(report), console)
    for name, embedder in zip([*options.checkpoint, *options.embeddings], embedders, strict=True):
        print(f"checkpoint  {name}")
        print(f"embeddings  {embedder.summary()}")
    print(f"report      {page}")
    print(f"results     {page.with_name('results.json')}")


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder} cannot be written ({error.strerror}); name another --out")


def _faces(options: Any) -> "FaceSource":
    """Return where the faces stand, as the options say."""
    from evaluation.scoring.faces import FaceSource
    from shards.cores import usable_cores

    kind: AlignmentKind = "whole"
    if options.landmarks:
        kind = "landmark list"
    elif options.detect:
        kind = "detection"
    elif options.aligned:
        kind = "aligned already"
    return FaceSource(
        kind,
        tuple(options.landmarks),
        options.several,
        options.score,
        options.smallest,
        options.not_found,
        options.out / "landmarks",
        usable_cores(),
    )


def _check(options: Any) -> None:
    if not (options.checkpoint or options.embeddings):
        raise UserError("no model given; give --checkpoint MODEL, or --embeddings FILE")
    _check_own(options)
    own = options.gallery or options.pairs or options.bin or options.xqlfw or options.ijb
    if not (own or options.lfw or options.scface or options.survface or options.tinyface or options.orl):
        raise UserError(
            "no data set given; give at least one of --gallery and --probes, --pairs and --root, --bin, --xqlfw, "
            "--ijb, --lfw, --scface, --survface, --tinyface, --orl"
        )
    if too_small := [size for size in options.sizes or () if size < 1]:
        raise UserError(f"a size of {too_small[0]} pixels; give sizes of at least 1")
    for folder in options.lists:
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; --lists names folders of landmark and pair lists")


def _check_own(options: Any) -> None:
    """Refuse options that go together and do not stand together."""
    for one, other in (("gallery", "probes"), ("probes", "gallery"), ("strangers", "gallery"), ("pairs", "root")):
        if getattr(options, one) and not getattr(options, other):
            raise UserError(f"--{one} without --{other}; give both")
    if options.root and not options.pairs:
        raise UserError("--root without --pairs; give both")
    if (options.bin or options.ijb) and options.flip:
        raise UserError(
            "--flip with --bin or --ijb, whose figures are with mirror images and without them anyway; leave --flip out"
        )
    if sum(map(bool, (options.landmarks, options.detect, options.aligned))) > 1:
        raise UserError("--landmarks, --detect and --aligned exclude each other; give one of them")
    if not 0 <= options.score <= 1:
        raise UserError(f"--score {options.score}; give a value from 0 to 1")
    if not 4 <= options.smallest <= 10_000:
        raise UserError(f"--smallest {options.smallest}; give pixels from 4 to 10000")


def _models(options: Any, device: str) -> "tuple[list[PictureEmbedder], list[Model]]":
    """Open every checkpoint, then every file of embeddings, and describe each."""
    from evaluation.models.stored_embeddings import StoredEmbeddings
    from evaluation.reporting.results import Model

    several = len(options.checkpoint) > 1
    opened = [open_embedder(name, options, device, beside_others=several) for name in options.checkpoint]
    stored = [StoredEmbeddings(Path(name)) for name in options.embeddings]
    models = [Model.of(Path(name), loaded) for name, (_, loaded) in zip(options.checkpoint, opened, strict=True)]
    models += [
        Model.of_embeddings(Path(name), file.origin) for name, file in zip(options.embeddings, stored, strict=True)
    ]
    return [*(embedder for embedder, _ in opened), *stored], models


def _refuse_nothing_measured(embedders: "list[PictureEmbedder]", outcomes: "list[tuple[Outcome, ...]]") -> None:
    """Refuse a model of which nothing at all was measured, as where the data sets lie somewhere else."""
    from evaluation.models.embedder import nothing_usable

    for embedder, of_model in zip(embedders, zip(*outcomes, strict=True), strict=True):
        faults = {name: reason for outcome in of_model for name, reason in outcome.missing}
        if faults and not any(figure.n for outcome in of_model for figure in outcome.figures):
            raise nothing_usable(len(faults), *next(iter(faults.items())), embedder.hint)


def _unlike(models: list[Any]) -> tuple[Any, ...]:
    """Number the labels where several models have the same."""
    from dataclasses import replace

    labels = [model.label for model in models]
    return tuple(
        replace(model, label=f"{model.label} ({number + 1})") if labels.count(model.label) > 1 else model
        for number, model in enumerate(models)
    )


if __name__ == "__main__":
    run(main)
