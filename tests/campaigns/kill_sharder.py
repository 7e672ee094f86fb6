"""Kill the sharder at random moments: `python -m tests.campaigns.kill_sharder --kills 100`.

The command runs with two workers on rendered people with bad photos among them. At a random moment one of its
processes, chosen at random (itself, a worker, or the server that starts workers), is killed with SIGKILL. Then the
same command runs again, until it finishes; every finished folder must be the one that was never interrupted, to the
byte. A command that goes on after it lost a worker must end by itself, in one line or finished.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pipeline.synthetic.write import write_dataset

SECONDS_TO_END = 120
"""A command that lost a worker and has not ended after so long hangs."""


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def processes_of(session: int) -> list[int]:
    """Return the processes of a session, but the leader first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            state, its_session = after_name[0], int(after_name[3])
            if its_session == session and state != "Z":
                found.append(int(entry.name))
    return sorted(found, key=lambda pid: pid != session)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def interrupt(words: list[str], environment: dict[str, str], delay: float, generator: random.Random) -> str:
    """Start a command, kill one of its processes after a while; return what became of it.

    Returns:
        "finished" before it was killed; "killed"; "worker killed: refused" or "worker killed: finished".
    """
    process = subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        process.wait(delay)
        assert process.returncode == 0, process.communicate()[1]
        return "finished"
    except subprocess.TimeoutExpired:
        pass
    processes = processes_of(process.pid)
    victim = process.pid if len(processes) < 2 or generator.random() < 0.5 else generator.choice(processes[1:])
    tracker = b"resource_tracker" in _command_line(victim)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        victim = process.pid
        process.kill()
    stderr = process.communicate(timeout=SECONDS_TO_END)[1]
    if victim == process.pid:
        return "killed"
    assert process.returncode in (0, 2), stderr
    # Python's own tracker of resources is loud when it is started anew; the work goes on.
    assert tracker or "Traceback" not in stderr, stderr
    return "worker killed: finished" if process.returncode == 0 else "worker killed: refused"


def run(words: list[str], scratch: Path, kills: int, seed: int) -> Counter[str]:
    """Interrupt a command so many times, and compare every folder that it finishes; return what became of it.

    What a killed process leaves in its folder for temporary files is removed at the end.

    Args:
        words: of the command, all but --out.
        scratch: an empty folder.
        kills: interruptions.
        seed: of the moments and the victims.

    Raises:
        AssertionError: a folder differs, or a command hung or ended otherwise than it should.
    """
    with tempfile.TemporaryDirectory(prefix="killed-") as temporary:
        return _interrupted(words, {**os.environ, "TMPDIR": temporary}, scratch, kills, random.Random(seed))


def _interrupted(
    words: list[str], environment: dict[str, str], scratch: Path, kills: int, generator: random.Random
) -> Counter[str]:
    whole, out = scratch / "whole", scratch / "killed"
    start = time.monotonic()
    subprocess.run([*words, "--out", str(whole)], env=environment, check=True, capture_output=True)
    duration = time.monotonic() - start
    sound = contents(whole)
    outcomes: Counter[str] = Counter()
    while sum(count for outcome, count in outcomes.items() if outcome != "finished") < kills:
        start, fresh = time.monotonic(), not out.exists()
        outcome = interrupt(
            [*words, "--out", str(out)], environment, generator.uniform(0.25, 1.1) * duration, generator
        )
        if outcome == "finished" and fresh:
            # The machine may be faster now than it was in the first run: later kills must come sooner.
            duration = min(duration, time.monotonic() - start)
        outcomes[outcome] += 1
        print(f"{sum(outcomes.values())}: {outcome}", file=sys.stderr, flush=True)
        if outcome.endswith("finished"):
            assert contents(out) == sound, f"after {dict(outcomes)}"
            shutil.rmtree(out)
    subprocess.run([*words, "--out", str(out)], env=environment, check=True, capture_output=True)
    assert contents(out) == sound, f"after {dict(outcomes)}"
    return outcomes


def main() -> None:
    """Run the campaign and print what became of every run."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill_sharder", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="interruptions (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (default: 0)")
    parser.add_argument("--people", type=int, default=40, help="rendered identities, of 8 photos each (default: 40)")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        scratch = Path(folder)
        write_dataset(scratch, "vggface2", identities=options.people, photos=8, seed=0)
        root = scratch / "VGGFace2"
        for number, photo in enumerate(sorted((root / "train").rglob("*.jpg"))):
            if number % 11 == 0 or number < 6:
                photo.write_bytes(photo.read_bytes()[: number * 200])
        lists = root / "bb_landmark" / "loose_landmark_train.csv"
        words = [sys.executable, "-m", "pipeline.shard", "--dataset", "vggface2", "--root", str(root)]
        words += ["--landmarks", str(lists), "--size", "256", "--codec", "png", "--min-tars", "20", "--workers", "2"]
        outcomes = run(words, scratch, options.kills, options.seed)
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome:28} {count:5}")
    print(f"every finished folder was the same to the byte; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
