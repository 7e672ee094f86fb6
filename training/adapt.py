"""Adapt a recogniser in one command: `python -m training.adapt --model FILE --photos DIR --out adapted.onnx`.

Finds the faces in PHOTOS/PERSON/PHOTO.jpg, sets people aside, adapts the recogniser on the others, writes it as ONNX,
in the layout of the file that came in where that is ONNX, and tests both on those set aside. Ends in the figures before
and after. Real small pictures from your cameras, CROPS/PERSON/PICTURE.jpg, are trained on beside reduced photos, and
those of the people set aside are a test of their own. Each stage is a command of this program, which is printed. The
command may be stopped or killed at any moment: the same command continues.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, UserError, run
from shards.cores import usable_cores
from training.settings.recipes import MODES

if TYPE_CHECKING:
    from shards.format import Preprocessing
    from training.adaptation.people_set_aside import Photos, SetAside
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
    add("--crops", type=Path, metavar="DIR", help="small pictures of the same people, PERSON/PICTURE (default: none)")
    add("--landmarks", type=Path, metavar="CSV", help="five points a photo (default: the faces are found)")
    add("--crop-landmarks", type=Path, metavar="CSV", help="likewise, of --crops (default: the faces are found)")
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
    stages = Stages(count=9 if options.crops else 6)
    print(f"{options.model}: {form.template} template, {form.size} pixels, {form.input_told}", file=sys.stderr)
    photos = _find_faces(options, options.photos, options.landmarks, work / "landmarks.csv", stages)
    crops = None
    if options.crops:
        crops = _find_faces(options, options.crops, options.crop_landmarks, work / "crop-landmarks.csv", stages)
    chosen = _set_people_aside(options, photos, crops, work, stages)
    _write_shards(options, photos, form, work, work / "shards", stages)
    if crops:
        _write_shards(options, crops, form, work, work / "crops", stages, "--min-photos", 1)
    final = _adapt(options, loaded, work, stages)
    stages.run("adapted file", "training.export", "--checkpoint", final, "--format", "onnx", "--out", options.out)
    _test(options, chosen, photos, crops, form, work, stages)
    print(f"adapted     {options.out}")


def _test(
    options: Any,
    chosen: "SetAside",
    photos: "Photos",
    crops: "Photos | None",
    form: "Preprocessing",
    work: Path,
    stages: "Stages",
) -> None:
    """Test on the people set aside, on their photos reduced and on their own small pictures."""
    from training.adaptation.gain import print_gains
    from training.adaptation.people_set_aside import CROPS, GALLERY, PROBES, STRANGERS

    reports = {"report": _evaluate(options, (photos,) * 3, (GALLERY, PROBES, STRANGERS), form, work, stages)}
    if crops and (work / "test" / CROPS).is_dir():
        reports["crops"] = _evaluate(options, (photos, crops), (GALLERY, CROPS), form, work, stages)
    elif crops:
        stages.begin("test: none of the people set aside has a small picture with a face")
    for what, report in reports.items():
        print_gains(report / "results.json", len(chosen.people if what == "report" else chosen.known))
        print(f"{what:<11} {report / 'report.html'}")


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
    if options.crops and not options.crops.is_dir():
        raise UserError(f"no folder {options.crops}; expected a folder of small pictures for each person")
    if options.crop_landmarks and not options.crops:
        raise UserError("--crop-landmarks without --crops; give both or neither")
    if (options.landmarks or options.crop_landmarks) and options.aligned:
        raise UserError("--landmarks and --aligned exclude each other; give one of them")
    if not 0 < options.set_aside < 1:
        raise UserError(f"--set-aside {options.set_aside}; give a share above 0 and below 1, such as 0.25")
    steps = 1 if options.steps is None else options.steps
    if min(options.processes, steps, *options.sizes) < 1:
        raise UserError("--processes, --sizes and --steps; give numbers of at least 1")
    if options.out.suffix != ".onnx" or not options.out.absolute().parent.is_dir():
        raise UserError(f"--out {options.out}; name a file that ends in .onnx, in a folder that is there")


def _find_faces(options: Any, root: Path, given: Path | None, found: Path, stages: "Stages") -> "Photos":
    """Return photos with their landmark list, found where none was given."""
    from training.adaptation.people_set_aside import Photos

    if options.aligned or given:
        stages.begin(f"faces of {root}: as given")
        return Photos(root, given)
    words = ("--images", root, "--out", found, "--workers", options.processes)
    stages.run(f"faces of {root}: five points in each", "pipeline.landmarks", *words)
    return Photos(root, found)


def _set_people_aside(
    options: Any, photos: "Photos", crops: "Photos | None", work: Path, stages: "Stages"
) -> "SetAside":
    """Choose the people to test on and write their folders."""
    from training.adaptation.people_set_aside import set_people_aside, write_test_folders

    stages.begin("people: some are set aside for the test")
    chosen = set_people_aside(photos.usable(), options.set_aside, options.seed)
    write_test_folders(chosen, photos, crops, work / "test")
    many = len(chosen.trained)
    print(f"    {many:,} people to train on, {len(chosen.people):,} set aside", file=sys.stderr)
    if many < _FEW_PEOPLE:
        print(
            f"    note: {many} people are few: the gains of docs/adapt.md are with 30; expect less on other people, "
            "with a wide interval",
            file=sys.stderr,
        )
    return chosen


def _write_shards(
    options: Any,
    photos: "Photos",
    form: "Preprocessing",
    work: Path,
    out: Path,
    stages: "Stages",
    *more: object,
) -> None:
    from training.adaptation.people_set_aside import LIST

    stages.run(
        f"shards: the faces of the others in {photos.root}, aligned",
        "pipeline.shard",
        *("--dataset", "folder", "--root", photos.root, "--out", out, *photos.options),
        *("--exclude", work / "test" / LIST, "--template", form.template, "--size", form.size),
        *("--codec", "png", "--workers", options.processes, *(more or ("--min-photos", 2))),
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
        *("--shards", work / "shards", *(("--crops", work / "crops") if options.crops else ())),
        *("--run-dir", work / "run", "--resume", "--device", options.device),
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


def _evaluate(
    options: Any,
    faces: "tuple[Photos, ...]",
    parts: tuple[str, ...],
    form: "Preprocessing",
    work: Path,
    stages: "Stages",
) -> Path:
    """Test both files on folders of the people set aside, and return the folder of the report."""
    from training.adaptation.people_set_aside import CROPS, PROBES

    there = [(part, one) for part, one in zip(parts, faces, strict=True) if (work / "test" / part).is_dir()]
    crops = CROPS in parts
    report = work / ("report-crops" if crops else "report")
    kept = options.mode == "compatible"
    lists = [one.landmarks for _, one in there if one.landmarks]
    stages.run(
        f"test: {'small pictures of ' if crops else ''}the people set aside, before and after",
        "evaluation",
        *("--checkpoint", options.out, "--gallery-model" if kept else "--checkpoint", options.model),
        *(word for part, _ in there for word in (f"--{PROBES if part == CROPS else part}", work / "test" / part)),
        *(("--landmarks", *lists) if lists else ("--aligned",)),
        *("--template", form.template, "--size", form.size, "--colour", form.colour),
        *("--mean", form.mean, "--deviation", form.deviation),
        *(() if crops else ("--sizes", *options.sizes)),
        *("--device", options.device, "--out", report),
    )
    return report


if __name__ == "__main__":
    run(main)
