"""Runs every command that the documentation shows: `python -m tests.campaigns.newcomer --out DIR`.

Works as a new user would: in a fresh clone of the committed state, page by page, on rendered data sets in place of
the licensed ones and on a small folder of photos, one of them broken. Commands run as they stand, but for what
`SHORTENED` says, which makes a run of days one of seconds, and two processes stand for any number. A command in a
sentence is run where no block shows it in full. What is left out is named with its reason. Ends with status 1 where
a command failed; DIR keeps what each one printed.
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
    "pipeline.bench shard": ["--photos", "500", "--rounds", "1"],
    "experiments.ablation": ["--size", "tiny"],
}
"""What is added to a command so that it ends soon: it counts in place of what was given before."""

LEFT_OUT = {
    "source": "the environment is used by its path",
    "docker": "docker/check.sh runs the containers, where an engine is",
    "make": "run with --make",
    "pip": "run with --make",
    "tensorboard": "serves until it is stopped",
    "python -m pytest": "make test runs the tests",
    "python -m tests.campaigns": "a campaign of its own, of minutes to hours",
    "python -m pipeline.synthetic": "rendered the data sets, before the first command",
    "python -m pipeline.bench decoding --device gpu": "needs a GPU",
}
"""Commands by how they begin, and why they are not run."""


PEOPLE, PHOTOS = 12, 5
_PLACE = "DIR"
_SECONDS = 900


@dataclass(frozen=True)
class Ended:
    """How a command ended: status (None where it was left out), seconds, and a remark."""

    shown: Documented
    status: int | None
    seconds: float
    remark: str

    def __str__(self) -> str:
        """Return a line of the table."""
        state = "left out" if self.status is None else "ok" if self.status == 0 else f"FAILED ({self.status})"
        return f"{state:10} {self.seconds:6.1f} s  {self.shown}" + (f"  [{self.remark}]" if self.remark else "")


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
    shown, ended = commands(), []
    for number, one in enumerate(shown):
        excuse = _excuse(one, shown, make=options.make)
        log = options.out / "logs" / f"{number:03d}.txt"
        ended.append(Ended(one, None, 0.0, excuse) if excuse else _run(one, project, environment, log))
        print(ended[-1], flush=True)
    failed = sum(bool(one.status) for one in ended)
    passed = sum(one.status == 0 for one in ended)
    print(f"{passed} ran, {failed} failed, {len(ended) - passed - failed} left out")
    raise SystemExit(bool(failed))


def _environment(project: Path, *, installed_here: bool) -> dict[str, str]:
    """Return the variables under which commands find the clone and not the tree that this script lies in."""
    programs = Path(sys.executable).parent if installed_here else project / ".venv" / "bin"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(project),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(project / ".cache"),
    }


def _must(words: list[str], project: Path, environment: dict[str, str]) -> None:
    print(shlex.join(words), flush=True)
    subprocess.run(words, cwd=project, env=environment, check=True)


def _prepare(project: Path, environment: dict[str, str]) -> None:
    """Render the data sets where the pages expect them, and a user's own folder of photos."""
    words = f"python -m pipeline.synthetic --out Datasets --identities {PEOPLE} --photos {PHOTOS} --layout all --seed 1"
    _must(words.split(), project, environment)
    root = project / "Datasets" / "VGGFace2"
    shutil.copytree(root / "train", project / "photos")
    broken = next((project / "photos").rglob("*.jpg"))
    broken.with_name("broken.jpg").write_bytes(broken.read_bytes()[:500])
    with (root / "bb_landmark" / "loose_landmark_train.csv").open(encoding="utf-8", newline="") as file:
        (_, *first), (_, *second) = list(csv.reader(file))[1:3]
    for name, photo in zip(("a", "b"), sorted((root / "train").glob("*/*.jpg")), strict=False):
        shutil.copy(photo, project / f"{name}.jpg")
    with (project / "five_points.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a.jpg", *first), ("b.jpg", *second)])


def _excuse(one: Documented, shown: list[Documented], *, make: bool) -> str:
    """Return why a command is not run, nothing where it is."""
    if one.excuse or (make and one.whole and one.words[0] in ("make", "pip")):
        return one.excuse
    text = " ".join(one.words)
    if reason := next((reason for begin, reason in LEFT_OUT.items() if text.startswith(begin)), ""):
        return reason
    if one.whole:
        return ""
    full = next((other for other in shown if other.whole and {*one.words} - {_PLACE} <= {*other.words}), None)
    return "" if full is None else full.excuse or f"shown in full at {full.page}:{full.line}"


def shortened(shown: Documented) -> list[str]:
    """Return the words of a command with what makes it end soon."""
    words = ["runs/paper" if word == _PLACE else word for word in shown.words]
    if "--nproc-per-node" in words:
        words[words.index("--nproc-per-node") + 1] = "2"
    text = " ".join(words)
    return words + next((extra for name, extra in SHORTENED.items() if name in text and "--help" not in words), [])


def _run(shown: Documented, project: Path, environment: dict[str, str], log: Path) -> Ended:
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
