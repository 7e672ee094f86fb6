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


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> forkserver.ForkServer:
    """A server of processes for one test; other tests have the other one."""
    server = forkserver.ForkServer()
    for name in ("ensure_running", "connect_to_new_process"):
        monkeypatch.setattr(forkserver, name, getattr(server, name))
    return server


def test_the_death_of_the_server_of_processes_is_told_as_that_of_a_worker(own_server: forkserver.ForkServer) -> None:
    own_server.ensure_running()
    server = own_server._forkserver_pid
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
