"""A folder or file that one command at a time may write."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.command import UserError


@contextmanager
def claimed(lock: Path, out: Path) -> Iterator[None]:
    """Hold an output against a second command; the system lets go of it when the process ends.

    Args:
        lock: file that is locked; its folder exists.
        out: what the command writes, for the message.

    Raises:
        UserError: another command holds it.
    """
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{out} is being written by another command; wait for it or choose another --out"
            ) from error
        if not lock.is_file():
            raise UserError(f"{out} was just finished by another command; run the same command again to see it")
        yield
