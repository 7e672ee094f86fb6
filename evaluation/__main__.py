"""Checkpoints to figures: `python -m evaluation --checkpoint FILE --out DIR --scface DIR --survface DIR`.

Runs the protocol of every data set that is given and writes results.json, report.md and report.html. Give
--checkpoint several times to see models side by side. Your own people: `--gallery DIR --probes DIR`.
"""

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.models.options import CHECKPOINT_HELP, add_model_options
from evaluation.protocols.options import add_data_options, check_data_options, protocol_options
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.metrics.figures import Outcome
    from evaluation.models.embedder import PictureEmbedder
    from evaluation.protocols.selection import Run
    from evaluation.reporting.columns import Columns
    from evaluation.reporting.results import Model, Report
    from training.ranks.world import World


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation", description=__doc__)
    add = command.add_argument
    models = f"{CHECKPOINT_HELP}; several: side by side (default: none)"
    add("--checkpoint", action="append", default=[], metavar="MODEL", help=models)
    embeddings = "an .npz of names and vectors, in place of a model; several likewise (default: none)"
    add("--embeddings", action="append", default=[], metavar="FILE", help=embeddings)
    gallery_model = (
        "another model that embeds the galleries, as of a system that keeps its gallery: each --checkpoint is shown "
        "with its own gallery, with this model's, and beside this model (default: none)"
    )
    add("--gallery-model", metavar="MODEL", help=gallery_model)
    parity = (
        "beside the checkpoint its exported ONNX file, in float32 and in 8 bits, with the differences "
        "(default: none; without a name it is exported into OUT/parity)"
    )
    add("--parity", nargs="?", const="", metavar="ONNX", help=parity)
    add("--out", type=Path, required=True, help="folder for the report")
    add_data_options(command)
    leaks = "leaks.csv of evaluation.leaks: every model is also measured without the pictures in it (default: none)"
    add("--leave-out", type=Path, metavar="FILE", help=leaks)
    add("--check-input", action="store_true", help="first try whether another form of input fits each model better")
    add_model_options(command)
    return command


def main() -> None:
    """Evaluate checkpoints on every data set given."""
    options = parser().parse_args()
    if not (options.checkpoint or options.embeddings):
        raise UserError("no model given; give --checkpoint MODEL, or --embeddings FILE")
    check_data_options(options)
    from contextlib import nullcontext

    from training.ranks.machine import chosen_device, processes_here
    from training.ranks.world import ALONE, end_all_ranks, joined_world

    device = chosen_device(options.device, processes=processes_here())
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and options.parity is not None:
        raise UserError("--parity writes files and takes one process; run it without torchrun")
    with joined_world(device) if several else nullcontext(ALONE) as world:
        try:
            _evaluate(options, device, world)
        except UserError as mistake:
            # All processes make the same ones, and one line is enough.
            end_all_ranks(world, str(mistake))


def _evaluate(options: Any, device: str, world: "World") -> None:
    """Measure every model; of several processes the first one writes and prints."""
    from evaluation.checks.leak_report import read_leaks
    from evaluation.models.embedder import Embedder
    from evaluation.models.identity import library_versions
    from evaluation.models.recorded import Recorded
    from evaluation.protocols.selection import LOW_SIZES, plan
    from evaluation.reporting.columns import columns_of
    from evaluation.reporting.report import write_report
    from evaluation.reporting.results import Report, Settings
    from training.ranks.world import errors_end_all_ranks

    planned = None
    # One process first: a detection keeps what it found, and the others read it.
    for first in (True, False):
        with errors_end_all_ranks(world):
            if world.is_main == first:
                planned = plan(protocol_options(options, options.out / "landmarks"))
    assert planned is not None
    protocols, skipped = planned
    with errors_end_all_ranks(world):
        if world.is_main:
            _prepare(options, protocols, device)
    leave_out = read_leaks(options.leave_out) if options.leave_out else {}
    columns = columns_of(options, device)
    for embedder in columns.embedders:
        if isinstance(embedder, Embedder | Recorded):
            embedder.share_with(world)
    columns = columns.also_without_leaks() if leave_out else columns
    outcomes = {}
    for name, evaluate in protocols.items():
        left_out = [leave_out.get(name, ()) if without else () for without in columns.without_leaks]
        each = zip(columns.embedders, columns.models, left_out, strict=True)
        results = [_watched(evaluate, *column) for column in each]
        fingerprint = columns.recorded.take_fingerprint()
        outcomes[results[0].protocol] = tuple(replace(one, fingerprint=fingerprint) for one in results)
    _refuse_nothing_measured(columns.embedders, list(outcomes.values()))
    settings = Settings(
        device, options.flip, tuple(options.sizes or LOW_SIZES), options.match_gallery, options.precision
    )
    report = Report(columns.described(), outcomes, skipped, settings, library_versions(), columns.compared)
    with errors_end_all_ranks(world):
        if world.is_main:
            try:
                page = write_report(options.out, report)
            except OSError as error:
                raise _unwritable(options.out, error) from error
    if not world.is_main:
        return
    _print(report, columns, page, parity=options.parity is not None)


def _print(report: "Report", columns: "Columns", page: Path, *, parity: bool) -> None:
    from rich.console import Console

    from evaluation.reporting.parity import losses
    from evaluation.reporting.tables import figure_tables, print_tables

    # A file or a pipe has no width of its own.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    print_tables(report, figure_tables(report), console)
    for model, embedder, without in zip(columns.models, columns.embedders, columns.without_leaks, strict=True):
        if not model.gallery and not without:
            print(f"checkpoint  {model.label} ({model.file})")
            print(f"embeddings  {embedder.summary()}")
    for line in losses(report) if parity else ():
        print(f"parity      {line}")
    print(f"report      {page}")
    print(f"results     {page.with_name('results.json')}")


def _prepare(options: Any, protocols: "dict[str, Run]", device: str) -> None:
    """Make the folder of the report; where it is asked for, try other forms of input, and print which fits best."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(options.out, error) from error
    if not options.check_input:
        return
    from evaluation.checks.input_check import check_input, told

    for name in options.checkpoint:
        for line in told(name, check_input(name, options, device, protocols, options.bin)):
            print(line)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder} cannot be written ({error.strerror}); name another --out")


def _watched(evaluate: "Run", embedder: "PictureEmbedder", model: "Model", leave_out: "Collection[str]") -> "Outcome":
    """Measure a model, and say where its embeddings are all alike, and what was left out."""
    from evaluation.models.gallery_model import WithGalleryOf, of_gallery
    from evaluation.models.watching import Watched

    probes, gallery = Watched(embedder, leave_out), of_gallery(embedder)
    one = gallery is embedder
    outcome = evaluate(probes if one else WithGalleryOf(probes, Watched(gallery, leave_out)))
    return replace(outcome, notes=(*probes.notes(model.label), *outcome.notes))


def _refuse_nothing_measured(embedders: "Sequence[PictureEmbedder]", outcomes: "list[tuple[Outcome, ...]]") -> None:
    """Refuse a model of which nothing at all was measured, as where the data sets lie somewhere else."""
    from evaluation.models.embedder import nothing_usable

    for embedder, of_model in zip(embedders, zip(*outcomes, strict=True), strict=True):
        faults = {name: reason for outcome in of_model for name, reason in outcome.missing}
        if faults and not any(figure.n for outcome in of_model for figure in outcome.figures):
            raise nothing_usable(len(faults), *next(iter(faults.items())), embedder.hint)


if __name__ == "__main__":
    run(main)
