"""Code of the user's own, named on the command line as `package.module:callable` and resolved at run time.

Only the command line names code: a file of settings may come from anyone.
"""

import importlib
import re
from collections.abc import Callable
from typing import Any

import yaml  # type: ignore[import-untyped]
from jsonargparse import get_loader, set_loader

from shards.command import UserError

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

PLAIN = "plain"
"""The mode of a parser whose files of settings, and settings in braces, may not name code."""


def _load_plain(text: str) -> Any:
    """Return a setting's value: YAML or JSON that names no code.

    Raises:
        UserError: it names a class or an import path.
    """
    loaded = get_loader("yaml")(text)
    _refuse_code(loaded)
    return loaded


def _refuse_code(loaded: Any) -> None:
    for value in loaded if isinstance(loaded, list) else []:
        _refuse_code(value)
    for key, value in loaded.items() if isinstance(loaded, dict) else []:
        if key == "class_path":
            raise UserError(f"a setting names the class {value}; settings are values, and none of them is a class")
        if isinstance(value, str) and is_import_path(value):
            raise UserError(
                f"a file of settings, or a setting in braces, names the code {value} as {key}; what is imported "
                f"stands on the command line itself, as in --model.backbone {value}"
            )
        _refuse_code(value)


set_loader(PLAIN, _load_plain, exceptions=(yaml.YAMLError,))


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
