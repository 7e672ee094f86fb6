"""SIGTERM and SIGINT as requests that the loop honours after its step, and at once in work that can be done again."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TO_SAVE_S = 600


class StoppedEarly(BaseException):
    """A stop request came in a block that it may cut short; no `Exception`, so that the block cannot survive it."""


class StopRequests:
    """What SIGTERM and SIGINT asked for so far.

    Attributes:
        made: whether one of them came.
    """

    def __init__(self) -> None:
        self.made = False
        self._cuts = False

    @contextmanager
    def stops_early(self) -> Iterator[None]:
        """Leave a block by `StoppedEarly` as soon as a request comes, or has come before."""
        self._cuts = True
        try:
            if self.made:
                raise StoppedEarly
            yield
        finally:
            self._cuts = False

    def ask(self, *_: object) -> None:
        """Take note of a signal."""
        self.made = True
        if self._cuts:
            self._cuts = False
            raise StoppedEarly


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Turn SIGTERM and SIGINT into requests."""
    requests = StopRequests()
    previous = {number: signal.signal(number, requests.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_with_launcher(looks_every: float = 1.0, to_save: float = _TO_SAVE_S) -> None:
    """Ask this process to stop once torchrun, which started it, is gone; without torchrun do nothing.

    A torchrun that is killed cannot end its processes, and they would hold GPUs and run folder.

    Args:
        looks_every: seconds between looks.
        to_save: seconds that the process has to save and leave, before it is ended.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(looks_every)
        # Nobody may read any more what is printed.
        with suppress(OSError, ValueError):
            print("torchrun is gone: saving and leaving", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(to_save)
        os._exit(1)

    threading.Thread(target=watch, name="launcher", daemon=True).start()
