"""Ways to damage bytes and plain data, as disks and editors do, and the campaign that lets readers have them."""

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NUMBERS = [b"0", b"-1", b"1e999", b"nan", b"", b"99999999999999999999", b"0.5", b"2147483648", b'"', b"\x00"]
_VALUES = [b"null", b"[]", b"{}", b'"x"', b"-1", b"true", b"1e400", b'""', b'"../../x"', b'"a\\u0000"', b"[" * 2000]


_ODD: list[Any] = [
    None, True, -1, 0, 7, 2**31, 10**30, 0.5, float("inf"), float("nan"), "", "x", "../../x", "a\0\n\u2028b", "\ud800",
    [], [1], {}, {"x": None}, [[[[]]]], "9" * 5000,
]  # fmt: skip


def other_fields(data: Any, random_: random.Random) -> Any:
    """Return plain data of dicts and lists with one to three values replaced, removed or added."""
    for _ in range(random_.choice([1, 1, 2, 3])):
        data = _other(data, random_)
    return data


def other_json(data: bytes, random_: random.Random) -> bytes:
    """Damage the bytes of a JSON text, or write it anew with other fields."""
    if random_.random() < 0.4:
        return mutated(data, random_)
    return json.dumps(other_fields(json.loads(data), random_), indent=1).encode()


def _other(data: Any, random_: random.Random) -> Any:
    """Walk down to somewhere, and put something else there."""
    places = list(data) if isinstance(data, dict) else list(range(len(data))) if isinstance(data, list) else []
    if not places or random_.random() < 0.15:
        return random_.choice(_ODD)
    place, new = random_.choice(places), data.copy()
    way = random_.random()
    if way < 0.1:
        del new[place]
    elif way < 0.2 and isinstance(new, dict):
        new[random_.choice(["x", "", str(place) * 2])] = new.pop(place) if way < 0.15 else random_.choice(_ODD)
    else:
        new[place] = _other(data[place], random_)
    return new


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


@dataclass(frozen=True)
class Reader:
    """A file, what reads it, and how it is damaged.

    Attributes:
        path: of the file.
        read: reads it, and raises what must not happen.
        weight: how many cases it gets for one of another's.
        damage: returns other bytes, drawn at random.
    """

    path: Path
    read: Callable[[], Any]
    weight: int = 1
    damage: Callable[[bytes, random.Random], bytes] = mutated


Judge = Callable[[str, Reader, bytes, bytes], str]
"""Given a reader by name and its file before and after the damage, has it read and says in a few words what came of
it; what it raises is a finding."""


def run(
    chosen: dict[str, Reader], cases: Iterable[int], seed: int, judge: Judge
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Run cases by their numbers, dealt to the readers by weight; return outcomes by reader, and the findings."""
    names = [name for name, one in chosen.items() for _ in range(one.weight)]
    outcomes: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    for case in cases:
        name = names[case % len(names)]
        one = chosen[name]
        sound = one.path.read_bytes()
        damaged = one.damage(sound, random.Random(f"{seed}-{case}"))
        one.path.write_bytes(damaged)
        try:
            outcome = judge(name, one, sound, damaged)
        except Exception:
            outcome = "FINDING"
            findings.append(f"{name}, seed {seed}, case {case}:\n{traceback.format_exc(limit=-4)}")
        finally:
            one.path.write_bytes(sound)
        outcomes[name, outcome] += 1
    return outcomes, findings


def campaign(
    prog: str, about: str | None, cases: int, readers: Callable[[Path], dict[str, Reader]], judge: Judge
) -> None:
    """Run a campaign as the command line says, and print its table; exit status 1 with findings.

    Args:
        prog: name of the command.
        about: what it does.
        cases: damaged files by default.
        readers: writes sound inputs into a folder and returns who reads them.
        judge: of every case.
    """
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("--cases", type=int, default=cases, help="damaged files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default: %(default)s)")
    parser.add_argument("--only", default="", help="readers whose name holds this (default: all)")
    parser.add_argument("--show", type=int, default=5, help="findings to print in full (default: %(default)s)")
    options = parser.parse_args()
    # What the decoders say of damage would bury the table.
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        chosen = {name: one for name, one in readers(Path(scratch)).items() if options.only in name}
        outcomes, findings = run(chosen, range(options.cases), options.seed, judge)
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:18} {outcome:60} {count:6}")
    for finding in findings[: options.show]:
        print(finding)
    print(f"{options.cases} cases in {time.monotonic() - start:.0f} s, {len(findings)} findings")
    raise SystemExit(1 if findings else 0)
