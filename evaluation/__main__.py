"""Checkpoints to figures: `python -m evaluation --checkpoint FILE --out DIR --scface DIR --survface DIR`.

Runs the protocol of every data set that is given and writes results.json, report.md and report.html. Give
--checkpoint several times to see models side by side. Your own people: `--gallery DIR --probes DIR`.
"""

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from evaluation.protocols.options import add_data_options, check_data_options, protocol_options
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.metrics.figures import Outcome
    from evaluation.models.embedder import PictureEmbedder
    from evaluation.protocols.selection import Run
    from evaluation.reporting.results import Model


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation", description=__doc__)
    add = command.add_argument
    models = f"{CHECKPOINT_HELP}; several: side by side (default: none)"
    add("--checkpoint", action="append", default=[], metavar="MODEL", help=models)
    embeddings = "an .npz of names and vectors, in place of a model; several likewise (default: none)"
    add("--embeddings", action="append", default=[], metavar="FILE", help=embeddings)
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
    from rich.console import Console

    from evaluation.checks.leak_report import read_leaks
    from evaluation.models.embedder import library_versions
    from evaluation.protocols.selection import LOW_SIZES, plan
    from evaluation.reporting.report import write_report
    from evaluation.reporting.results import Report, Settings
    from evaluation.reporting.tables import figure_tables, print_tables

    device = device_of(options)
    protocols, skipped = plan(protocol_options(options, options.out / "landmarks"))
    embedders, models = _models(options, device)
    if options.check_input:
        _check_input(options, protocols, device)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(options.out, error) from error
    columns: list[tuple[PictureEmbedder, Model, dict[str, set[str]]]] = [
        (embedder, model, {}) for embedder, model in zip(embedders, _unlike(models), strict=True)
    ]
    if leave_out := read_leaks(options.leave_out) if options.leave_out else {}:
        columns = [
            (embedder, replace(model, label=label), names)
            for embedder, model, _ in columns
            for label, names in ((model.label, {}), (f"{model.label}, without leaks", leave_out))
        ]
    outcomes = {}
    for name, evaluate in protocols.items():
        results = tuple(_watched(evaluate, one, model, names.get(name, ())) for one, model, names in columns)
        outcomes[results[0].protocol] = results
    _refuse_nothing_measured([embedder for embedder, _, _ in columns], list(outcomes.values()))
    settings = Settings(
        device, options.flip, tuple(options.sizes or LOW_SIZES), options.match_gallery, options.precision
    )
    report = Report(tuple(model for _, model, _ in columns), outcomes, skipped, settings, library_versions())
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


def _check_input(options: Any, protocols: "dict[str, Run]", device: str) -> None:
    """Try other forms of input with each model in a file, and print which fits best."""
    from evaluation.checks.input_check import check_input, told

    for name in options.checkpoint:
        for line in told(name, check_input(name, options, device, protocols, options.bin)):
            print(line)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder} cannot be written ({error.strerror}); name another --out")


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


def _watched(evaluate: "Run", embedder: "PictureEmbedder", model: "Model", leave_out: "Collection[str]") -> "Outcome":
    """Measure a model, and say where its embeddings are all alike, and what was left out."""
    from evaluation.models.watching import Watched

    watched = Watched(embedder, leave_out)
    outcome = evaluate(watched)
    return replace(outcome, notes=(*watched.notes(model.label), *outcome.notes))


def _refuse_nothing_measured(embedders: "list[PictureEmbedder]", outcomes: "list[tuple[Outcome, ...]]") -> None:
    """Refuse a model of which nothing at all was measured, as where the data sets lie somewhere else."""
    from evaluation.models.embedder import nothing_usable

    for embedder, of_model in zip(embedders, zip(*outcomes, strict=True), strict=True):
        faults = {name: reason for outcome in of_model for name, reason in outcome.missing}
        if faults and not any(figure.n for outcome in of_model for figure in outcome.figures):
            raise nothing_usable(len(faults), *next(iter(faults.items())), embedder.hint)


def _unlike(models: list[Any]) -> tuple[Any, ...]:
    """Number the labels where several models have the same."""
    labels = [model.label for model in models]
    return tuple(
        replace(model, label=f"{model.label} ({number + 1})") if labels.count(model.label) > 1 else model
        for number, model in enumerate(models)
    )


if __name__ == "__main__":
    run(main)
