"""Functions compiled to the machine's own code when first called, and kept on disk for the next process."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile a function of arrays and numbers; it runs without the interpreter's lock.

    Where neither the code's own folder nor the user's cache can be written, every process compiles anew.
    """
    try:
        return cast(_Function, njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast(_Function, njit(nogil=True)(function))
