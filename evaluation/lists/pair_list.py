"""Pair lists of one's own: two names and a truth a line, or LFW's form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.lists.text_lists import cleaned_name, read_lfw_pairs
from shards.command import UserError

_TRUTHS = {
    **dict.fromkeys(("1", "true", "yes", "same", "mated", "genuine", "match"), True),
    **dict.fromkeys(("0", "-1", "false", "no", "different", "non-mated", "impostor", "mismatch"), False),
}
_FORM = "two names and a truth, such as `anna/1.jpg anna/2.jpg 1`, with spaces, tabs, commas or semicolons between"


@dataclass(frozen=True)
class NamedPair:
    """Two pictures by name, whether they show one person, and the fold, where the list has folds."""

    left: str
    right: str
    same: bool
    fold: int | None = None


def read_pair_list(path: Path) -> list[NamedPair]:
    """Read a pair list; a first line of one or two numbers alone makes it one in LFW's form.

    Raises:
        UserError: no file, or a line that is no pair, naming it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}); expected a line for each pair: {_FORM}") from error
    rows = [(number, _fields(line)) for number, line in enumerate(lines, 1) if line.strip()]
    if rows and len(rows[0][1]) in (1, 2) and all(field.isdecimal() for field in rows[0][1]):
        return [NamedPair(pair.left, pair.right, pair.same, pair.fold) for pair in read_lfw_pairs(path)]
    if rows and _is_header(*(fields for _, fields in rows[:2])):
        rows = rows[1:]
    if not rows:
        raise UserError(f"{path} names no pair; expected a line for each: {_FORM}")
    return [_pair(path, number, fields) for number, fields in rows]


def _is_header(first: list[str], second: Sequence[str] = ()) -> bool:
    """Return whether a first row names the columns: by no truth, or by two names without a suffix, unlike the next."""
    named = not any("." in field for field in first[:2]) and any("." in field for field in second[:2])
    return len(first) == 3 and (first[2].lower() not in _TRUTHS or named)


def _fields(line: str) -> list[str]:
    separator = next((one for one in "\t,;" if one in line), None)
    return [field.strip().strip('"') for field in line.strip().split(separator)]


def _pair(path: Path, number: int, fields: list[str]) -> NamedPair:
    if len(fields) != 3 or not fields[0] or not fields[1] or fields[2].lower() not in _TRUTHS:
        raise UserError(f"{path} line {number}: {' '.join(fields)[:80]!r} is no pair; expected {_FORM}")
    left, right = (cleaned_name(field, path) for field in fields[:2])
    return NamedPair(left, right, _TRUTHS[fields[2].lower()])
