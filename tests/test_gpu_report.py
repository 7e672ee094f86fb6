"""The report of a GPU is written with and without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu_report import ROOT, Step, markdown, read_figures, run_step, steps


@pytest.mark.slow
def test_without_a_gpu_it_says_what_it_skipped(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tests/gpu_report.py", "--out", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no GPU visible; skipped: tests, loader on the CPU, loader on the GPU, decoding" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert {step["status"] for step in report["steps"]} == {"skipped"}
    assert "| tests | skipped | 0 |" in (tmp_path / "report.md").read_text()


def test_a_failed_step_is_told_with_its_output(tmp_path: Path) -> None:
    failed = run_step(Step("a step", ("-c", "print('before'); raise SystemExit(3)")), tmp_path)
    assert (failed.status, failed.output) == ("failed", "before")
    assert (tmp_path / "a-step.log").read_text() == "before\n"
    write = f"open({str(tmp_path / 'f.json')!r}, 'w').write('[1]')"
    passed = run_step(Step("other", ("-c", write), "f.json"), tmp_path)
    assert (passed.status, passed.figures) == ("passed", [1])
    page = markdown({"gpu": "H"}, [failed, passed])
    assert "| a step | failed |" in page and "before" in page


def test_counts_of_the_tests_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tests.xml"
    path.write_text('<testsuites><testsuite tests="9" failures="1" errors="0" skipped="2"/></testsuites>')
    assert read_figures(path) == {"tests": 9, "failures": 1, "errors": 0, "skipped": 2}
    assert read_figures(tmp_path / "none.json") is None


@pytest.mark.slow
def test_every_step_names_what_exists(tmp_path: Path) -> None:
    for step in steps(tmp_path):
        options = [word for word in step.arguments if word.startswith("--") and "=" not in word]
        if "pytest" in step.arguments:
            continue
        command = step.arguments[: 1 if step.arguments[0].endswith(".py") else 2]
        recipe = ["--recipe", "quickstart"] if "--recipe" in options else []
        helped = subprocess.run(
            [sys.executable, *command, *recipe, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert all(option in helped.stdout for option in options), step
