"""Adapt a recogniser in one command: `python -m training.adapt --model FILE --photos DIR --out adapted.onnx`.

Finds the faces in PHOTOS/PERSON/PHOTO.jpg, sets people aside, adapts the recogniser on the others, writes it as ONNX,
in the layout of the file that came in where that is ONNX, and tests both on those set aside. Ends in the figures before
and after. Each stage is a command of this program, which is printed. The command may be stopped or killed at any
moment: the same command continues.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, UserError, run
from shards.cores import usable_cores
from training.settings.recipes import MODES

if TYPE_CHECKING:
    from shards.format import Preprocessing
    from training.adaptation.people_set_aside import SetAside
    from training.adaptation.stages import Stages
    from training.networks.backbone_file import LoadedBackbone
    from training.settings.config import Config

_FEW_PEOPLE = 20


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m training.adapt", description=__doc__)
    add = command.add_argument
    add("--model", type=Path, required=True, help="file of the recogniser: ONNX, ours or another project's")
    add("--photos", type=Path, required=True, metavar="DIR", help="folder of folders of people, PERSON/PHOTO")
    add("--out", type=Path, required=True, help="ONNX file to write; an older one is replaced")
    add("--work", type=Path, metavar="DIR", help="folder of everything else (default: that of --out, ending in .work)")
    add(
        "--mode",
        choices=list(MODES),
        default="compatible",
        help="compatible: the enrolled gallery stays; fresh: it is enrolled again, and more is gained",
    )
    add("--landmarks", type=Path, metavar="CSV", help="five points a photo (default: the faces are found)")
    add(
        "--template", choices=["centred", "paper"], help="where the recogniser takes landmarks to be (default: its own)"
    )
    add("--colour", choices=["RGB", "BGR"], help="order of the colours that it takes (default: its own)")
    add("--mean", type=float, help="a level x, 0..255, goes in as (x - mean) / deviation (default: its own)")
    add("--deviation", type=float, help="likewise, above 0 (default: its own)")
    add("--aligned", action="store_true", help="the photos are faces aligned as the recogniser takes them")
    add("--set-aside", type=float, default=0.25, help="share of the people to test on, above 0 and below 1")
    add("--sizes", type=int, nargs="+", default=[8, 12, 16, 20], help="of probes in the test, in pixels")
    add("--steps", type=int, help="of the training, at least 1 (default: those of the recipe adapt)")
    add("--seed", type=int, default=0, help="of every choice")
    add(
        "--processes",
        type=int,
        default=usable_cores(),
        help="number of processes, of the training and of the search for faces",
    )
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="of training and test")
    return command


def main() -> None:
    """Run all stages, from photos to the adapted file."""
    options = parser().parse_args()
    _check(options)
    from training.adaptation.stages import Stages

    loaded = _open_model(options)
    form = loaded.preprocessing
    work = options.work or options.out.with_name(f"{options.out.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    stages = Stages(count=6)
    print(f"{options.model}: {form.template} template, {form.size} pixels, {form.input_told}", file=sys.stderr)
    landmarks = _find_faces(options, work, stages)
    chosen = _set_people_aside(options, landmarks, work, stages)
    _write_shards(options, landmarks, loaded, work, stages)
    final = _adapt(options, loaded, work, stages)
    stages.run("adapted file", "training.export", "--checkpoint", final, "--format", "onnx", "--out", options.out)
    report = _evaluate(options, landmarks, form, work, stages)
    _print_gains(report / "results.json", len(chosen.people))
    print(f"report      {report / 'report.html'}")
    print(f"adapted     {options.out}")


def _open_model(options: Any) -> "LoadedBackbone":
    """Load the recogniser as the options tell it, or ask for what its file does not say."""
    from dataclasses import replace

    from training.networks.exported_file import carries_metadata, exported_format, load_trainable
    from training.networks.initial_weights import as_told
    from training.settings.config import Model

    loaded = load_trainable(options.model)
    form = as_told(loaded.preprocessing, Model(**_told(options)))
    if not options.template and exported_format(options.model) == "onnx" and not carries_metadata(options.model):
        raise UserError(
            f"{options.model} does not say how its pictures are prepared; say it with --template centred, as most "
            f"recognisers of 112 pixels are trained, and where it is not {form.input_told} with --colour, --mean and "
            "--deviation"
        )
    if not form.points:
        raise UserError(
            f"{options.model} takes pictures that are not aligned (template {form.template}); "
            "adapt it by the commands of docs/adapt.md, with shards of such pictures"
        )
    return replace(loaded, preprocessing=form)


def _told(options: Any) -> dict[str, Any]:
    """Return what the options say of the recogniser's pictures."""
    return {name: getattr(options, name) for name in ("template", "colour", "mean", "deviation")}


def _check(options: Any) -> None:
    if not options.photos.is_dir():
        raise UserError(f"no folder {options.photos}; expected a folder that holds a folder of photos for each person")
    if options.landmarks and options.aligned:
        raise UserError("--landmarks and --aligned exclude each other; give one of them")
    if not 0 < options.set_aside < 1:
        raise UserError(f"--set-aside {options.set_aside}; give a share above 0 and below 1, such as 0.25")
    steps = 1 if options.steps is None else options.steps
    if min(options.processes, steps, *options.sizes) < 1:
        raise UserError("--processes, --sizes and --steps; give numbers of at least 1")
    if options.out.suffix != ".onnx" or not options.out.absolute().parent.is_dir():
        raise UserError(f"--out {options.out}; name a file that ends in .onnx, in a folder that is there")


def _find_faces(options: Any, work: Path, stages: "Stages") -> Path | None:
    """Return the landmark list, found where none was given; None for faces that are aligned."""
    if options.aligned or options.landmarks:
        stages.begin("faces: as given")
        return None if options.aligned else Path(options.landmarks)
    found = work / "landmarks.csv"
    stages.run(
        "faces: five points in each photo",
        "pipeline.landmarks",
        *("--images", options.photos, "--out", found, "--workers", options.processes),
    )
    return found


def _set_people_aside(options: Any, landmarks: Path | None, work: Path, stages: "Stages") -> "SetAside":
    """Choose the people to test on and write their folders."""
    from pipeline.sources.landmark_list import read_landmarks
    from pipeline.sources.picture_files import walk_pictures
    from training.adaptation.people_set_aside import set_people_aside, usable_photos, write_test_folders

    stages.begin("people: some are set aside for the test")
    with_face = None if landmarks is None else set(read_landmarks(landmarks)["name"])
    photos = usable_photos(list(walk_pictures(options.photos)), with_face)
    chosen = set_people_aside(photos, options.set_aside, options.seed)
    write_test_folders(chosen, options.photos, work / "test")
    many = len(chosen.trained)
    print(f"    {many:,} people to train on, {len(chosen.people):,} set aside", file=sys.stderr)
    if many < _FEW_PEOPLE:
        print(
            f"    note: {many} people are few: the gains of docs/adapt.md are with 30; expect less on other people, "
            "with a wide interval",
            file=sys.stderr,
        )
    return chosen


def _write_shards(options: Any, landmarks: Path | None, loaded: "LoadedBackbone", work: Path, stages: "Stages") -> None:
    from training.adaptation.people_set_aside import LIST

    form = loaded.preprocessing
    stages.run(
        "shards: the faces of the others, aligned",
        "pipeline.shard",
        *("--dataset", "folder", "--root", options.photos, "--out", work / "shards"),
        *(("--aligned",) if landmarks is None else ("--landmarks", landmarks)),
        *("--exclude", work / "test" / LIST, "--template", form.template, "--size", form.size),
        *("--codec", "png", "--min-photos", 2, "--workers", options.processes),
    )


def _adapt(options: Any, loaded: "LoadedBackbone", work: Path, stages: "Stages") -> Path:
    """Train, and return the final checkpoint."""
    from shards.format import read_manifest
    from training.checkpoints.run_folder import FINAL

    config, processes = _config(options, read_manifest(work / "shards").identities)
    stages.run(
        f"training: recipe adapt, {options.mode}, {config.steps:,} steps{_told_duration(loaded, config, options)}",
        "training.main",
        *("--recipe", "adapt", "--mode", options.mode, "--teacher", options.model),
        *("--shards", work / "shards", "--run-dir", work / "run", "--resume", "--device", options.device),
        *("--seed", options.seed, "--batch", config.batch, "--steps", config.steps),
        *("--optimizer.milestones", list(config.optimizer.milestones)),
        *(word for name, value in _told(options).items() if value is not None for word in (f"--model.{name}", value)),
        launcher=("torch.distributed.run", "--standalone", "--local-addr", "localhost", "--nproc-per-node", processes),
    )
    return work / "run" / FINAL


def _config(options: Any, identities: int) -> "tuple[Config, int]":
    """Return the recipe for so many identities and steps, and the number of processes that share a batch."""
    from dataclasses import replace

    from training.ranks.machine import chosen_device
    from training.settings.recipes import recipe

    config = recipe("adapt", options.mode)
    batch = min(config.batch, identities)
    processes = options.processes
    if chosen_device(options.device) == "gpu":
        import torch

        processes = min(processes, torch.cuda.device_count())
    processes = max(1, min(processes, batch // 2))
    steps = options.steps or config.steps
    milestones = tuple(step * steps // config.steps for step in config.optimizer.milestones)
    optimizer = replace(config.optimizer, milestones=milestones)
    return replace(config, batch=batch - batch % processes, steps=steps, optimizer=optimizer), processes


def _told_duration(loaded: "LoadedBackbone", config: "Config", options: Any) -> str:
    from training.adaptation.stages import seconds_of_training
    from training.ranks.machine import chosen_device

    if chosen_device(options.device) == "gpu":
        return ""
    minutes = seconds_of_training(loaded.backbone, loaded.preprocessing.size, config, options.processes) / 60
    return f", about {minutes:.0f} minutes" if minutes >= 1 else ""


def _evaluate(options: Any, landmarks: Path | None, form: "Preprocessing", work: Path, stages: "Stages") -> Path:
    """Test both files on the people set aside, and return the folder of the report."""
    from training.adaptation.people_set_aside import GALLERY, PROBES, STRANGERS

    test, report = work / "test", work / "report"
    parts = [part for part in (GALLERY, PROBES, STRANGERS) if (test / part).is_dir()]
    folders = [word for part in parts for word in (f"--{part}", test / part)]
    faces = ["--aligned"] if landmarks is None else ["--landmarks", *([landmarks] * len(parts))]
    kept = options.mode == "compatible"
    models = ["--checkpoint", options.out, "--gallery-model" if kept else "--checkpoint", options.model]
    stages.run(
        "test: the people set aside, before and after",
        "evaluation",
        *models,
        *folders,
        *faces,
        *("--template", form.template, "--size", form.size, "--colour", form.colour),
        *("--mean", form.mean, "--deviation", form.deviation),
        *("--sizes", *options.sizes, "--device", options.device, "--out", report),
    )
    return report


def _print_gains(results: Path, people: int) -> None:
    """Print the figures before and after."""
    from rich.console import Console
    from rich.table import Table

    from training.adaptation.gain import read_gains

    labels, found = read_gains(results)
    table = Table(title=f"per cent, on {people} people who were not trained on")
    for head in ("figure", "probe, pixels", *labels, "n"):
        table.add_column(head, justify="left" if head == "figure" else "right")
    for one in found:
        values = ("-" if value is None else f"{value:.1f}" for value in one.values)
        table.add_row(one.figure, one.size, *values, f"{one.n:,}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
