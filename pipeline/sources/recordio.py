"""MXNet RecordIO face sets (`train.rec`, `train.idx`, `property`), read without mxnet.

The layout, little endian: a record is the magic number, a word whose low 29 bits are the length of its body and
whose top 3 bits tell the parts of a split record (0 whole, 1 first, 2 middle, 3 last), and the body, padded to 4
bytes. A body that holds the magic number at a multiple of 4 bytes is split there and the number left out. The
body of a photo is a header (uint32 flag, float32 label, uint64 id, uint64 id2; with flag > 0 that many float32
labels follow) and the encoded picture.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.datasets import Source
from shards.command import UserError

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", _MAGIC)
_WORDS = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
# Enough of a record for its labels, where the picture is not wanted.
_HEADER_BYTES = 256
_ROWS = 50_000
# Ranges are written as float32, which beyond this number no longer tells neighbours apart.
_EXACT = 1 << 24
# No face is larger; a length beyond it is damage.
_LONGEST = 1 << 27


class DamagedRecord(ValueError):  # noqa: N818 - it names a state of the data
    """Bytes that are no record; the message says why."""


@dataclass(frozen=True)
class Record:
    """A record: its labels, and the encoded picture (empty in a record that only holds labels)."""

    labels: tuple[float, ...]
    picture: bytes


def read_record(file: BinaryIO, position: int) -> Record:
    """Read the record that begins at a position in bytes, with all its parts.

    Raises:
        DamagedRecord: the bytes there are no record, or the file ends within it.
    """
    return _parse(b"".join(_parts(file, position)))


def _parts(file: BinaryIO, position: int, most: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a record's body; with `most`, at most so many of its first part."""
    file.seek(position)
    expected = (_WHOLE, _FIRST)
    while True:
        magic, word = _WORDS.unpack(_exactly(file, _WORDS.size))
        part, length = word >> 29, word & ((1 << 29) - 1)
        if magic != _MAGIC:
            raise DamagedRecord(f"magic {magic:08x} where {_MAGIC:08x} was expected")
        if part not in expected or length > _LONGEST:
            raise DamagedRecord(f"part {part} of {length} bytes out of order")
        if part in (_MIDDLE, _LAST):
            yield _MAGIC_BYTES
        yield _exactly(file, length if most is None else min(length, most))
        if part in (_WHOLE, _LAST) or most is not None:
            return
        file.seek(-length % 4, os.SEEK_CUR)
        expected = (_MIDDLE, _LAST)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise DamagedRecord("the file ends within the record")
    return data


def _parse(body: bytes) -> Record:
    if len(body) < _HEADER.size:
        raise DamagedRecord(f"a body of {len(body)} bytes; its header alone has {_HEADER.size}")
    flag, label, _, _ = _HEADER.unpack_from(body)
    if not flag:
        return Record((label,), body[_HEADER.size :])
    end = _HEADER.size + 4 * flag
    if end > len(body):
        raise DamagedRecord(f"{flag} labels in a body of {len(body)} bytes")
    return Record(struct.unpack_from(f"<{flag}f", body, _HEADER.size), body[end:])


def recordio(root: Path) -> Source:
    """Read a RecordIO face set: a folder with `train.rec`, `train.idx` and, where it is there, `property`.

    Its photos are aligned already. Identities are named by their label, photos `train.rec/KEY`.

    Raises:
        UserError: a file is missing or is none of the format.
    """
    for name in ("train.rec", "train.idx"):
        if not (root / name).is_file():
            raise UserError(f"no {root / name}; expected a folder with train.rec, train.idx and property")
    layout = _Layout(root / "train.rec", *_read_index(root / "train.idx"))
    choice = {"aligned": True, **_read_property(root / "property")}
    return Source(
        "recordio", root, layout.listed, framing="aligned", expected="train.rec with photos in it", choice=choice
    )


@dataclass(frozen=True)
class _Layout:
    """A record file and its index: (N,) int64 keys, ascending, and positions; and keys that it names again."""

    path: Path
    keys: NDArray[np.int64]
    positions: NDArray[np.int64]
    repeated: NDArray[np.int64]

    def listed(self) -> Iterator[pd.DataFrame]:
        """Yield identity, path and position of every photo."""
        with self.path.open("rb") as file:
            ranges = self._ranges(file)
            photos = self.keys if ranges is None else self.keys[(self.keys > 0) & (self.keys < ranges[0])]
            covered = np.zeros(len(self.keys), dtype=np.bool_)
            if ranges is not None and ranges[0] <= _EXACT:
                for key in range(*ranges):
                    yield from self._of_identity(file, key, covered)
            # Photos of no identity's range name theirs themselves.
            alone = photos[~covered[np.searchsorted(self.keys, photos)]]
            yield from self._by_own_label(file, alone)
            yield from self._by_own_label(file, self.repeated)

    def _ranges(self, file: BinaryIO) -> tuple[int, int] | None:
        """Return the keys of the identity records, or None where every record is a photo."""
        if not len(self.keys) or self.keys[0] != 0:
            return None
        record = self._try(file, 0)
        if record is None or record.picture or len(record.labels) < 2:
            return None
        first, end = _whole_numbers(record.labels[:2])
        last = int(self.keys[-1])
        if not 0 < first < end + _rounding(end) <= last + 1 + 2 * _rounding(end):
            raise UserError(
                f"record 0 of {self.path} names identity records {first} to {end}, its index ends at key "
                f"{last}; the file is damaged or is another set's"
            )
        # Where float32 rounded the first key, the records around it tell photos from identities.
        around = range(first - _rounding(first), first + _rounding(first))
        first = next((key for key in around if not self._is_photo(file, key)), around.stop)
        return first, min(end, last + 1)

    def _is_photo(self, file: BinaryIO, key: int) -> bool:
        record = self._try(file, key)
        return record is not None and bool(record.picture)

    def _of_identity(self, file: BinaryIO, key: int, covered: NDArray[np.bool_]) -> Iterator[pd.DataFrame]:
        """Yield the photos that an identity record names."""
        record = self._try(file, key)
        if record is None or len(record.labels) < 2:
            return
        begin, end = _whole_numbers(record.labels[:2])
        rows = slice(*np.searchsorted(self.keys, (max(begin, 1), end)))
        mine = np.flatnonzero(~covered[rows]) + rows.start
        if not mine.size:
            return
        covered[mine] = True
        records = (self._try(file, int(self.keys[row]), labels_only=True) for row in mine)
        named = (_name(record.labels[0]) for record in records if record is not None)
        identity = next(filter(None, named), f"record-{key}")
        yield self._table([identity] * mine.size, mine)

    def _by_own_label(self, file: BinaryIO, keys: NDArray[np.int64]) -> Iterator[pd.DataFrame]:
        """Yield photos by the label in their own records."""
        for start in range(0, len(keys), _ROWS):
            part = keys[start : start + _ROWS]
            records = [self._try(file, int(key), labels_only=True) for key in part]
            names = ["" if record is None else _name(record.labels[0]) for record in records]
            faults = ["" if name else "damaged record" for name in names]
            yield self._table(names, np.searchsorted(self.keys, part)).assign(fault=faults)

    def _table(self, identities: list[str], rows: NDArray[np.int64]) -> pd.DataFrame:
        paths = [f"{self.path.name}/{key}" for key in self.keys[rows]]
        return pd.DataFrame({"identity": identities, "path": paths, "position": self.positions[rows]})

    def _try(self, file: BinaryIO, key: int, *, labels_only: bool = False) -> Record | None:
        """Read the record of a key; None where there is none or it is damaged."""
        row = int(np.searchsorted(self.keys, key))
        if row >= len(self.keys) or self.keys[row] != key:
            return None
        try:
            return _parse(b"".join(_parts(file, int(self.positions[row]), _HEADER_BYTES if labels_only else None)))
        except (DamagedRecord, OSError):
            return None


def _name(label: float) -> str:
    """Return the name of a label, with leading zeros so that names sort as numbers do; "" for no label."""
    return f"{int(label):08d}" if np.isfinite(label) and label >= 0 else ""


def _rounding(key: int) -> int:
    """Return by how much a key may have been rounded to float32."""
    return 0 if key <= _EXACT else int(np.spacing(np.float32(key)))


def _whole_numbers(labels: tuple[float, ...]) -> tuple[int, int]:
    first, second = (int(label) if np.isfinite(label) else -1 for label in labels)
    return first, second


def _read_index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Read `key<TAB>position` a line: keys, ascending, their positions, and keys that came again; all int64."""
    try:
        # A number too large becomes one below zero, which is refused below.
        with np.errstate(invalid="ignore"):
            table = pd.read_csv(path, sep="\t", header=None, names=["key", "position"], dtype="int64", usecols=[0, 1])
    except (ValueError, pd.errors.ParserError, OverflowError) as error:
        raise UserError(f"{path} is no index ({error}); expected key<TAB>byte position a line") from error
    if table.empty or (table < 0).to_numpy().any():
        raise UserError(f"{path} is no index; expected at least one line key<TAB>byte position, none below zero")
    again = table["key"].duplicated()
    first = table[~again].sort_values("key")
    return first["key"].to_numpy(), first["position"].to_numpy(), table["key"][again].to_numpy()


def _read_property(path: Path) -> dict[str, int]:
    """Read `identities,height,width`; what it says goes into the manifest, nothing depends on it.

    The insightface package's own builder adds a second line, the number of photos, which is not needed.
    """
    if not path.is_file():
        return {}
    try:
        first = path.read_text(encoding="ascii").strip().partition("\n")[0]
        identities, height, width = (int(part) for part in first.split(","))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); expected identities,height,width") from error
    return {"listed_identities": identities, "height": height, "width": width}
