"""A file lock, which lets only one command at a time write to a folder or file."""

import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from shards.command import UserError

_HOLDER = "process "


@contextmanager
def locked(lock: Path, held: Path, advice: str) -> Iterator[None]:
    """Lock an output against other commands; the system releases the lock when the process ends, even if killed.

    Args:
        lock: file that is locked, and says who holds it; its folder exists.
        held: what it stands for, for the message.
        advice: what else than waiting a user can do.

    Raises:
        UserError: another process holds it, or it is a link or another's file.
        OSError: the file cannot be opened.
    """
    try:
        # A link could lead to a file whose content would be lost.
        descriptor = os.open(lock, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{lock} is a symbolic link, which this program does not make; remove it") from error
    with os.fdopen(descriptor, "a+", encoding="utf-8") as file:
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
            _refuse_foreign(file, lock)
            file.truncate(0)
            file.write(f"{_HOLDER}{os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


def _refuse_foreign(file: TextIO, lock: Path) -> None:
    """Refuse to empty a file that no holder of a lock has written."""
    about = os.fstat(file.fileno())
    file.seek(0)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1 or file.read(len(_HOLDER)) not in ("", _HOLDER):
        raise UserError(f"{lock} was not written by this program; move it away")


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
