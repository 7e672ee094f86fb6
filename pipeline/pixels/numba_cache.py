"""Numba compilation on first call, cached on disk for later processes."""

import hashlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

_Function = TypeVar("_Function", bound=Callable[..., object])


class _Kept(FunctionCache):
    """Compiled code beside its source, or in the user's cache; on a full disk it is not kept, and works as well.

    Numba's own key knows the function's file alone. A function calls the kernels of this folder and of its own, so
    that the key takes in their sources too: code compiled from an older kernel is not used again.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)
        self._sources = _sources_sha256(Path(inspect.getfile(function)))

    def _index_key(self, *what: Any) -> tuple[Any, ...]:
        return (*super()._index_key(*what), self._sources)

    def save_overload(self, *what: Any) -> None:
        with suppress(OSError):
            super().save_overload(*what)


def _sources_sha256(function_file: Path) -> str:
    """Return the SHA-256 of all modules beside a function's file and beside this one."""
    sha256 = hashlib.sha256()
    folders = {function_file.resolve().parent, Path(__file__).resolve().parent}
    for path in sorted({function_file.resolve(), *(path for folder in folders for path in folder.glob("*.py"))}):
        sha256.update(path.read_bytes())
    return sha256.hexdigest()


def compiled(function: _Function) -> _Function:
    """Compile a function of arrays and numbers; it runs without the interpreter's lock.

    Where neither the code's own folder nor the user's cache can be written, every process compiles anew.
    """
    dispatcher: Any = njit(nogil=True)(function)
    with suppress(RuntimeError):
        dispatcher._cache = _Kept(function)
    return cast(_Function, dispatcher)
