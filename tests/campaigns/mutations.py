"""Ways to damage bytes, as disks, transfers and editors do."""

import random
import re
from collections.abc import Callable

_NUMBERS = [b"0", b"-1", b"1e999", b"nan", b"", b"99999999999999999999", b"0.5", b"2147483648", b'"', b"\x00"]
_VALUES = [b"null", b"[]", b"{}", b'"x"', b"-1", b"true", b"1e400", b'""', b'"../../x"', b'"a\\u0000"', b"[" * 2000]


def mutated(data: bytes, random_: random.Random) -> bytes:
    """Return data with one to four damages, never the same bytes."""
    while True:
        out = data
        for _ in range(random_.choice([1, 1, 1, 2, 4])):
            out = random_.choice(_DEEDS)(out, random_) if out else b"?"
        if out != data:
            return out


def _span(data: bytes, random_: random.Random) -> tuple[int, int]:
    start = random_.randrange(len(data))
    return start, min(len(data), start + random_.choice([1, 4, 16, 512, 4096]))


def _flip(data: bytes, random_: random.Random) -> bytes:
    place = random_.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << random_.randrange(8))]) + data[place + 1 :]


def _overwrite(data: bytes, random_: random.Random) -> bytes:
    start, stop = _span(data, random_)
    fill = random_.choice([bytes(stop - start), b"\xff" * (stop - start), random_.randbytes(stop - start)])
    return data[:start] + fill + data[stop:]


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data))]


def _remove(data: bytes, random_: random.Random) -> bytes:
    start, stop = _span(data, random_)
    return data[:start] + data[stop:]


def _insert(data: bytes, random_: random.Random) -> bytes:
    start, stop = _span(data, random_)
    return data[:stop] + random_.choice([data[start:stop], random_.randbytes(stop - start)]) + data[stop:]


def _number(data: bytes, random_: random.Random) -> bytes:
    """Replace a number in a text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20_000]))
    if not found:
        return _flip(data, random_)
    one = random_.choice(found)
    return data[: one.start()] + random_.choice(_NUMBERS) + data[one.end() :]


def _value(data: bytes, random_: random.Random) -> bytes:
    """Replace a value in JSON or TOML."""
    found = list(re.finditer(rb"(?<=[:=] )[^\n]+?(?=,?\n)", data[:20_000]))
    if not found:
        return _overwrite(data, random_)
    one = random_.choice(found)
    return data[: one.start()] + random_.choice(_VALUES) + data[one.end() :]


_DEEDS: list[Callable[[bytes, random.Random], bytes]] = [_flip, _overwrite, _cut, _remove, _insert, _number, _value]
