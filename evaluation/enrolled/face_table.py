"""Faces with their embeddings and where they come from, in a file that only its owner may read.

A safetensors file: `vectors` (N, D) float32, `landmarks` (N, 5, 2), `box` (N, 4) and `measures` (N, 4) float64, and
`texts`, the bytes of a JSON object of four lists (person, photo, sha256, state); of photos enrolled at K sizes also
`reduced` (N, K, D) float32. Its metadata say how they were made. Nothing in it is run when it is read.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shards.command import UserError, first_line
from shards.json_file import parse_object
from shards.writer import write_atomically

FORMAT = "enrolled faces, version 1"
ENROL_SIZES = "enrol sizes"
"""Name in a table's making of the sizes to which its faces are reduced, in pixels, rising."""
MEASURES = ("side", "sharpness", "detector_score", "number")
"""Columns of `measures`: side of the aligned face in pixels of its photo; sharpness, see `photo_quality`; how sure the
detector is, 0..1; number of the face in its photo, from 0."""


@dataclass(frozen=True, eq=False)
class FaceTable:
    """Faces, one a row.

    Attributes:
        made: how they were found and embedded: the fingerprint; see `fingerprint`.
        people: (N,) name of each face's person; "" where nobody has said.
        photos: (N,) path of its photo.
        sha256: (N,) of the photo's bytes.
        states: (N,) size and time of the photo, to tell whether it has changed.
        landmarks: (N, 5, 2) float64 x, y in pixels of the stored picture; NaN where the picture is the face.
        boxes: (N, 4) float64 left, top, width, height in pixels of the upright photo.
        measures: (N, 4) float64, see `MEASURES`.
        vectors: (N, D) float32, not normalised.
        reduced: (N, K, D) float32, for each of K sizes the mean of the embeddings in full and reduced to it; None where
            faces are enrolled in full alone.
    """

    made: dict[str, Any]
    people: tuple[str, ...]
    photos: tuple[str, ...]
    sha256: tuple[str, ...]
    states: tuple[str, ...]
    landmarks: NDArray[np.float64]
    boxes: NDArray[np.float64]
    measures: NDArray[np.float64]
    vectors: NDArray[np.float32]
    reduced: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.people)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one of the `MEASURES`: (N,)."""
        column: NDArray[np.float64] = self.measures[:, MEASURES.index(name)]
        return column

    @property
    def resolutions(self) -> NDArray[np.float64]:
        """(N,) pixels of detail: the side of each face, and no more than its sharpness says, as of an enlarged one."""
        return np.minimum(self.column("side"), self.column("sharpness"))

    @property
    def enrol_sizes(self) -> tuple[int, ...]:
        """The K sizes to which faces are reduced, in pixels; none where they are enrolled in full alone."""
        return tuple(self.made[ENROL_SIZES]) if self.reduced is not None else ()

    @property
    def norms(self) -> NDArray[np.float64]:
        """(N,) length of each embedding."""
        return np.asarray(np.linalg.norm(self.vectors.astype(np.float64), axis=1))

    def named(self, row: int) -> str:
        """Return how a face is called in tables: its photo, and its number where it is not the first."""
        number = int(self.column("number")[row])
        return self.photos[row] + (f"#{number}" if number else "")

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "FaceTable":
        """Return some of the rows."""
        places = [int(row) for row in rows]
        return FaceTable(
            self.made,
            tuple(self.people[row] for row in places),
            tuple(self.photos[row] for row in places),
            tuple(self.sha256[row] for row in places),
            tuple(self.states[row] for row in places),
            self.landmarks[places],
            self.boxes[places],
            self.measures[places],
            self.vectors[places],
            None if self.reduced is None else self.reduced[places],
        )

    def by_person(self) -> "FaceTable":
        """Return the rows sorted by person and photo, as a search needs them."""
        numbers = self.column("number")
        return self.take(sorted(range(len(self)), key=lambda row: (self.people[row], self.photos[row], numbers[row])))

    def numbered(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of the people, sorted, and each row's number among them."""
        names, numbers = np.unique(np.array(self.people, dtype=object), return_inverse=True)
        return [str(name) for name in names], numbers.astype(np.int64)


def joined(tables: Sequence[FaceTable]) -> FaceTable:
    """Put tables of the same making together, in their order."""
    filled = [table for table in tables if len(table)] or list(tables[:1])
    assert all(table.made == filled[0].made for table in filled)
    reduced = [table.reduced for table in filled if table.reduced is not None]
    return FaceTable(
        filled[0].made,
        tuple(chain.from_iterable(table.people for table in filled)),
        tuple(chain.from_iterable(table.photos for table in filled)),
        tuple(chain.from_iterable(table.sha256 for table in filled)),
        tuple(chain.from_iterable(table.states for table in filled)),
        np.concatenate([table.landmarks for table in filled]),
        np.concatenate([table.boxes for table in filled]),
        np.concatenate([table.measures for table in filled]),
        np.concatenate([table.vectors for table in filled]),
        np.concatenate(reduced) if reduced else None,
    )


def write_faces(path: Path, table: FaceTable) -> None:
    """Write a table, whole or not at all, readable by its owner alone.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    texts = {"person": table.people, "photo": table.photos, "sha256": table.sha256, "state": table.states}
    tensors: dict[str, NDArray] = {
        "vectors": np.ascontiguousarray(table.vectors, dtype=np.float32),
        "landmarks": np.ascontiguousarray(table.landmarks, dtype=np.float64),
        "box": np.ascontiguousarray(table.boxes, dtype=np.float64),
        "measures": np.ascontiguousarray(table.measures, dtype=np.float64),
        "texts": np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8),
    }
    if table.reduced is not None:
        tensors["reduced"] = np.ascontiguousarray(table.reduced, dtype=np.float32)
    metadata = {"format": FORMAT, "made": json.dumps(table.made, sort_keys=True)}
    write_atomically(path, save(tensors, metadata), private=True)


def read_faces(path: Path) -> FaceTable:
    """Read a table.

    Raises:
        UserError: the file is missing, damaged or not of this form.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; expected enrolled faces, written by `python -m evaluation.identify`")
    try:
        data = path.read_bytes()
        header = parse_object(data[8 : 8 + int.from_bytes(data[:8], "little")].decode())
        metadata = header.get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
        tensors = load(data)
        texts = parse_object(tensors["texts"].tobytes().decode())
        people, photos, sha256, states = (
            tuple(map(str, texts[name])) for name in ("person", "photo", "sha256", "state")
        )
        landmarks, boxes, measures = (tensors[name] for name in ("landmarks", "box", "measures"))
        table = FaceTable(
            parse_object(metadata["made"]),
            people,
            photos,
            sha256,
            states,
            landmarks,
            boxes,
            measures,
            tensors["vectors"],
            tensors.get("reduced"),
        )
        _check(table)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as enrolled faces ({first_line(error)}); enrol them again") from error
    return table


def _check(table: FaceTable) -> None:
    """Raise ValueError where the columns do not make a table."""
    count, vectors = len(table), table.vectors
    if any(len(column) != count for column in (table.photos, table.sha256, table.states)) or vectors.ndim != 2:
        raise ValueError("its columns are not equally long")
    doubles = (table.landmarks, table.boxes, table.measures)
    if [array.shape for array in doubles] != [(count, 5, 2), (count, 4), (count, len(MEASURES))] or len(
        vectors
    ) != count:
        raise ValueError("its columns are not equally long")
    if (
        any(array.dtype != np.float64 for array in doubles)
        or vectors.dtype != np.float32
        or not np.isfinite(vectors).all()
    ):
        raise ValueError("its numbers are of another kind, or not finite")
    sizes = table.made.get(ENROL_SIZES, [])
    if sizes != sorted({int(size) for size in sizes}) or bool(sizes) != (table.reduced is not None):
        raise ValueError(f"its {ENROL_SIZES} {sizes} are not those of its embeddings")
    if table.reduced is not None and (
        table.reduced.shape != (count, len(sizes), vectors.shape[1])
        or table.reduced.dtype != np.float32
        or not np.isfinite(table.reduced).all()
    ):
        raise ValueError("its embeddings of reduced faces are of another shape or kind, or not finite")


def require_same(path: Path, found: dict[str, Any], expected: dict[str, Any], advice: str) -> None:
    """Refuse a file of another making.

    Raises:
        UserError: naming the first thing in which both differ, with both values.
    """
    for name in dict.fromkeys([*expected, *found]):
        if found.get(name) != expected.get(name):
            raise UserError(f"{path} was made with {name} {found.get(name)}, this is {expected.get(name)}; {advice}")
