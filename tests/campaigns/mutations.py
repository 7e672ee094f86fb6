"""Ways to damage bytes, as disks, transfers and editors do, and the campaign that lets readers have them."""

import argparse
import os
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NUMBERS = [b"0", b"-1", b"1e999", b"nan", b"", b"99999999999999999999", b"0.5", b"2147483648", b'"', b"\x00"]
_VALUES = [b"null", b"[]", b"{}", b'"x"', b"-1", b"true", b"1e400", b'""', b'"../../x"', b'"a\\u0000"', b"[" * 2000]


@dataclass(frozen=True)
class Reader:
    """A file and what reads it.

    Attributes:
        path: of the file.
        read: reads it, and raises what must not happen.
        weight: how many cases it gets for one of another's.
    """

    path: Path
    read: Callable[[], Any]
    weight: int = 1


Judge = Callable[[str, Reader, bytes, bytes], str]
"""Given a reader by name and its file before and after the damage, has it read and says in a few words what came of
it; what it raises is a finding."""


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


def run(chosen: dict[str, Reader], cases: int, seed: int, judge: Judge) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Run so many cases, dealt to the readers by weight; return outcomes by reader, and the findings."""
    names = [name for name, one in chosen.items() for _ in range(one.weight)]
    outcomes: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    for case in range(cases):
        name = names[case % len(names)]
        one = chosen[name]
        sound = one.path.read_bytes()
        damaged = mutated(sound, random.Random(f"{seed}-{case}"))
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
        outcomes, findings = run(chosen, options.cases, options.seed, judge)
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:18} {outcome:60} {count:6}")
    for finding in findings[: options.show]:
        print(finding)
    print(f"{options.cases} cases in {time.monotonic() - start:.0f} s, {len(findings)} findings")
    raise SystemExit(1 if findings else 0)
