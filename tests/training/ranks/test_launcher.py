"""A process and torchrun: it ends with it, and leaves its last words where torchrun prints them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from shards.command import fail
from training.ranks.world import fault_of_communication

CHILD = """
import signal, sys, time
from training.ranks.stop_signals import end_with_launcher, stop_requests
end_with_launcher(looks_every=0.05, to_save=float(sys.argv[1]))
with stop_requests() as stops:
    print("ready", flush=True)
    while not (stops.made and sys.argv[1] != "0"):
        time.sleep(0.05)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
print(child.pid, flush=True)
time.sleep(60)
"""


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("to_save", ["60", "0"], ids=["that saves", "that hangs"])
def test_a_process_ends_with_a_torchrun_that_is_killed(to_save: str) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, to_save],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TORCHELASTIC_RUN_ID": "1"},
    )
    assert launcher.stdout is not None
    child = int(launcher.stdout.readline())
    assert launcher.stdout.readline() == "ready\n"
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    deadline = time.monotonic() + 30
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(child)


def test_torchrun_reads_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(SystemExit):
        fail("no folder shards; write one")
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(tmp_path / "error.json"))
    assert "error: no folder shards; write one" in str(ChildFailedError("training/main.py", {0: failure}))
    assert abs(failure.timestamp - time.time()) < 60


def test_an_error_of_ones_own_is_told_with_its_last_lines() -> None:
    own = dist.DistBackendError(
        "NCCL error in: NCCLUtils.cpp:77, unhandled cuda error (run with NCCL_DEBUG=INFO for details), NCCL 2\n"
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'"
    )
    told = fault_of_communication(own)
    assert told.startswith("could not communicate: NCCL error")
    assert told.endswith("Cuda failure 2 'out of memory'")
    assert "lost another process" not in told
    gone = RuntimeError("[../gloo/transport/tcp/pair.cc:1] Connection closed by peer [127.0.0.1]:1")
    assert fault_of_communication(gone).startswith("lost another process")
