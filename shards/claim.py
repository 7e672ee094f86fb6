"""A lock that lets only one command at a time write to a folder or file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.command import UserError
from shards.lock import locked


@contextmanager
def claimed(lock: Path, out: Path) -> Iterator[None]:
    """Lock an output (see `shards.lock`), and check that no other command has finished it in the meantime.

    Args:
        lock: file that is locked; its folder exists.
        out: what the command writes, for the message.

    Raises:
        UserError: another command holds it, or has just removed the lock with the rest of its work.
    """
    with locked(lock, out, "choose another --out"):
        if not lock.is_file():
            raise UserError(f"{out} was just finished by another command; run the same command again to see it")
        yield
