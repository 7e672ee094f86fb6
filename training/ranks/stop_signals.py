"""SIGTERM and SIGINT as requests that the loop honours after its step, and at once in work that can be done again."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


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
