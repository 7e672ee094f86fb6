"""Runs every command that the documentation shows: `python -m tests.campaigns.newcomer --out DIR`.

Works as a new user would: in a fresh clone of the committed state, page by page, on rendered data sets in place of
the licensed ones and on a small folder of photos. Commands run as they stand, but for what `SHORTENED` says, which
makes a run of days one of seconds. Ends with status 1 where a command failed; DIR keeps what each one printed.
"""

import csv
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from shards.command import Parser, UserError, run
from tests.documented import ROOT, Documented, commands

SHORTENED = {
    "training/main.py": ["--steps", "3", "--batch", "4", "--log_every", "1"],
    "training.bench": ["--rounds", "1", "--batch", "2", "--backbone", "spherenet4", "--size", "32", "--no-compile"],
    "pipeline.bench loader": ["--rounds", "1", "--batches", "2", "--batch", "8", "--identities", "12"],
    "pipeline.bench soak": ["--soak-batches", "20", "--batch", "8", "--identities", "12"],
    "experiments.ablation": ["--size", "tiny"],
}
"""What is added to a command so that it ends soon."""

LEFT_OUT = {
    "source": "the environment is used by its path",
    "docker": "docker/check.sh runs the containers, where an engine is",
    "make": "run with --make",
    "pip": "run with --make",
    "tensorboard": "serves until it is stopped",
}
PEOPLE, PHOTOS = 24, 6
_SECONDS = 900


@dataclass(frozen=True)
class Ended:
    """How a command ended: status (None where it was left out), seconds, and a remark."""

    shown: Documented
    status: int | None
    seconds: float
    remark: str


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m tests.campaigns.newcomer", description=__doc__)
    command.add_argument("--out", type=Path, required=True, help="folder for the clone and the logs; it must be new")
    command.add_argument("--make", action="store_true", help="install anew in the clone and run make, too (minutes)")
    return command


def main() -> None:
    """Run every documented command."""
    options = parser().parse_args()
    if options.out.exists():
        raise UserError(f"{options.out} is there already; name a new folder")
    project = options.out.absolute() / "project"
    (options.out / "logs").mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
    environment = _environment(project, installed_here=not options.make)
    if options.make:
        _must(["make", "quickstart"], project, environment)
    _prepare(project, environment)
    ended = []
    for number, shown in enumerate(command for command in commands() if command.whole):
        ended.append(_run(shown, project, environment, options.out / "logs" / f"{number:03d}.txt", make=options.make))
        one = ended[-1]
        state = "left out" if one.status is None else "ok" if one.status == 0 else f"FAILED ({one.status})"
        print(f"{state:10} {one.seconds:6.1f} s  {shown}  {one.remark}".rstrip(), flush=True)
    failed = [one for one in ended if one.status]
    passed = sum(one.status == 0 for one in ended)
    print(f"{passed} ran, {len(failed)} failed, {len(ended) - passed - len(failed)} left out")
    raise SystemExit(bool(failed))


def _environment(project: Path, *, installed_here: bool) -> dict[str, str]:
    """Return the variables under which commands find the clone and not the tree that this script lies in."""
    programs = Path(sys.executable).parent if installed_here else project / ".venv" / "bin"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}


def _must(words: list[str], project: Path, environment: dict[str, str]) -> None:
    print(shlex.join(words), flush=True)
    subprocess.run(words, cwd=project, env=environment, check=True)


def _prepare(project: Path, environment: dict[str, str]) -> None:
    """Render the data sets where the pages expect them, and a user's own folder of photos."""
    words = f"python -m pipeline.synthetic --out Datasets --identities {PEOPLE} --photos {PHOTOS} --layout all --seed 1"
    _must(words.split(), project, environment)
    root = project / "Datasets" / "VGGFace2"
    shutil.copytree(root / "train", project / "photos")
    with (root / "bb_landmark" / "loose_landmark_train.csv").open(encoding="utf-8", newline="") as file:
        (_, *first), (_, *second) = list(csv.reader(file))[1:3]
    for name, photo in zip(("a", "b"), sorted((root / "train").glob("*/*.jpg")), strict=False):
        shutil.copy(photo, project / f"{name}.jpg")
    with (project / "five_points.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a.jpg", *first), ("b.jpg", *second)])


def shortened(shown: Documented) -> list[str]:
    """Return the words of a command with what makes it end soon; two processes stand for any number."""
    words = list(shown.words)
    if "--nproc-per-node" in words:
        words[words.index("--nproc-per-node") + 1] = "2"
    text = " ".join(words)
    return words + next((extra for name, extra in SHORTENED.items() if name in text and "--help" not in words), [])


def _run(shown: Documented, project: Path, environment: dict[str, str], log: Path, *, make: bool) -> Ended:
    excuse = shown.excuse or LEFT_OUT.get(shown.words[0], "")
    if excuse and not (make and shown.words[0] in ("make", "pip")):
        return Ended(shown, None, 0.0, excuse)
    words, start = shortened(shown), time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        print(shown, shlex.join(words), sep="\n", file=file, flush=True)
        try:
            status = subprocess.run(
                words, cwd=project, env=environment, stdout=file, stderr=file, timeout=_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return Ended(shown, 124, time.monotonic() - start, f"not done in {_SECONDS} s")
    seconds = time.monotonic() - start
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    return Ended(shown, status, seconds, last if status else "")


if __name__ == "__main__":
    run(main)
