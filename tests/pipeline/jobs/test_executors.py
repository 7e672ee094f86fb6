"""Workers that die, and the server that starts them."""

import os
import signal
import threading
from multiprocessing import forkserver

import pytest

from pipeline.jobs.executors import local_processes, work_through
from shards.command import UserError


def kill_when_waited_for(server: int, asked: threading.Event) -> None:
    asked.wait()
    # By then the command waits for the number of the process it asked for.
    threading.Event().wait(0.2)
    os.kill(server, signal.SIGKILL)


def test_the_death_of_the_server_of_processes_is_told_as_that_of_a_worker() -> None:
    forkserver.ensure_running()
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGSTOP)
    asked = threading.Event()
    killer = threading.Thread(target=kill_when_waited_for, args=(server, asked))
    killer.start()

    def tasks():
        asked.set()
        yield (1,)

    with pytest.raises(UserError, match=r"a worker process died .*: all is kept"), local_processes(1) as workplace:
        work_through(workplace, abs, tasks(), lambda _: None, kept="all is kept")
    killer.join()


@pytest.mark.slow
def test_an_error_of_the_work_itself_is_no_death() -> None:
    with pytest.raises(TypeError), local_processes(1) as workplace:
        work_through(workplace, abs, [("text",)], lambda _: None, kept="")
