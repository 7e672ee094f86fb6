"""Executors that run tasks in local processes or on a Dask cluster."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.connection import wait as wait_for
from typing import Any

from shards.command import UserError

# A task is tried on so many workers, if they are lost one after the other.
_RETRIES = 5
_SECONDS_TO_CONNECT = 30


@dataclass(frozen=True)
class Workplace:
    """An executor, how many tasks keep all its workers busy, and the errors by which it says that it lost workers."""

    executor: Executor
    tasks_at_once: int
    lost: type[Exception]


def prepare_processes() -> None:
    """Let the server from which worker processes fork import what they need, while this process plans their work."""
    forkserver.set_forkserver_preload(["pipeline.sharding.tar_worker"])
    forkserver.ensure_running()


def _prepare_worker() -> None:
    """Make a worker process end with its parent, and ignore Ctrl-C, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()


@contextmanager
def local_processes(workers: int) -> Iterator[Workplace]:
    """Work in processes of this machine, which end with this one."""
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        yield Workplace(pool, workers, BrokenProcessPool)


@contextmanager
def dask_cluster(address: str) -> Iterator[Workplace]:
    """Work on a Dask cluster, whose machines see the photos and the shard folder under the same paths.

    Args:
        address: of the scheduler, such as `tcp://host:8786`.

    Raises:
        UserError: nobody answers there, or no worker has joined.
    """
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {address} ({error or type(error).__name__}); start one with "
            "`dask scheduler` and give its address"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS_TO_CONNECT)
        except TimeoutError as error:
            raise UserError(f"the Dask scheduler at {address} has no worker; start some with `dask worker`") from error
        executor = client.get_executor(retries=_RETRIES, pure=False)
        yield Workplace(executor, sum(client.nthreads().values()), KilledWorker)


def work_through(
    workplace: Workplace,
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    done: Callable[[Any], None],
    *,
    kept: str,
) -> None:
    """Call a function for every task on a workplace's workers; only as many tasks as keep them busy are in memory.

    Args:
        workplace: where.
        function: what; it keeps its result on disk.
        tasks: the arguments of each call.
        done: called with the result of each call, in the order in which they end.
        kept: what stays on disk when a worker dies, for the message.

    Raises:
        UserError: a worker process died, or the one that starts them.
    """
    running: set[Future[Any]] = set()
    died = UserError(f"a worker process died (killed, or out of memory); run the same command again: {kept}")

    def submit(task: tuple[Any, ...]) -> Future[Any]:
        try:
            return workplace.executor.submit(function, *task)
        except (EOFError, ConnectionError) as error:
            # The server that starts workers died while it started one.
            raise died from error

    def collect() -> None:
        nonlocal running
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            done(future.result())

    try:
        for task in tasks:
            while len(running) > workplace.tasks_at_once:
                collect()
            running.add(submit(task))
        while running:
            collect()
    except workplace.lost as error:
        raise died from error
    finally:
        for future in running:
            future.cancel()
