"""Runs every command that the documentation shows: `python -m tests.campaigns.newcomer --out DIR`.

Works as a new user would: in a fresh clone of the committed state, page by page, on rendered data sets in place of
the licensed ones and on a small folder of photos, one of them broken. Commands run as they stand, but for what
`SHORTENED` says, which makes a run of days one of seconds; two processes stand for any number, and two jobs on this
machine for one on each of two. A command in a sentence is run where no other shows all of it. What is left out is
named with its reason. A command fails by its status, by a warning or traceback in what it printed, and by what it left
in the folder for temporary files. Ends with status 1 where one failed; DIR keeps what each one printed.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.command import Parser, UserError, run
from tests.documented import ROOT, Documented, commands

SHORTENED = {
    "--validate_every": "--steps 3 --batch 4 --log_every 1 --validate_every 2",
    "training/main.py": "--steps 3 --batch 4 --log_every 1",
    "training.bench": "--rounds 1 --batch 2 --backbone spherenet4 --size 32 --no-compile",
    "pipeline.bench loader": "--rounds 1 --batches 2 --batch 8 --identities 12",
    "pipeline.bench storage": "--rounds 1 --batches 2 --batch 8 --identities 12 --latencies 0 20",
    "pipeline.bench soak": "--soak-batches 20 --batch 8 --identities 12",
    "pipeline.bench shard": "--photos 500 --rounds 1",
    "pipeline.synthetic": "--out Rendered --identities 4 --photos 2",
    "evaluation.bench": "--pictures 60 --pairs 60 --sample 4 --rounds 1 --backbone spherenet4 --size 32",
    "experiments.ablation": "--size tiny",
    "tests.campaigns.kill_sharder": "--kills 2 --people 6",
    "tests.campaigns.kill_trainer": "--kills 2 --steps 12",
    "tests.campaigns.mutate": "--cases 50",
    "tests.campaigns.full_disk": "--only preview",
    "tests.campaigns.soak_trainer": "--steps 20 --out runs/soak",
    "pytest -m not slow": "tests/shards",
    "tensorboard": "--port 0",
}
"""What is added to a command so that it ends soon: it counts in place of what was given before."""

LEFT_OUT = {
    "docker": "needs a container engine; docker/check.sh runs every service where one is",
    "make test": "the tests themselves; run with --install",
    "python -m tests.campaigns.newcomer": "this command itself",
    "python -m experiments.video_tracks": "needs a recogniser of another package registry",
    "python -m experiments.gallery_health": "needs the same",
    "python -m evaluation.bench identify": "needs the same",
    "python -m pipeline.bench decoding --device gpu": "needs a GPU; make gpu runs it where one is",
}
"""Commands by how they begin, and why they are not run."""

PEOPLE, PHOTOS = 12, 5
_PLACE = "DIR"
_SECONDS = 900
_SERVES = {"tensorboard": "http://localhost"}
"""Commands that serve until they are stopped, and what each prints when it does."""
_STUMBLE = re.compile(r"Traceback \(most|Warning:|^W\d{4} |resource_tracker", re.MULTILINE)
_OTHERS_KEEP = ("torchelastic_", "torchinductor_", "pytest-of-", ".tensorboard-info")
"""How begins what others leave in the temporary folder: torchrun a folder a job, a compiler its cache, pytest its last
runs, TensorBoard who serves."""
_NETWORK = '''

def build(size):
    """Return a small network in place of AdaFace's."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, 8))
'''


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
    command.add_argument(
        "--install", action="store_true", help="install anew in the clone, and run make test (minutes)"
    )
    return command


def main() -> None:
    """Run every documented command."""
    options = parser().parse_args()
    if options.out.exists():
        raise UserError(f"{options.out} is there already; name a new folder")
    start, project, logs = time.monotonic(), options.out.absolute() / "project", options.out / "logs"
    logs.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
    with tempfile.TemporaryDirectory(prefix="newcomer-") as temporary:
        environment = _environment(project, temporary)
        if options.install:
            _must(["make", ".venv/installed", ".venv/installed-dev"], project, environment)
        else:
            _lend_environment(project)
        _prepare(project, environment)
        shown, ended = commands(), []
        for number, one in enumerate(shown):
            excuse = _excuse(number, shown, install=options.install)
            log = logs / f"{number:03d}.txt"
            ended.append(Ended(one, None, 0.0, excuse) if excuse else _run(one, project, environment, log))
            print(ended[-1], flush=True)
    failed = sum(bool(one.status) for one in ended)
    passed = sum(one.status == 0 for one in ended)
    seconds = time.monotonic() - start
    print(f"{passed} ran, {failed} failed, {len(ended) - passed - failed} left out, {seconds:,.0f} s")
    raise SystemExit(bool(failed))


def _environment(project: Path, temporary: str) -> dict[str, str]:
    """Return the variables under which commands find the clone and not the tree that this script lies in."""
    return {
        **os.environ,
        "PATH": f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(project / ".cache"),
        "TMPDIR": temporary,
    }


def _lend_environment(project: Path) -> None:
    """Link the environment in which this runs as the clone's own, so that make finds it installed."""
    (project / ".venv").mkdir()
    for name in ("bin", "include", "lib", "lib64", "pyvenv.cfg"):
        if (part := Path(sys.prefix) / name).exists():
            (project / ".venv" / name).symlink_to(part)
    for name in ("installed", "installed-dev"):
        (project / ".venv" / name).touch()


def _must(words: list[str], project: Path, environment: dict[str, str]) -> None:
    print(shlex.join(words), flush=True)
    subprocess.run(words, cwd=project, env=environment, check=True)


def _prepare(project: Path, environment: dict[str, str]) -> None:
    """Render the data sets where the pages expect them, and a user's own folder of photos and network."""
    words = f"python -m pipeline.synthetic --out Datasets --identities {PEOPLE} --photos {PHOTOS} --layout all --seed 1"
    _must(words.split(), project, environment)
    root = project / "Datasets" / "VGGFace2"
    shutil.copytree(root / "train", project / "photos")
    for name in ("people", "people-set-aside"):
        shutil.copytree(root / "train", project / name)
    words = "python -m pipeline.synthetic --out Walks --identities 3 --photos 2 --layout video --seed 1"
    _must(words.split(), project, environment)
    shutil.copy(next((project / "Walks").rglob("*.avi")), project / "walk.mp4")
    broken = next((project / "photos").rglob("*.jpg"))
    broken.with_name("broken.jpg").write_bytes(broken.read_bytes()[:500])
    with (root / "bb_landmark" / "loose_landmark_train.csv").open(encoding="utf-8", newline="") as file:
        (_, *first), (_, *second) = list(csv.reader(file))[1:3]
    for name, photo in zip(("a", "b"), sorted((root / "train").glob("*/*.jpg")), strict=False):
        shutil.copy(photo, project / f"{name}.jpg")
    with (project / "five_points.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a.jpg", *first), ("b.jpg", *second)])
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "evaluation.md").read_text("utf-8"), re.M | re.S)
    (project / "mine.py").write_text(code + _NETWORK, encoding="utf-8")
    save = "import torch, mine; torch.save(mine.build(112).state_dict(), 'adaface.pth')"
    _must(["python", "-c", save], project, environment)


def _excuse(number: int, shown: Sequence[Documented], *, install: bool) -> str:
    """Return why a command is not run, nothing where it is."""
    one = shown[number]
    text = " ".join(one.words)
    if "://bucket" in text or "://host" in text:
        return "needs a bucket or web server; tests/shards/storage has one"
    for begin, reason in LEFT_OUT.items():
        if text.startswith(begin) and not (install and one.whole and begin == "make test"):
            return reason
    if one.whole:
        return ""
    words = {*one.words} - {_PLACE}
    for place, other in enumerate(shown):
        fuller = other.whole or len(other.words) > len(one.words) or place < number
        if words <= {*other.words} and fuller:
            return f"shown at {other.page}:{other.line}, too"
    if "tests.campaigns.full_disk" in text and os.geteuid() != 0:
        return "mounts a disk, as only root may"
    return ""


def shortened(shown: Documented) -> list[str]:
    """Return the words of a command with what makes it end soon, on this machine."""
    words = ["runs/paper" if word == _PLACE else word.replace("first:", "localhost:") for word in shown.words]
    if "--nproc-per-node" in words:
        words[words.index("--nproc-per-node") + 1] = "1" if "--nnodes" in words else "2"
    text = " ".join(words)
    words += next((extra.split() for name, extra in SHORTENED.items() if name in text), [])
    return ["bash", "-c", f"{text} && python --version"] if words[0] == "source" else words


def _names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def _run(shown: Documented, project: Path, environment: dict[str, str], log: Path) -> Ended:
    """Run a command to its end, or until it serves; `--nnodes 2` runs it twice at once."""
    words, start, before = shortened(shown), time.monotonic(), _names(environment["TMPDIR"])
    with log.open("w", encoding="utf-8") as file:
        print(shown, shlex.join(words), sep="\n", file=file, flush=True)
        jobs = [
            subprocess.Popen(words, cwd=project, env=environment, stdout=file, stderr=file)
            for _ in range(2 if "--nnodes" in words else 1)
        ]
    serves = _SERVES.get(shown.words[0])
    while any(job.poll() is None for job in jobs) and time.monotonic() < start + _SECONDS:
        if serves and serves in log.read_text(encoding="utf-8", errors="replace"):
            break
        time.sleep(0.05)
    seconds, late = time.monotonic() - start, [job for job in jobs if job.poll() is None]
    for job in late:
        job.terminate()
        job.wait()
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    left = _names(environment["TMPDIR"]) - before
    if late and not (serves and serves in said):
        return Ended(shown, 124, seconds, f"not done in {_SECONDS} s")
    if status := 0 if late else max(abs(job.returncode) for job in jobs):
        return Ended(shown, status, seconds, said.splitlines()[-1])
    if found := _STUMBLE.search(said):
        return Ended(shown, 1, seconds, said[found.start() :].splitlines()[0])
    if left := sorted(name for name in left if not name.startswith(_OTHERS_KEEP)):
        return Ended(shown, 1, seconds, f"left {len(left)} in the temporary folder, such as {left[0]}")
    return Ended(shown, 0, seconds, "")


if __name__ == "__main__":
    run(main)
