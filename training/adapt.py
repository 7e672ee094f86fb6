"""Adapt a recogniser in one command: `python -m training.adapt --model FILE --photos DIR --out adapted.onnx`.

Finds the faces in PHOTOS/PERSON/PHOTO.jpg, sets people aside, adapts the recogniser on the others, writes it as ONNX,
in the layout of the file that came in where that is ONNX, and tests both on those set aside. Ends in the figures before
and after. Real small pictures from your cameras, CROPS/PERSON/PICTURE.jpg, are trained on beside reduced photos, and
those of the people set aside are a test of their own. Photos of people whom nobody named take half of each batch;
where a picture of the test is among them, the figures are given with such pictures and without. Each stage is a command
of this program, which is printed. The command may be stopped or killed at any moment: the same command continues.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, run
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
    add("--unlabelled", type=Path, metavar="DIR", help="more photos, of people whom nobody named (default: none)")
    add("--landmarks", type=Path, metavar="CSV", help="five points a photo (default: the faces are found)")
    add("--crop-landmarks", type=Path, metavar="CSV", help="likewise, of --crops (default: the faces are found)")
    add("--unlabelled-landmarks", type=Path, metavar="CSV", help="likewise, of --unlabelled (default: found)")
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


@dataclass(frozen=True)
class _Job:
    """What every stage needs.

    Attributes:
        options: of the command line.
        loaded: the recogniser as it came, with its preprocessing as the options tell it.
        work: folder of everything but the adapted file.
        stages: runs them.
    """

    options: Any
    loaded: "LoadedBackbone"
    work: Path
    stages: "Stages"

    @property
    def form(self) -> "Preprocessing":
        """How pictures go into the recogniser."""
        return self.loaded.preprocessing


def main() -> None:
    """Run all stages, from photos to the adapted file."""
    options = parser().parse_args()
    from training.adaptation.given import open_recogniser, refuse_unusable
    from training.adaptation.people_set_aside import LIST
    from training.adaptation.stages import Stages

    refuse_unusable(options)

    work = options.work or options.out.with_name(f"{options.out.name}.work")
    tests = 2 if options.crops else 1
    count = 5 + tests + (2 if options.crops else 0) + (2 + tests if options.unlabelled else 0)
    job = _Job(options, open_recogniser(options), work, Stages(count))
    work.mkdir(parents=True, exist_ok=True)
    form = job.form
    print(f"{options.model}: {form.template} template, {form.size} pixels, {form.input_told}", file=sys.stderr)
    photos = _find_faces(job, options.photos, options.landmarks, "landmarks.csv")
    crops = unlabelled = None
    if options.crops:
        crops = _find_faces(job, options.crops, options.crop_landmarks, "crop-landmarks.csv")
    if options.unlabelled:
        given = options.unlabelled_landmarks
        unlabelled = _find_faces(job, options.unlabelled, given, "unlabelled-landmarks.csv", "--unlabelled")
    chosen = _set_people_aside(job, photos, crops)
    others = ("--exclude", work / "test" / LIST)
    _write_shards(job, photos, "shards", *others, "--min-photos", 2)
    if crops:
        _write_shards(job, crops, "crops", *others, "--min-photos", 1)
    if unlabelled:
        _write_shards(job, unlabelled, "unlabelled", "--unlabelled", "--min-photos", 1)
    final = _adapt(job)
    job.stages.run("adapted file", "training.export", "--checkpoint", final, "--format", "onnx", "--out", options.out)
    _test(job, chosen, photos, crops)
    print(f"adapted     {options.out}")
    if options.mode == "fresh":
        print(
            "gallery     enrol it again; with evaluation.identify --enrol-sizes 8 12 16 20 more small faces are found"
        )


def _test(job: _Job, chosen: "SetAside", photos: "Photos", crops: "Photos | None") -> None:
    """Test on the people set aside, on their photos reduced and on their own small pictures."""
    from training.adaptation.gain import print_gains
    from training.adaptation.people_set_aside import CROPS, GALLERY, PROBES, STRANGERS

    reports = {"report": _evaluate(job, dict.fromkeys((GALLERY, PROBES, STRANGERS), photos))}
    if crops and (job.work / "test" / CROPS).is_dir():
        reports["crops"] = _evaluate(job, {GALLERY: photos, CROPS: crops})
    elif crops:
        job.stages.count = job.stages.done + 1
        job.stages.begin("test: none of the people set aside has a small picture with a face")
    for what, report in reports.items():
        print_gains(report / "results.json", len(chosen.people if what == "report" else chosen.known))
        print(f"{what:<11} {report / 'report.html'}")


def _find_faces(job: _Job, root: Path, given: Path | None, found: str, *more: object) -> "Photos":
    """Return photos with their landmark list, found where none was given."""
    from training.adaptation.people_set_aside import Photos

    if job.options.aligned or given:
        job.stages.begin(f"faces of {root}: as given")
        return Photos(root, given)
    words = ("--images", root, "--out", job.work / found, "--workers", job.options.processes, *more)
    job.stages.run(f"faces of {root}: five points in each", "pipeline.landmarks", *words)
    return Photos(root, job.work / found)


def _set_people_aside(job: _Job, photos: "Photos", crops: "Photos | None") -> "SetAside":
    """Choose the people to test on and write their folders."""
    from training.adaptation.people_set_aside import set_people_aside, write_test_folders

    job.stages.begin("people: some are set aside for the test")
    chosen = set_people_aside(photos.usable(), job.options.set_aside, job.options.seed)
    write_test_folders(chosen, photos, crops, job.work / "test")
    many = len(chosen.trained)
    print(f"    {many:,} people to train on, {len(chosen.people):,} set aside", file=sys.stderr)
    if many < _FEW_PEOPLE:
        print(
            f"    note: {many} people are few: in trials with --mode fresh rank-1 at 8 pixels rose from 19 to 44 % "
            "with 5 people, to 81 % with 30 (docs/adapt.md); the intervals of the table will be wide",
            file=sys.stderr,
        )
    return chosen


def _write_shards(job: _Job, photos: "Photos", out: str, *more: object) -> None:
    form = job.form
    job.stages.run(
        f"shards: the faces of {'the others in ' if '--exclude' in more else ''}{photos.root}, aligned",
        "pipeline.shard",
        *("--dataset", "folder", "--root", photos.root, "--out", job.work / out, *photos.options),
        *("--template", form.template, "--size", form.size, "--codec", "png", "--workers", job.options.processes),
        *more,
    )


def _adapt(job: _Job) -> Path:
    """Train, and return the final checkpoint."""
    from shards.format import read_manifest
    from training.adaptation.given import told
    from training.checkpoints.run_folder import FINAL

    options, work = job.options, job.work
    config, processes = _config(options, read_manifest(work / "shards").identities)
    job.stages.run(
        f"training: recipe adapt, {options.mode}, {config.steps:,} steps{_told_duration(job, config)}",
        "training.main",
        *("--recipe", "adapt", "--mode", options.mode, "--teacher", options.model),
        *("--shards", work / "shards", *((work / "unlabelled",) if options.unlabelled else ())),
        *(("--crops", work / "crops") if options.crops else ()),
        *("--run-dir", work / "run", "--resume", "--device", options.device),
        *("--seed", options.seed, "--batch", config.batch, "--steps", config.steps),
        *("--optimizer.milestones", list(config.optimizer.milestones)),
        *(word for name, value in told(options).items() if value is not None for word in (f"--model.{name}", value)),
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


def _told_duration(job: _Job, config: "Config") -> str:
    from training.adaptation.stages import seconds_of_training
    from training.ranks.machine import chosen_device

    if chosen_device(job.options.device) == "gpu":
        return ""
    seconds = seconds_of_training(job.loaded.backbone, job.form.size, config, job.options.processes)
    return f", about {seconds / 60:.0f} minutes" if seconds >= 60 else ""


def _evaluate(job: _Job, faces: "dict[str, Photos]") -> Path:
    """Test both files on folders of the people set aside, by their names, and return the folder of the report."""
    from training.adaptation.people_set_aside import CROPS, PROBES

    options, form, tests = job.options, job.form, job.work / "test"
    there = {part: photos for part, photos in faces.items() if (tests / part).is_dir()}
    crops = CROPS in faces
    whose = f"{'small pictures of ' if crops else ''}the people set aside"
    lists = [photos.landmarks for photos in there.values() if photos.landmarks]
    pictures = (
        *(word for part in there for word in (f"--{PROBES if part == CROPS else part}", tests / part)),
        *(("--landmarks", *lists) if lists else ("--aligned",)),
    )
    leaks: tuple[object, ...] = ()
    if options.unlabelled:
        out = job.work / ("leaks-crops" if crops else "leaks")
        words = ("--shards", job.work / "unlabelled", "--out", out, *pictures)
        job.stages.run(f"leaks: {whose} among {options.unlabelled}", "evaluation.leaks", *words)
        leaks = ("--leave-out", out / "leaks.csv")
    report = job.work / ("report-crops" if crops else "report")
    job.stages.run(
        f"test: {whose}, before and after",
        "evaluation",
        *("--checkpoint", options.out),
        *("--gallery-model" if options.mode == "compatible" else "--checkpoint", options.model),
        *pictures,
        *("--template", form.template, "--size", form.size, "--colour", form.colour),
        *("--mean", form.mean, "--deviation", form.deviation),
        *(() if crops else ("--sizes", *options.sizes)),
        *leaks,
        *("--device", options.device, "--out", report),
    )
    return report


if __name__ == "__main__":
    run(main)
