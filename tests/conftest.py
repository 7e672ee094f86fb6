"""Real inputs, made once: rendered people, the ORL faces, shards of both."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from PIL import Image

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import folder, orl, vggface2
from pipeline.synthetic.write import write_dataset
from shards.index import ShardIndex
from tests import forked
from tests.campaigns.small_disk import mount, unmount
from tests.entry_points import ROOT
from tests.in_process import call

if TYPE_CHECKING:
    from tests.shards.storage.buckets import S3

# On a busy machine a try may take any time; pytest-timeout ends a test that hangs.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")

# Tests start processes of their own: one thread each keeps two cores fair.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a command starts more, they sleep while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# torchrun would leave a folder for each job.
os.environ.setdefault("PET_LOG_DIR", os.devnull)
# onnxruntime would tell its makers of every model that it opens.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

PROGRESS = re.compile(r"\w+: [\d,]+/[\d,]+ \w+, ")

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-losses", action="store_true", help="write the pinned losses of the tiny recipe anew")


def pytest_configure() -> None:
    """Give each of several processes of pytest a core, so that none starts more threads than there are cores left."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_unconfigure() -> None:
    """End what tests share."""
    forked.end()


# Fixtures that start processes or take long to make: a test that needs one is slow.
_SLOW_FIXTURES = {"rendered", "shards", "crops", "orl_shards", "start"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start processes or train: one of them met last would keep one worker long."""
    for item in items:
        if _SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def _processes_start_quickly(request: pytest.FixtureRequest) -> None:
    """Start the server from which processes fork, with all that any of them would import for itself."""
    if any(item.get_closest_marker("slow") or item.get_closest_marker("soak") for item in request.session.items):
        of_workers = ["pipeline.sharding.tar_worker", "pipeline.alignment.landmark_run", "evaluation.lists.mat_lists"]
        # The first step of an optimizer would import torch._dynamo.
        forkserver.set_forkserver_preload([*of_workers, "torch._dynamo", "training.engine.validation"])
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All data sets with a few rendered people each: VGGFace2, LFW, SCface, QMUL-SurvFace, TinyFace, lists."""
    out = tmp_path_factory.mktemp("rendered")
    for layout in ("vggface2", "lfw", "survface", "tinyface"):
        write_dataset(out, layout, identities=12, photos=5, seed=1)
    write_dataset(out, "scface", identities=5, photos=5, seed=1)
    return out


@pytest.fixture(scope="session")
def train_list(rendered: Path) -> Path:
    return rendered / "VGGFace2" / "bb_landmark" / "loose_landmark_train.csv"


@pytest.fixture(scope="session")
def shards(rendered: Path, train_list: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered VGGFace2 training people, 32 x 32, in three tars."""
    out = tmp_path_factory.mktemp("shards") / "vggface2"
    plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=32, min_tars=3))
    shard(plan, out, workers=1)
    return out


@pytest.fixture(scope="session")
def crops(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of three small pictures, 9 to 15 pixels wide, of every second person of `shards`, and of a stranger."""
    root, out = tmp_path_factory.mktemp("crops"), tmp_path_factory.mktemp("shards") / "crops"
    index = ShardIndex.open(shards)
    for label in range(0, index.identities, 2):
        for number, side in enumerate((9, 12, 15)):
            face = Image.open(io.BytesIO(bytes(index.read(int(index.first[label]) + number % 2))))
            for name in {index.names[label], "stranger" if label == 0 else index.names[label]}:
                (root / name).mkdir(exist_ok=True)
                face.resize((side, side)).save(root / name / f"{number}.png")
    settings = Settings(size=32, template="whole", codec="png", min_photos=1)
    shard(Plan(folder(root, [], aligned=True), settings), out, workers=1)
    return out


@pytest.fixture(scope="session")
def orl_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 25 training people of ORL, 64 x 64, lossless."""
    out = tmp_path_factory.mktemp("shards") / "orl"
    shard(Plan(orl("train"), Settings(size=64, codec="png")), out, workers=1)
    return out


@pytest.fixture(scope="session")
def s3_of_session() -> Iterator["S3"]:
    """A server that speaks S3 on this machine."""
    from tests.shards.storage.buckets import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_of_session: "S3", monkeypatch: pytest.MonkeyPatch) -> Iterator["S3"]:
    """The server, as the environment of a user names it."""
    from tests.shards.storage.buckets import forget_clients, use

    use(monkeypatch, s3_of_session.url)
    yield s3_of_session
    forget_clients()


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands keep for the next time must not come from, or go to, the user's own folder."""
    return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("user-cache"))}


@pytest.fixture(scope="session")
def command(own_cache: dict[str, str]) -> Command:
    """Call a command in this process, as in `command("shards.verify", folder)`: its exit status and what it printed."""

    def run(name: object, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return call(str(name), *map(str, arguments), **own_cache, **environment)

    return run


@pytest.fixture(scope="session")
def start(own_cache: dict[str, str]) -> Command:
    """Start a command in a process of its own, which costs seconds: where `command` does not do."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        start = [sys.executable] if words[0].endswith(".py") else [sys.executable, "-m"]
        return subprocess.run(
            [*start, *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **own_cache, **environment},
            timeout=240,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def refused(command: Command) -> Callable[..., str]:
    """Call a command that must end in one line on stderr with exit status 2, and return the line."""

    def run(*arguments: object) -> str:
        done = command(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        # On a slow machine the lines of progress come first.
        lines = [line for line in done.stderr.splitlines() if not PROGRESS.match(line)]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a disk of a few kilobytes, and give it other options when called again."""
    disk = tmp_path / "disk"

    def mounted(options: str) -> Path:
        if not mount(disk, options):
            pytest.skip("mounting a small disk needs root")
        return disk

    yield mounted
    unmount(disk)


@pytest.fixture
def forked_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks fork the process of each run, which would import PyTorch for seconds."""
    for name in ("runner", "loader", "storage", "growth", "shard"):
        monkeypatch.setattr(f"pipeline.benchmarks.{name}.in_fresh_process", forked.in_forked_process)
