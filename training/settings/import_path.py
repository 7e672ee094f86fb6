"""Code of the user's own, named on the command line as `package.module:callable` and resolved at run time."""

import importlib
import re
from collections.abc import Callable
from typing import Any

from shards.command import UserError

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_import_path(name: str) -> bool:
    """Tell whether a name looks like package.module:callable."""
    return _IMPORT_PATH.fullmatch(name) is not None


def imported(path: str, role: str) -> Callable[..., Any]:
    """Return the callable that an import path names, having imported its module.

    Args:
        path: package.module:callable.
        role: what the callable is to be, for messages.

    Raises:
        UserError: no import path, no such module, or no such callable in it.
    """
    if not is_import_path(path):
        raise UserError(f"no {role} {path!r}; an import path looks like package.module:callable")
    module_name, name = path.split(":")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise UserError(f"{role} {path}: {error}; install the module or set PYTHONPATH") from error
    if not callable(found):
        raise UserError(f"{role} {path}: {module_name} has no callable {name}; name one that it has")
    return found
