"""The same bytes from a Dask cluster of real processes, also when one of them is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from shards.command import UserError
from tests.campaigns.kill_sharder import contents

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as running:
        yield running


def plan_of(rendered: Path, train_list: Path) -> Plan:
    return Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=224, codec="png", min_tars=12))


@pytest.mark.soak
def test_a_cluster_that_loses_a_worker_writes_the_same_bytes(
    rendered: Path, train_list: Path, tmp_path: Path, cluster: LocalCluster
) -> None:
    shard(plan_of(rendered, train_list), tmp_path / "local", workers=1)
    with Client(cluster) as client:
        victim = next(iter(client.run(os.getpid).values()))
    killed = []

    def kill_once_begun() -> None:
        while not list((tmp_path / "dask").glob("shard-*.tar")):
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    thread = threading.Thread(target=kill_once_begun)
    thread.start()
    shard(plan_of(rendered, train_list), tmp_path / "dask", workers=1, dask=cluster.scheduler_address)
    thread.join()
    assert killed
    assert contents(tmp_path / "dask") == contents(tmp_path / "local")


@pytest.mark.soak
def test_the_command_killed_on_a_cluster_continues_on_this_machine(
    rendered: Path, train_list: Path, tmp_path: Path, cluster: LocalCluster, command: Callable
) -> None:
    options = ["--dataset", "vggface2", "--root", rendered / "VGGFace2", "--landmarks", train_list]
    options += ["--size", "224", "--codec", "png", "--min-tars", "12", "--out", tmp_path / "out"]
    words = [sys.executable, "-m", "pipeline.shard", *map(str, options), "--dask", cluster.scheduler_address]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out").glob("shard-*.tar")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = command("pipeline.shard", *options)
    assert done.returncode == 0, done.stderr
    shard(plan_of(rendered, train_list), tmp_path / "whole", workers=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_address_without_a_scheduler_is_refused(
    rendered: Path, train_list: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.jobs.executors._SECONDS_TO_CONNECT", 2)
    with pytest.raises(UserError, match="no Dask scheduler answers at tcp://127"):
        shard(plan_of(rendered, train_list), tmp_path / "out", workers=1, dask="tcp://127.0.0.1:1")
