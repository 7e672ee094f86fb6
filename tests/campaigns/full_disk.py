"""Fill the disk under every stage: `python -m tests.campaigns.full_disk --out DIR`. Mounts a tmpfs, which needs root.

Every command that writes is given a disk with room for nothing, and for shares of what it writes. It must end in one
line, leave nothing half-written, and finish with the same content once there is room. Then the disk is read-only.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.kill_sharder import contents
from tests.campaigns.kill_trainer import ROOT, losses, render_shards
from tests.campaigns.small_disk import PAGE, mount, room_taken, unmount

SHARES = (0.0, 0.3, 0.6, 0.95)
"""Of the room that a command needs; one page at least."""
Check = Callable[[Path], object]


def nothing(disk: Path) -> None:
    """No file is left."""
    left = [str(path) for path in disk.rglob("*") if path.is_file()]
    assert not left, f"left behind: {left}"


def nothing_temporary(disk: Path) -> None:
    """No temporary file is left."""
    left = [str(path) for path in disk.rglob("*.tmp")]
    assert not left, f"left behind: {left}"


@dataclass(frozen=True)
class Stage:
    """A command that writes to a disk.

    Attributes:
        name: of the stage.
        words: of the command, given the disk.
        left: raises an error where what a failure left behind is not whole.
        result: what must be equal once the command has finished, however often it failed before.
        processes: of a job under torchrun, which reports in its own way.
        warns: whether the command goes on without what it cannot keep, with a warning.
    """

    name: str
    words: Callable[[Path], list[object]]
    left: Check = nothing_temporary
    result: Check = contents
    processes: int = 1
    warns: bool = False


def sound_checkpoints(disk: Path) -> None:
    """Every file that has a checkpoint's name is one."""
    from training.checkpoints.checkpoint import load_checkpoint

    nothing_temporary(disk)
    for path in disk.rglob("*.pt"):
        load_checkpoint(path)


def trained(disk: Path) -> object:
    """The losses of a run, and which checkpoints it kept."""
    return losses(disk / "run"), sorted(path.name for path in disk.rglob("*.pt"))


def figures(disk: Path) -> object:
    """What an evaluation found, and the files it wrote."""
    return json.loads((disk / "report" / "results.json").read_text())["protocols"], sorted(contents(disk))


def stages(shards: Path, out: Path, model: Path) -> list[Stage]:
    """Return every stage that writes, given shards, the campaign's folder with photos in it, and a checkpoint."""
    people = out / "VGGFace2"
    pictures, lists = people / "train", people / "bb_landmark" / "loose_landmark_train.csv"
    render = ["pipeline.synthetic", "--identities", 4, "--photos", 3, "--layout", "vggface2", "--out"]
    shard = ["pipeline.shard", "--dataset", "vggface2", "--root", people, "--landmarks", lists, "--size", 64]
    shard += ["--min-tars", 4, "--workers", 1, "--out"]
    train = ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--steps", 12, "--checkpoint_every", 4]
    train += ["--resume", "--shards", shards, "--run-dir"]
    ranks = ["torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    export = ["training.export", "--checkpoint", model, "--format"]
    embed = ["evaluation.embed", "--checkpoint", model, "--images", pictures, "--template", "paper"]
    evaluate = ["evaluation", "--orl", "--checkpoint", model, "--no-cache", "--out"]
    return [
        Stage("synthetic", lambda disk: [*render, disk / "out"], nothing),
        Stage("landmarks", lambda disk: ["pipeline.landmarks", "--images", pictures, "--out", disk / "l.csv"]),
        Stage("shard", lambda disk: [*shard, disk / "shards"]),
        Stage("preview", lambda disk: ["pipeline.preview", "--shards", shards, "--out", disk / "p.png"], nothing),
        Stage("train", lambda disk: [*train, disk / "run"], sound_checkpoints, trained),
        Stage("train, 2 ranks", lambda disk: [*ranks, *train, disk / "run"], sound_checkpoints, trained, processes=2),
        Stage("safetensors", lambda disk: [*export, "safetensors", "--out", disk / "m.safetensors"], nothing),
        Stage("onnx", lambda disk: [*export, "onnx", "--out", disk / "m.onnx"], nothing),
        Stage("torchscript", lambda disk: [*export, "torchscript", "--out", disk / "m.pt"], nothing),
        Stage("embed", lambda disk: [*embed, "--no-cache", "--out", disk / "e.npz"], nothing),
        Stage("embedding cache", lambda disk: [*embed, "--cache", disk, "--out", out / "e.npz"], nothing, warns=True),
        Stage("evaluate", lambda disk: [*evaluate, disk / "report"], result=figures),
    ]


def run(words: list[object]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    start = [] if str(words[0]).endswith(".py") else ["-m"]
    return subprocess.run(
        [sys.executable, *start, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def faults(stage: Stage, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what is wrong with the end of a command whose disk was full."""
    if stage.warns and done.returncode == 0:
        return [] if "warning: " in done.stderr else ["it says nothing of what it could not keep"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    found = [] if len(errors) == 1 else [f"{len(errors)} lines of error"]
    # torchrun has a status and a report of its own.
    own, status = (done.stderr, 2) if stage.processes == 1 else (done.stderr.split("torch/distributed/elastic")[0], 1)
    found += [] if done.returncode == status else [f"status {done.returncode}"]
    return found + (["a traceback"] if "Traceback" in own else [])


def tried(stage: Stage, disk: Path, room: str) -> list[str]:
    """Run a stage on a disk that is too small; return what is wrong with its end and with what it left behind."""
    if not mount(disk, room):
        raise SystemExit("a small disk can no longer be mounted")
    done = run(stage.words(disk))
    wrong = faults(stage, done)
    try:
        stage.left(disk)
    except Exception as error:
        wrong.append(repr(error))
    return [f"{stage.name}, {room}: {', '.join(wrong)}\n{done.stderr[-3000:]}"] if wrong else []


def findings(stage: Stage, disk: Path) -> list[str]:
    """Run a stage with room, with less, with room again, and read-only; return the findings."""
    try:
        mount(disk, "size=1g")
        done = run(stage.words(disk))
        assert done.returncode == 0, f"{stage.name} fails with room: {done.stderr[-3000:]}"
        pages, expected, found = room_taken(disk) // PAGE, stage.result(disk), []
        unmount(disk)
        for room in sorted({max(1, int(share * pages)) * PAGE for share in SHARES}):
            found += tried(stage, disk, f"size={room}")
            mount(disk, "size=1g")
            done = run(stage.words(disk))
            if done.returncode != 0:
                found.append(f"{stage.name}, with room again after {room:,}: {done.stderr[-3000:]}")
            elif stage.result(disk) != expected:
                found.append(f"{stage.name}, with room again after {room:,}: the result differs")
            unmount(disk)
        found += tried(stage, disk, "ro")
    finally:
        unmount(disk)
    print(f"{stage.name:16} {pages * PAGE:>12,} bytes   {len(found)} findings", flush=True)
    return found


def main() -> None:
    """Run the campaign; exit status 1 with findings."""
    parser = ArgumentParser(prog="python -m tests.campaigns.full_disk", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the photos, the shards and the disk")
    parser.add_argument("--only", default="", help="stages whose name holds this (default: all)")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    disk = out / "disk"
    if not mount(disk, "size=1m"):
        raise SystemExit("not run: mounting a small disk needs root")
    unmount(disk)
    shards, model = render_shards(out), out / "run" / "final.pt"
    if not model.is_file():
        words = ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--shards", shards, "--steps", 1]
        assert run([*words, "--run-dir", model.parent, "--resume"]).returncode == 0
    found = [
        finding
        for stage in stages(shards, out, model)
        if options.only in stage.name
        for finding in findings(stage, disk)
    ]
    print("\n".join(found) or "every stage ended in one line, left nothing half-written and went on with room again")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
