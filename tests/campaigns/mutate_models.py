"""Damage every file that stands for a model or a run: `python -m tests.campaigns.mutate_models --cases 10000`.

Checkpoints, the authors' weights and the settings beside them, exported files, embeddings, and what a run folder
holds. Their bytes are damaged, and they are written anew, checksums and all, with other values. Each case must be
read, be passed over with a warning, or end as a mistake told in one line. The readers work in a process of their own,
so that a crash or a hang of it is a finding too.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.campaigns.damaged_models import know_linear, model_files
from tests.campaigns.damaged_runs import result_files, run_files
from tests.campaigns.mutate_evaluation import judged
from tests.campaigns.mutations import Reader, run

LIMIT = 60.0
"""Seconds after which a case counts as a hang."""


def readers(scratch: Path) -> dict[str, Reader]:
    """Write sound inputs and return who reads them."""
    return {**model_files(scratch), **run_files(scratch / "run"), **result_files(scratch)}


def isolated(parts: str, cases: int, seed: int) -> Iterator[tuple[Counter[tuple[str, str]], list[str]]]:
    """Run the cases in a process of their own; where it dies or hangs, name the case and go on behind it."""
    context = multiprocessing.get_context("spawn")
    first = 0
    while first < cases:
        current: Synchronized[int] = context.Value("q", -1)  # type: ignore[assignment]
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(parts, range(first, cases), seed, current, theirs))
        worker.start()
        theirs.close()
        seen, since = -1, time.monotonic()
        while not ours.poll(1.0) and worker.is_alive():
            if current.value != seen:
                seen, since = current.value, time.monotonic()
            elif seen >= 0 and time.monotonic() - since > LIMIT:
                worker.kill()
        try:
            while True:
                yield ours.recv()
        except EOFError:
            pass
        worker.join()
        if worker.exitcode == 0:
            return
        assert current.value >= 0, "the process died before the first case"
        end = "hung" if worker.exitcode == -9 else f"died with status {worker.exitcode}"
        yield Counter({("the process", "FINDING"): 1}), [f"seed {seed}, case {current.value}: the process {end}"]
        first = current.value + 1


def _work(parts: str, cases: range, seed: int, current: "Synchronized[int]", results: Any) -> None:
    """Run cases in portions, telling which one is on."""
    know_linear()

    def told() -> Iterator[int]:
        for case in cases:
            current.value = case
            yield case

    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        chosen = {name: one for name, one in readers(Path(scratch)).items() if parts in name}
        # What libraries say of damage would bury the table.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        results.send(run(chosen, told(), seed, judged))


def main() -> None:
    """Run the campaign and print its table."""
    parser = ArgumentParser(prog="python -m tests.campaigns.mutate_models", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="damaged files (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default: 0)")
    parser.add_argument("--only", default="", help="readers whose name holds this (default: all)")
    parser.add_argument("--show", type=int, default=5, help="findings to print in full (default: 5)")
    options = parser.parse_args()
    start = time.monotonic()
    outcomes: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    for counted, found in isolated(options.only, options.cases, options.seed):
        outcomes += counted
        findings += found
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:24} {outcome:24} {count:6}")
    for finding in findings[: options.show]:
        print(finding)
    print(f"{options.cases} cases in {time.monotonic() - start:.0f} s, {len(findings)} findings", file=sys.stdout)
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
