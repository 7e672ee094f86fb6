"""Put faults into a copy of the source, one at a time: `python -m tests.campaigns.mutants`.

The faults are listed in `tests/campaigns/faults`, a file for each package. Each is applied alone, and of the tests that
are listed with it, those of its own room, one must fail: first the tests that are not marked slow or soak run, then the
others. Faults that no test notices are printed; exit status 1 if there are any. Faults that only a GPU shows are
skipped where there is none.
"""

import argparse
import compileall
import multiprocessing
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.entry_points import PACKAGES

ROOT = Path(__file__).parents[2]
LISTS = Path(__file__).parent / "faults"
SECONDS_TO_FAIL = 900
"""Tests that take longer hang by the fault, which is then noticed."""
# Imported once, in the process from which those that run the tests are forked.
_LIBRARIES = ["cv2", "duckdb", "hypothesis", "jsonargparse", "nvidia.dali.plugin.pytorch", "numba", "onnx", "pandas"]
_LIBRARIES += ["matplotlib.figure", "PIL.Image", "pytest", "rich.table", "scipy.io", "scipy.stats", "sklearn.metrics"]
_LIBRARIES += ["sympy", "torch.distributed"]
_PASSED = {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


@dataclass(frozen=True)
class Fault:
    """A fault as somebody might make it.

    Attributes:
        name: of the fault, used once.
        file: of the source, relative to the project.
        before: text that stands in it once.
        after: text in its place.
        breaks: what goes wrong, in one line.
        tests: files of tests that must notice.
        gpu: whether only a GPU shows it.
    """

    name: str
    file: str
    before: str
    after: str
    breaks: str
    tests: tuple[str, ...]
    gpu: bool = False

    @property
    def room(self) -> str:
        """Folder of the source."""
        return str(Path(self.file).parent)

    def applied_to(self, text: str) -> str:
        """Return the source with the fault in it."""
        if text.count(self.before) != 1:
            raise ValueError(
                f"{self.name}: {self.file} holds {self.before!r} {text.count(self.before)} times, not once"
            )
        return text.replace(self.before, self.after)


def read_faults(folder: Path = LISTS) -> list[Fault]:
    """Return all faults, package after package."""
    listed = (tomllib.loads(path.read_text(encoding="utf-8"))["fault"] for path in sorted(folder.glob("*.toml")))
    return [Fault(**{**one, "tests": tuple(one["tests"])}) for part in listed for one in part]


def copy_tree(to: Path) -> None:
    """Copy the files of the project, and compile them so that a changed file is seen whatever its time and size."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    compileall.compile_dir(to, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def _run_tests(tree: Path, arguments: list[str], log: Path) -> None:
    """Run pytest in a process of its own on a copy of the project, and exit with its status."""
    os.chdir(tree)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ROOT).resolve() != ROOT)]
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    # What this process was forked with is the project itself, not the copy.
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", *PACKAGES)]:
        del sys.modules[name]
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-o", f"timeout={SECONDS_TO_FAIL}", *arguments]))


@dataclass(frozen=True)
class Bench:
    """A copy of the project, and where processes that test it come from."""

    tree: Path
    context: ForkServerContext

    def passes(self, tests: tuple[str, ...], marks: str) -> bool:
        """Tell whether all tests with some marks pass, or there are none."""
        process = self.context.Process(target=_run_tests, args=(self.tree, ["-m", marks, *tests], self.log))
        process.start()
        process.join(SECONDS_TO_FAIL)
        process.kill()
        process.join()
        return process.exitcode in _PASSED

    @property
    def log(self) -> Path:
        """What the tests printed last."""
        return self.tree.with_suffix(".log")

    def failed(self) -> str:
        """Return the test that failed last; "a crash or a hang" where pytest could not name one."""
        ended = (line.split() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines())
        return next((words[1] for words in ended if words[:1] in (["FAILED"], ["ERROR"])), "a crash or a hang")

    def notices(self, fault: Fault) -> bool:
        """Tell whether the tests of a fault notice it."""
        path = self.tree / fault.file
        sound = path.read_text(encoding="utf-8")
        path.write_text(fault.applied_to(sound), encoding="utf-8")
        try:
            marks = ["gpu"] if fault.gpu else ["not (slow or soak or gpu)", "(slow or soak) and not gpu"]
            return not all(self.passes(fault.tests, mark) for mark in marks)
        finally:
            path.write_text(sound, encoding="utf-8")


@contextmanager
def bench() -> Iterator[Bench]:
    """Make a copy of the project for as long as it is needed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LIBRARIES)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        tree = Path(scratch) / "tree"
        copy_tree(tree)
        yield Bench(tree, context)


def survivors(faults: list[Fault]) -> list[Fault]:
    """Apply faults one at a time, tell of each, and return those that no test noticed."""
    survived = []
    with bench() as place:
        tests = tuple(sorted({test for fault in faults for test in fault.tests}))
        if not place.passes(tests, "not gpu"):
            raise SystemExit(f"{place.log.read_text()}\nthese tests fail without any fault; mend them first")
        for number, fault in enumerate(faults, 1):
            start = time.monotonic()
            noticed = place.notices(fault)
            survived += [] if noticed else [fault]
            what = f"noticed by {place.failed()}" if noticed else "SURVIVED"
            taken = f"{time.monotonic() - start:5.1f} s"
            print(f"{number:3}/{len(faults)} {taken}  {fault.room}: {fault.name} {what}", flush=True)
    return survived


def main() -> None:
    """Run the campaign as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name holds this (default: all)")
    parser.add_argument("--room", default="", help="faults of a folder, such as evaluation/metrics (default: all)")
    parser.add_argument("--list", action="store_true", help="print the faults and change nothing")
    options = parser.parse_args()
    chosen = [one for one in read_faults() if options.only in one.name and one.file.startswith(options.room)]
    if options.list:
        for fault in chosen:
            print(f"{fault.name} ({fault.file}{', needs a GPU' * fault.gpu}): {fault.breaks}")
        raise SystemExit
    import torch

    there = [fault for fault in chosen if not fault.gpu or torch.cuda.is_available()]
    start = time.monotonic()
    survived = survivors(there)
    print(f"{len(there)} faults in {time.monotonic() - start:.0f} s, {len(survived)} not noticed")
    for fault in survived:
        print(f"{fault.name} ({fault.file}): {fault.breaks}; not noticed by {', '.join(fault.tests)}")
    if skipped := [fault.name for fault in chosen if fault not in there]:
        print(f"{len(skipped)} skipped, which only a GPU shows: {', '.join(skipped)}")
    raise SystemExit(bool(survived))


if __name__ == "__main__":
    main()
