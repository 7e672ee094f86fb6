"""Pair sets in the `.bin` files of InsightFace: a pickle of encoded pictures and truths, read without running code.

Of a pickle only lists, tuples, bytes, numbers and numpy's array constructors are known. For the latter stand-ins are
called, which make numbers and arrays out of their bytes alone; anything else that a pickle names ends its reading.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError, first_line

_TYPES = frozenset({"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"})
_OBJECTS = frozenset({"O", "O4", "O8"})
_EXPECTED = "a pickle of 2 P encoded pictures and P truths, as InsightFace's lfw.bin"


@dataclass(frozen=True)
class BinSet:
    """Pairs of pictures.

    Attributes:
        pictures: 2 P encoded pictures; 2 k and 2 k + 1 are pair k.
        same: P truths, whether a pair shows one person.
    """

    pictures: list[bytes]
    same: list[bool]


def read_bin_set(path: Path) -> BinSet:
    """Read a `.bin` file.

    Raises:
        UserError: no file, no pickle of this form, or one that names anything but plain data.
    """
    try:
        with path.open("rb") as file:
            content = _Plain(file, encoding="bytes").load()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected {_EXPECTED}") from error
    except _NotPlainError as error:
        raise UserError(f"{path} is not loaded: it names {error}, no plain data; expected {_EXPECTED}") from error
    except Exception as error:  # a damaged pickle raises anything between EOFError and KeyError
        raise UserError(f"{path} is damaged or no pickle ({first_line(error)}); expected {_EXPECTED}") from error
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise UserError(f"{path} holds a {type(content).__name__}; expected {_EXPECTED}")
    pictures, truths = (_entries(part) for part in content)
    if not truths or len(pictures) != 2 * len(truths):
        raise UserError(f"{path} holds {len(pictures):,} pictures and {len(truths):,} truths; expected {_EXPECTED}")
    encoded, same = [_encoded(one) for one in pictures], [_truth(one) for one in truths]
    if None in encoded or None in same:
        raise UserError(f"{path} holds pictures that are no bytes or truths that are none; expected {_EXPECTED}")
    return BinSet([one for one in encoded if one is not None], [one for one in same if one is not None])


def _entries(part: Any) -> list[Any]:
    """Return the entries of a list or an array, none of anything else."""
    found = part.value if isinstance(part, _Array) else part
    return list(found) if isinstance(found, list | tuple) or (isinstance(found, np.ndarray) and found.ndim) else []


def _encoded(one: Any) -> bytes | None:
    if isinstance(one, _Array) and isinstance(one.value, np.ndarray) and one.value.dtype == np.uint8:
        return one.value.tobytes()
    return bytes(one) if isinstance(one, bytes | bytearray) else None


def _truth(one: Any) -> bool | None:
    return bool(one) if isinstance(one, bool | int | float | np.generic) else None


class _NotPlainError(Exception):
    """A pickle names something else than plain data; the message says what."""


class _Type:
    """Stands for a numpy dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or text not in _TYPES | _OBJECTS:
            raise _NotPlainError(f"the array type {text!r:.40}")
        self.name, self._order = text, "<"

    def __setstate__(self, state: Any) -> None:
        self._order = ">" if state[1] in (">", b">") else "<"

    def array(self, content: Any, shape: Any) -> NDArray[Any]:
        """Return an array of a shape out of its bytes."""
        if self.name in _OBJECTS:
            raise _NotPlainError("an array of objects out of bytes")
        return np.frombuffer(content, np.dtype(self._order + self.name)).reshape([int(side) for side in shape])


class _Array:
    """Stands for a numpy array; its value is an array of numbers, or a list where it held objects."""

    def __init__(self, *_: Any) -> None:
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, _, content = state
        if isinstance(content, list) and kind.name in _OBJECTS:
            self.value = content
        else:
            self.value = kind.array(content, shape)

    @staticmethod
    def of_buffer(content: Any, kind: _Type, shape: Any, _order: Any) -> "_Array":
        """Return what numpy writes since protocol 5."""
        array = _Array()
        array.value = kind.array(content, shape)
        return array


def _number(kind: _Type, content: Any) -> Any:
    return kind.array(content, ())[()]


def _bytes_of_text(text: Any, encoding: Any = "latin1") -> bytes:
    """Return what Python 3 writes for bytes into a pickle that Python 2 can read."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise _NotPlainError(f"the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _bytes_of_bytearray(content: Any = b"", *encoding: Any) -> bytes:
    # A number would ask for that much memory.
    return content if isinstance(content, bytes) else _bytes_of_text(content, *encoding)


_NUMPY = ("numpy.core.", "numpy._core.")
_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    **{(f"{numpy}multiarray", "_reconstruct"): _Array for numpy in _NUMPY},
    **{(f"{numpy}multiarray", "scalar"): _number for numpy in _NUMPY},
    **{(f"{numpy}numeric", "_frombuffer"): _Array.of_buffer for numpy in _NUMPY},
    ("_codecs", "encode"): _bytes_of_text,
    **{(builtins, "bytearray"): _bytes_of_bytearray for builtins in ("__builtin__", "builtins")},
    **{(builtins, "bytes"): _bytes_of_bytearray for builtins in ("__builtin__", "builtins")},
}


# In Python: the one in C gives a damaged pickle as much memory as it asks for.
class _Plain(pickle._Unpickler):
    """Reads plain data alone."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return the stand-in of a name, made anew, so that no pickle can change it for the next."""
        stand_in = _KNOWN.get((module, name))
        if stand_in is None:
            raise _NotPlainError(f"{module}.{name}"[:80])
        return lambda *arguments: stand_in(*arguments)  # noqa: PLW0108 - a function of its own

    def persistent_load(self, _: Any) -> Any:
        """Refuse what lies outside of the pickle."""
        raise _NotPlainError("an object outside of the file")
