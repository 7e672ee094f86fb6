"""All that only a GPU can show, in one go: `python tests/gpu_report.py --out runs/gpu`, which `make gpu` runs.

Runs the tests with marker gpu and the benchmarks, trains and evaluates a small network on the device, and writes
report.md and report.json. Every step's full output lies beside them. With no GPU visible it says what it skipped
and ends with status 0.
"""

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
_VERSIONS = ("torch", "nvidia-dali-cuda120", "numpy", "pillow")
_LONGEST_STEP = 1800
_TAIL_LINES = 40


@dataclass(frozen=True)
class Step:
    """One thing to run: its name, the arguments of Python, the seconds it may take, and what it writes."""

    name: str
    arguments: tuple[str, ...]
    figures: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a step: its status, its seconds, the last lines of its output, and its figures."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    seconds: float
    output: str
    figures: Any = None


def steps(out: Path) -> list[Step]:
    """Return the steps; later ones use what earlier ones wrote."""
    # A batch takes a GPU milliseconds: it needs many for a second.
    loader = ("-m", "pipeline.bench", "loader", "--identities", "256", "--batches", "150")
    step = ("-m", "training.bench", "--device", "gpu", "--batch", "128", "--steps", "10")
    shards, run, ended = out / "shards", out / "run", out / "run" / "final.pt"
    learn = ("training/main.py", "--recipe", "quickstart", "--shards", str(shards), "--run-dir", str(run))
    return [
        Step("tests", ("-m", "pytest", "-m", "gpu", "-q", f"--junitxml={out / 'tests.xml'}"), "tests.xml"),
        Step("loader on the CPU", (*loader, "--out", str(out / "cpu")), "cpu/loader.json"),
        Step("loader on the GPU", (*loader, "--device", "gpu", "--out", str(out / "gpu")), "gpu/loader.json"),
        Step(
            "decoding",
            ("-m", "pipeline.bench", "decoding", "--device", "gpu", "--batches", "200", "--out", str(out)),
            "decoding.json",
        ),
        Step("shards", ("-m", "pipeline.shard", "--dataset", "orl", "--size", "64", "--out", str(shards))),
        Step("training", (*learn, "--device", "gpu", "--resume")),
        Step("training bench", (*step, "--out", str(out / "training")), "training/training.json"),
        Step(
            "evaluation",
            ("-m", "evaluation", "--orl", "--checkpoint", str(ended), "--out", str(out / "evaluation")),
            "evaluation/results.json",
        ),
    ]


def run_step(step: Step, out: Path) -> Result:
    """Run a step to its end, keep its output in a file, and read its figures."""
    print(f"{step.name} ...", flush=True)
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *step.arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST_STEP,
            check=False,
        )
        output, passed = done.stdout, done.returncode == 0
    except subprocess.TimeoutExpired as late:
        output, passed = f"{late.stdout or ''}\nstopped after {_LONGEST_STEP} s", False
    (out / f"{step.name.replace(' ', '-')}.log").write_text(output, encoding="utf-8")
    tail = "\n".join(output.splitlines()[-_TAIL_LINES:])
    figures = read_figures(out / step.figures) if step.figures else None
    return Result(step.name, "passed" if passed else "failed", time.monotonic() - start, tail, figures)


def read_figures(path: Path) -> Any:
    """Return the figures that a step wrote, or None where it wrote none: JSON, or counts of a JUnit file."""
    if not path.is_file():
        return None
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    return {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}


def gpu_name() -> str | None:
    """Return the name of the GPU that torch sees, or None."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def about(gpu: str | None) -> dict[str, str]:
    """Return what the figures depend on."""
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
    return {"gpu": gpu or "none visible", "python": platform.python_version(), **versions}


def markdown(facts: dict[str, str], results: Sequence[Result]) -> str:
    """Return the report as a page."""
    lines = ["# On a GPU", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += ["| step | status | seconds |", "| --- | --- | ---: |"]
    lines += [f"| {one.name} | {one.status} | {one.seconds:,.0f} |" for one in results]
    for one in results:
        if one.output:
            lines += ["", f"## {one.name}", "", "```", one.output, "```"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run everything and write the report; 1 where a step failed."""
    parser = argparse.ArgumentParser(prog="python tests/gpu_report.py", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the report (default: runs/gpu)")
    out = parser.parse_args().out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    gpu = gpu_name()
    if gpu is None:
        results = [Result(step.name, "skipped", 0.0, "") for step in steps(out)]
        print(f"no GPU visible; skipped: {', '.join(result.name for result in results)}")
    else:
        print(f"GPU: {gpu}")
        results = [run_step(step, out) for step in steps(out)]
    facts = about(gpu)
    (out / "report.md").write_text(markdown(facts, results), encoding="utf-8")
    data = {"about": facts, "steps": [asdict(result) for result in results]}
    (out / "report.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"report: {out / 'report.md'}")
    return int(any(result.status == "failed" for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
