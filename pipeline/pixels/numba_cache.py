"""Numba compilation on first call, cached on disk for later processes."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

_Function = TypeVar("_Function", bound=Callable[..., object])


class _Kept(FunctionCache):
    """Compiled code beside its source, or in the user's cache; on a full disk it is not kept, and works as well."""

    def save_overload(self, *what: Any) -> None:
        with suppress(OSError):
            super().save_overload(*what)


def compiled(function: _Function) -> _Function:
    """Compile a function of arrays and numbers; it runs without the interpreter's lock.

    Where neither the code's own folder nor the user's cache can be written, every process compiles anew.
    """
    dispatcher: Any = njit(nogil=True)(function)
    with suppress(RuntimeError):
        dispatcher._cache = _Kept(function)
    return cast(_Function, dispatcher)
