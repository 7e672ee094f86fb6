"""A file lock, which lets only one command at a time write to a folder or file."""

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.command import UserError


@contextmanager
def locked(lock: Path, held: Path, advice: str) -> Iterator[None]:
    """Lock an output against other commands; the system releases the lock when the process ends, even if killed.

    Args:
        lock: file that is locked, and says who holds it; its folder exists.
        held: what it stands for, for the message.
        advice: what else than waiting a user can do.

    Raises:
        UserError: another process holds it.
        OSError: the file cannot be opened.
    """
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = lock.read_text(encoding="utf-8", errors="replace").strip()
            raise UserError(
                f"{held} is in use by {holder or 'another command'}; wait for its end or {advice}"
            ) from error
        except OSError as error:
            print(f"warning: {held} cannot be locked ({error.strerror}): start no second job there", file=sys.stderr)
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


@contextmanager
def locked_output(lock: Path, out: Path) -> Iterator[None]:
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
