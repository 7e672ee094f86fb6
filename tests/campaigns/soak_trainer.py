"""Watch the memory of a training job: `python -m tests.campaigns.soak_trainer --steps 20000 --out DIR`.

The tiny recipe trains on rendered people, with its checkpoints and its log, while the memory of each of its processes
that is no mapped file is read from outside. Writes soak_trainer.json and soak_trainer.png.
"""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.benchmarks.measured import resident_mib
from pipeline.benchmarks.runner import write_figures
from tests.campaigns.kill_trainer import ROOT, ranks_of, render_shards


@dataclass(frozen=True)
class Soak:
    """Memory in MiB of every training process, at the steps that were done when it was read."""

    steps: list[int]
    mib: list[list[float]]

    def growth(self) -> list[float]:
        """Return each process's growth in MiB per thousand steps over the last three quarters: the slope of a line."""
        start = len(self.steps) // 4
        return [float(slope) * 1000 for slope in np.polyfit(self.steps[start:], self.mib[start:], 1)[0]]


def soak(shards: Path, run_dir: Path, processes: int, steps: int, pause: float) -> Soak:
    """Train while the memory is read every `pause` seconds, from the first logged step on."""
    options = ["--steps", str(steps), "--log_every", "10", "--checkpoint_every", "500"]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [*start, "training/main.py", "--recipe", "tiny", "--device", "cpu", *options]
    where = ["--shards", str(shards), "--run-dir", str(run_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    job = subprocess.Popen([sys.executable, *words, *where], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    found = Soak([], [])
    step = last_step_of(run_dir)
    while job.poll() is None:
        if (done := step()) > 0:
            try:
                mib = [resident_mib(pid) for pid in ranks_of(job)]
            except (FileNotFoundError, AssertionError):
                break  # the job has just ended
            if len(mib) == processes:
                found.steps.append(done)
                found.mib.append(mib)
        time.sleep(pause)
    assert job.wait() == 0, f"training ended with status {job.returncode}"
    return found


def last_step_of(run_dir: Path) -> Callable[[], int]:
    """Return a function that tells the last step in a run's metrics, 0 before the first."""
    path = run_dir / "metrics.jsonl"

    def step() -> int:
        lines = path.read_bytes()[-2000:].splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in lines if line.startswith(b'{"step": ') and line.endswith(b"\n")]
        return int(whole[-1].split()[1].rstrip(b",")) if whole else 0

    return step


def draw(found: Soak, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    for rank, mib in enumerate(np.transpose(found.mib)):
        axes.plot(found.steps, mib, color=("#1b6ca8", "#d1495b")[rank % 2], linewidth=1.2, label=f"rank {rank}")
    axes.set(xlabel="steps", ylabel="MiB, without mapped files", ylim=(0, 1.15 * float(np.max(found.mib))))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000, help="steps of the run (default 20000)")
    parser.add_argument("--processes", type=int, default=2, help="ranks of the job (default 2)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two looks (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards, the run and the figures")
    options = parser.parse_args()
    start = time.monotonic()
    shards = render_shards(options.out)
    found = soak(shards, options.out / "run", options.processes, options.steps, options.pause)
    growth = found.growth()
    write_figures(options.out, "soak_trainer.json", {**vars(found), "mib_per_thousand_steps": growth})
    draw(found, options.out / "soak_trainer.png")
    quarter = found.mib[len(found.mib) // 4]
    for rank, slope in enumerate(growth):
        print(
            f"rank {rank}: {quarter[rank]:,.1f} MiB after a quarter, {found.mib[-1][rank]:,.1f} MiB at the end, "
            f"{slope:+.2f} MiB in a thousand steps over the last three quarters"
        )
    print(f"{options.steps:,} steps in {time.monotonic() - start:.0f} s, {len(found.steps)} looks")


if __name__ == "__main__":
    main()
