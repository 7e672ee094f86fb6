"""Where the units of a run are worked on: processes of this machine, or a Dask cluster."""

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from pipeline.unit import prepare_worker
from shards.command import UserError

# A unit is tried on so many workers, should they be lost one after the other.
_RETRIES = 5
_SECONDS_TO_CONNECT = 30


@dataclass(frozen=True)
class Workplace:
    """An executor, and how many units keep all its workers busy."""

    executor: Executor
    units_at_once: int


@contextmanager
def local_processes(workers: int) -> Iterator[Workplace]:
    """Work in processes of this machine, which end with this one."""
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker) as pool:
        yield Workplace(pool, workers)


@contextmanager
def dask_cluster(address: str) -> Iterator[Workplace]:
    """Work on a Dask cluster, whose machines see the photos and the shard folder under the same paths.

    Args:
        address: of the scheduler, such as `tcp://host:8786`.

    Raises:
        UserError: nobody answers there, or no worker has joined.
    """
    from distributed import Client

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
        yield Workplace(executor, sum(client.nthreads().values()))
