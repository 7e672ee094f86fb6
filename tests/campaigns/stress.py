"""A large machine on a small one, on a bad day: `python -m tests.campaigns.stress --out DIR`.

By default eight processes (gloo) train on an index of 42 million photos of 2 million identities in 1,500 tars, which
are second names of a few with rendered faces, with a class matrix in shards of which each step sees a sample, and may
have 1,024 files open. One of a hundred places of the tars cannot be read. A first run goes on undisturbed. In a second
one storage stalls and fails for a while, processes are frozen, killed and told to stop, and the job is continued. Both
must have the same losses and weights, to the bit, every step once, and name every photo that could not be read.

Both runs and the index stay in the folder: the command may be ended and given again, with `--only` for a part of the
disturbances.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.benchmarks.measured import resident_mib
from pipeline.benchmarks.rendered import write_large_index
from pipeline.sampling.sampler import Sampler
from shards.cores import usable_cores
from shards.index import ShardIndex
from tests.campaigns.faulty_storage import unreadable
from tests.campaigns.kill_trainer import ROOT, losses, ranks_of, strike
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.class_rows import read_rows
from training.checkpoints.run_folder import CHECKPOINTS, FINAL
from training.settings.recipes import TINY

PASSING = ("storage fails", "storage stalls")
ENDING = ("kill a rank", "terminate all", "freeze a rank", "kill all")
FAILS_S = 1.0
"""Seconds for which storage fails, less than readers try again."""
TO_SAVE_S = 300
READ_AHEAD = 5
"""Steps before the end from which on nothing may be read any more."""


@dataclass
class Seen:
    """What was seen of a job in all its lives: seconds, lines on stderr, and the most memory of all ranks in MiB."""

    seconds: float = 0.0
    lives: int = 0
    mib: float = 0.0
    said: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


def index_of(options: Any) -> Path:
    """Return the folder of the index, written where it is not there yet."""
    folder: Path = options.out / "index"
    if not (folder / "manifest.json").is_file():
        options.out.mkdir(parents=True, exist_ok=True)
        sizes = {"identities": options.identities, "photos": options.photos, "tars": options.tars}
        write_large_index(options.out, folder, **sizes, size=TINY.size, people=40)
    return folder


def begin(options: Any, shards: Path, run_dir: Path) -> "subprocess.Popen[str]":
    """Start the job, or continue it."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", options.ranks]
    settings = {
        "--recipe": "tiny",
        "--device": "cpu",
        "--steps": options.steps,
        "--batch": options.batch,
        "--checkpoint_every": options.checkpoint_every,
        "--keep_checkpoints": 1,
        "--timeout": options.timeout,
        "--model.embedding_size": options.embedding_size,
        "--head.sharded": "true",
        "--head.sampling": options.sampling,
        "--shards": shards,
        "--run-dir": run_dir,
    }
    of_program = [word for pair in settings.items() for word in pair]
    words = [*launch, "--shutdown-timeout", TO_SAVE_S, "-m", "tests.campaigns.faulty_storage", *of_program, "--resume"]
    faults = options.out / "faults"
    faults.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "FAULTS": str(faults)}
    return subprocess.Popen(
        ["sh", "-c", 'ulimit -n "$0" && exec "$@"', *map(str, (options.files, sys.executable, *words))],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def disturb(job: "subprocess.Popen[str]", way: str, options: Any, generator: random.Random) -> None:
    """Do to a job what a way says."""
    rank = generator.randrange(options.ranks)
    if way == "storage stalls":
        (options.out / "faults" / f"stall-{rank}").write_text(str(options.stall))
    elif way == "storage fails":
        (options.out / "faults" / f"fail-{rank}").write_text(str(FAILS_S))
    elif way == "freeze a rank":
        frozen = generator.choice(ranks_of(job))
        os.kill(frozen, signal.SIGSTOP)
        time.sleep(options.stall)
        os.kill(frozen, signal.SIGCONT)
    else:
        strike(job, way, generator)


def live(options: Any, shards: Path, run_dir: Path, ways: list[str], generator: random.Random, seen: Seen) -> None:
    """Run the job once, with disturbances after a few steps each, to the first that ends it or to its own end."""
    start, job = time.monotonic(), begin(options, shards, run_dir)
    try:
        ended = _watch(job, options, run_dir, ways, generator, seen)
        seen.said += (job.communicate(timeout=options.stall + TO_SAVE_S)[1] or "").splitlines(keepends=True)
    finally:
        if job.poll() is None:
            strike(job, "kill all", generator)
    seen.seconds += time.monotonic() - start
    seen.lives += 1
    if not ended and job.returncode:
        raise SystemExit("".join(["the job ended by itself:\n", *seen.said[-30:]]))


def _watch(
    job: "subprocess.Popen[str]", options: Any, run_dir: Path, ways: list[str], generator: random.Random, seen: Seen
) -> bool:
    """Disturb a job while it says its steps; return whether it was ended."""
    assert job.stderr is not None
    left = generator.randint(2, 4)
    for line in job.stderr:
        seen.said.append(line)
        if not line.startswith("step "):
            continue
        print(f"{run_dir.name}: {line.rstrip()}", flush=True)
        seen.mib = max(seen.mib, sum(_memory(ranks_of(job))))
        left -= 1
        to_come = options.steps - int(line.split()[1].partition("/")[0])
        if left <= 0 and ways and to_come > READ_AHEAD:
            way, left = ways.pop(0), generator.randint(2, 4)
            print(f"{run_dir.name}: {way}", flush=True)
            seen.done.append(way)
            disturb(job, way, options, generator)
            if way in ENDING:
                return True
    return False


def _memory(processes: list[int]) -> Iterator[float]:
    for process in processes:
        try:
            yield resident_mib(process)
        except (OSError, AssertionError):  # it has just ended
            yield 0.0


def run_to_the_end(options: Any, shards: Path, run_dir: Path, ways: list[str]) -> Seen:
    """Begin a run, or go on with it, until it is done."""
    seen, generator = Seen(), random.Random(options.seed)
    while not (run_dir / FINAL).is_file():
        live(options, shards, run_dir, ways, generator, seen)
    return seen


def named_places(run_dir: Path) -> set[tuple[str, int]]:
    """Return tar and offset of every photo that the run's quarantine names as unreadable."""
    text = "".join(path.read_text() for path in run_dir.glob("quarantine-*.csv"))
    return {(tar, int(at)) for tar, at in re.findall(r"^([^,]+),[^,]*,.* at bytes (\d+) to ", text, re.MULTILINE)}


def drawn_places(options: Any, shards: Path) -> set[tuple[str, int]]:
    """Return tar and offset of every photo that the steps of the run draw."""
    index = ShardIndex.open(shards)
    sampler = Sampler.of([index.first], TINY.views, seed=TINY.seed, global_batch=options.batch)
    photos = np.unique([sampler.draw(step).photos for step in range(options.steps)])
    records = index.records[photos]
    return {(index.manifest.tars[int(one["tar"])].name, int(one["offset"])) for one in records}


def compare(options: Any, shards: Path, runs: list[Path]) -> str:
    """Hold the disturbed run against the undisturbed one; return what was compared."""
    whole, disturbed = map(losses, runs)
    assert [step for step, _ in whole] == list(range(1, options.steps + 1))
    wrong = [step for (step, _), one, other in zip(whole, whole, disturbed, strict=True) if one != other]
    assert not wrong, f"losses differ from step {wrong[0]} on"
    first, second = (load_checkpoint(run_dir / FINAL) for run_dir in runs)
    matrices = [
        read_rows(run_dir / CHECKPOINTS, one.rows or [], range(options.identities))
        for run_dir, one in zip(runs, (first, second), strict=True)
    ]
    for one, other in ((first.backbone, second.backbone), (first.head, second.head), matrices):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), "weights differ"
    drawn = drawn_places(options, shards)
    bad = {place for place in drawn if unreadable(*place)}
    for run_dir in runs:
        named = named_places(run_dir)
        assert bad <= named, f"{run_dir} does not name {sorted(bad - named)[:3]}"
        assert all(unreadable(*place) for place in named), f"{run_dir} names places that can be read"
    assert not list((options.out / "faults").iterdir()), "a fault that was asked for did not come"
    tars = len({tar for tar, _ in drawn})
    return (
        f"{options.steps} losses and {matrices[0]['weight'].numel():,} weights of classes equal; {len(drawn):,} places "
        f"of {tars:,} tars drawn, all {len(bad)} unreadable ones named"
    )


def parser() -> ArgumentParser:
    command = ArgumentParser(description=__doc__.splitlines()[0])
    add = command.add_argument
    add("--out", type=Path, required=True, help="folder for the index and both runs")
    add("--ranks", type=int, default=8, help="processes (default 8)")
    add("--tars", type=int, default=1500, help="tars (default 1500)")
    add("--photos", type=int, default=42_000_000, help="photos of the index (default 42 million)")
    add("--identities", type=int, default=2_000_000, help="classes (default 2 million)")
    add("--embedding-size", type=int, default=32, help="numbers in a row of the class matrix (default 32)")
    add("--sampling", type=float, default=0.1, help="share of the classes that a step sees (default 0.1)")
    add("--files", type=int, default=1024, help="files that a process may have open, `ulimit -n` (default 1024)")
    add("--batch", type=int, default=64, help="identities in a batch of four views (default 64)")
    add("--steps", type=int, default=40, help="steps (default 40)")
    add("--checkpoint_every", type=int, default=5, help="steps between two checkpoints (default 5)")
    add("--timeout", type=int, default=45, help="seconds that a process waits for others in a step (default 45)")
    add("--stall", type=float, default=60, help="seconds for which storage stalls or a process is frozen (default 60)")
    add("--only", nargs="+", choices=(*PASSING, *ENDING), default=[], help="disturbances, in this order (default all)")
    add("--rounds", type=int, default=1, help="times of each of them (default 1)")
    add("--seed", type=int, default=0, help="of what happens when (default 0)")
    return command


def main() -> None:
    options = parser().parse_args()
    # So that a job that is watched does not outlive this command.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    shards = index_of(options)
    runs = [options.out / "whole", options.out / "disturbed"]
    ways = (options.only or [way for pair in zip(PASSING * 2, ENDING, strict=True) for way in pair]) * options.rounds
    for run_dir, planned in zip(runs, ([], ways), strict=True):
        seen = run_to_the_end(options, shards, run_dir, list(planned))
        (options.out / f"{run_dir.name}.log").open("a").writelines(seen.said)
        print(
            f"{run_dir.name}: {seen.seconds:.0f} s in {seen.lives} lives, {len(seen.done)} disturbances "
            f"({', '.join(seen.done) or 'none'}), at most {seen.mib:,.0f} MiB in all ranks",
            flush=True,
        )
    told = compare(options, shards, runs)
    print(
        f"{options.ranks} ranks on {usable_cores()} cores, {options.photos:,} photos of {options.identities:,} "
        f"identities in {options.tars:,} tars, {options.files:,} files open: {told}"
    )


if __name__ == "__main__":
    main()
