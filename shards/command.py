"""The argument parser and error handling shared by all commands."""

import errno
import json
import os
import sys
import threading
import time
from argparse import SUPPRESS, Action
from collections.abc import Callable
from contextlib import suppress
from inspect import isfunction
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class UserError(Exception):
    """A mistake of the user, reported in one line: what was found, what was expected, what to do."""


class _Help(DefaultHelpFormatter):
    """Says what an option takes and its default, where there is one to say."""

    def _get_help_string(self, action: Action) -> str:
        text, facts = action.help or "", []
        if action.required and action.option_strings:
            facts.append("required")
        # A function that reads what is typed has no name for people.
        if self._get_type_str(action) and action.type not in (None, Path) and not isfunction(action.type):
            facts.append("%(type)s")
        said = action.default is None or action.default in ([], (), SUPPRESS) or "(default" in text
        if not said and action.nargs != 0:
            several = isinstance(action.default, list | tuple) and action.nargs is not None
            # Several values as they are typed; a default may hold a %.
            typed = " ".join(map(str, action.default)).replace("%", "%%") if several else "%(default)s"
            facts.append(f"default: {typed}")
        elif action.nargs == 0 and action.default is False:
            facts.append("default: off")
        return f"{text} ({', '.join(facts)})" if facts else text


class Parser(ArgumentParser):
    """A jsonargparse parser whose errors are one line, without the usage text."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with status 2."""
        fail(f"{self.prog}: {message}")


def fail(message: str) -> NoReturn:
    """Print `error: message` as one line on stderr and exit with status 2."""
    told = "error: " + " ".join(message.split())
    tell_launcher(told)
    print(told, file=sys.stderr)
    raise SystemExit(2)


def tell_launcher(message: str) -> None:
    """Leave a message for torchrun, which prints it in its last lines; nothing where it did not start this process."""
    if not (place := os.environ.get("TORCHELASTIC_ERROR_FILE")):
        return
    about = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
    with suppress(OSError):
        Path(place).write_text(json.dumps(about), encoding="utf-8")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, at most 200 characters; the error's kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def storage_mistake(error: OSError) -> UserError | None:
    """Return the mistake behind an error of a disk that is full or may not be written, None for any other error."""
    if error.errno not in _STORAGE_ERRORS:
        return None
    where = error.filename or "the output folder"
    return UserError(f"{where}: {error.strerror}; make room there or name another folder, then run the command again")


def _overlook_full_disk(failed: threading.ExceptHookArgs) -> None:
    """Print the exception that ended a thread, except a full disk, which the thread's caller reports."""
    if not (isinstance(failed.exc_value, OSError) and storage_mistake(failed.exc_value)):
        threading.__excepthook__(failed)


def run(main: Callable[[], None]) -> None:
    """Run a command's main function; a `UserError` ends it in one line with exit status 2.

    So does a disk that is full or may not be written. Ctrl-C ends it with status 130; any other exception is a
    defect of ours and keeps its traceback.
    """
    threading.excepthook = _overlook_full_disk
    try:
        main()
    except UserError as mistake:
        fail(str(mistake))
    except OSError as error:
        full = storage_mistake(error)
        if full is None:
            raise
        fail(str(full))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
