"""Kill a training job at random: `python -m tests.campaigns.kill_trainer --kills 50 --out DIR`.

A job of several processes trains on rendered people under torchrun. Each life of it is ended by a signal, drawn from
SIGKILL to one rank, SIGTERM or SIGINT to all, and SIGKILL to all at once, as a machine that goes down; then the same
command goes on with --resume. Every so often the newest checkpoint is damaged while the job is down. At the end the
whole sequence of losses must be that of the uninterrupted job, bit by bit.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
"""Seconds in which a job must be over after any of the signals."""
WAYS = ("kill a rank", "terminate all", "interrupt all", "kill all")


def command(shards: Path | str, run_dir: Path, processes: int, steps: int) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    options = ["--recipe", "tiny", "--device", "cpu", "--checkpoint_every", "3", "--steps", str(steps), "--resume"]
    return [*start, "training/main.py", *options, "--shards", str(shards), "--run-dir", str(run_dir)]


def begin(words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def ranks_of(job: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun has started."""
    words = ["ps", "-o", "pid=", "--ppid", str(job.pid)]
    return [int(pid) for pid in subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()]


def strike(job: subprocess.Popen[str], way: str, generator: random.Random) -> None:
    ranks = ranks_of(job)
    if way == "kill a rank":
        os.kill(generator.choice(ranks), signal.SIGKILL)
    elif way == "kill all":
        for pid in (job.pid, *ranks):
            os.kill(pid, signal.SIGKILL)
    else:
        job.send_signal(signal.SIGTERM if way == "terminate all" else signal.SIGINT)


def live_once(words: list[str], way: str | None, generator: random.Random) -> tuple[bool, float]:
    """Run the job until it is struck, or to its end; return whether it was struck, and the seconds it then took."""
    job = begin(words)
    assert job.stderr is not None
    left = generator.randint(1, 9)
    struck = False
    for line in job.stderr:
        left -= line.startswith("step ")
        if way is not None and left <= 0:
            time.sleep(generator.random() * 0.3)
            if job.poll() is None and ranks_of(job):
                strike(job, way, generator)
                struck = True
            break
    start = time.monotonic()
    # To the end of stderr, which every process of the job holds open: none of them may be left.
    job.communicate(timeout=LIMIT if struck else None)
    return struck, time.monotonic() - start


def losses(run_dir: Path) -> list[tuple[int, float]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def damage_newest(run_dir: Path, generator: random.Random) -> None:
    newest = max((run_dir / "checkpoints").glob("step-*.pt"))
    if newest.name == "step-0000000.pt":
        return
    with newest.open("r+b") as file:
        file.seek(generator.randrange(newest.stat().st_size))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1 << generator.randrange(8)]))


def render_shards(out: Path) -> Path:
    shards = out / "shards"
    if not (shards / "manifest.json").is_file():
        lists = out / "VGGFace2" / "bb_landmark" / "loose_landmark_train.csv"
        render = [
            "-m",
            "pipeline.synthetic",
            "--out",
            out,
            "--identities",
            "12",
            "--photos",
            "5",
            "--layout",
            "vggface2",
        ]
        write = ["-m", "pipeline.shard", "--dataset", "vggface2", "--root", out / "VGGFace2", "--landmarks", lists]
        for words in (render, [*write, "--size", "32", "--out", shards]):
            subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return shards


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="signals in all (default 50)")
    parser.add_argument("--processes", type=int, default=2, help="ranks of the job (default 2)")
    parser.add_argument("--steps", type=int, default=150, help="steps of a run (default 150)")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards and runs")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    shards = render_shards(options.out)
    whole = options.out / "whole"
    live_once(command(shards, whole, options.processes, options.steps), None, generator)
    expected = losses(whole)
    assert [step for step, _ in expected] == list(range(1, options.steps + 1))
    ways: Counter[str] = Counter()
    slowest, runs, damaged = 0.0, 0, 0
    while ways.total() < options.kills:
        runs += 1
        run_dir = options.out / f"killed-{runs}"
        words = command(shards, run_dir, options.processes, options.steps)
        while not (run_dir / "final.pt").is_file():
            way = generator.choice(WAYS) if ways.total() < options.kills else None
            struck, seconds = live_once(words, way, generator)
            if struck and way is not None:
                ways[way] += 1
                slowest = max(slowest, seconds)
                print(f"{ways.total()}/{options.kills}: {way}, over after {seconds:.1f} s", flush=True)
                if generator.random() < 0.15 and not (run_dir / "final.pt").is_file():
                    damage_newest(run_dir, generator)
                    damaged += 1
        found = losses(run_dir)
        wrong = [step for (step, loss), other in zip(expected, found, strict=True) if (step, loss) != other]
        assert not wrong, f"losses differ from step {wrong[0]} on in {run_dir}"
    told = ", ".join(f"{count} x {way}" for way, count in sorted(ways.items()))
    print(
        f"{ways.total()} signals ({told}) and {damaged} damaged checkpoints over {runs} runs of {options.steps} steps: "
        f"every loss equal; slowest end {slowest:.1f} s"
    )


if __name__ == "__main__":
    main()
