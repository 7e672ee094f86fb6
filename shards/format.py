"""The whole on-disk layout of a shard folder and its version.

    manifest.json        how the folder was made and what it holds; written last
    shard-000000.tar     USTAR tar by the webdataset conventions, three or four members a photo, in this order:
                             KEY.jpg    the aligned face, encoded (.png or .webp by the manifest's codec)
                             KEY.views  where the manifest names stored views: their bytes, s x s x 3 RGB each,
                                        reduced by Pillow from the face as it is decoded
                             KEY.label  int32, little endian, 4 bytes
                             KEY.json   source path, identity, data set, native size, and the five points of the
                                        face where they are known: x, y in units of its side
    shard-000000.idx     the same members for DALI's webdataset reader (its text index, v1.2)
    photos.npy           one record per photo (`PHOTO_DTYPE`), grouped by label
    points.npy           where the manifest counts pointed photos: the same five points (`POINTS_DTYPE`), NaN where
                         they are not known, row by row as photos.npy
    identities.npy       int64, the row of each label's first photo, and one past the last
    identities.txt       the name of each label, one a line
    rejects.csv          every input that is not in the tars: path, identity, reason

Nothing in a folder depends on when, where or by how many processes it was written. Version 1 had no points.
"""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError
from shards.storage.places import Folder

FORMAT_VERSION = 2
READ_VERSIONS = (1, FORMAT_VERSION)
MANIFEST = "manifest.json"
PHOTOS = "photos.npy"
POINTS = "points.npy"
IDENTITIES = "identities.npy"
NAMES = "identities.txt"
REJECTS = "rejects.csv"
TAR_BLOCK = 512

PHOTO_DTYPE = np.dtype(
    [
        ("offset", "<i8"),  # of the encoded face in its tar, in bytes
        ("size", "<i4"),  # of the encoded face, in bytes
        ("tar", "<i4"),  # number of the tar
        ("crc32", "<u4"),  # of the encoded face
        ("views_crc32", "<u4"),  # of the stored views, 0 where there are none
        ("native", "<u2"),  # size in pixels at which the face stood in its photo
    ]
)

POINTS_DTYPE = np.dtype([("points", "<f4", (5, 2))])
"""x, y of left eye, right eye, nose tip, left and right mouth corner of the stored face, in units of its side."""

COLOURS = ("RGB", "BGR")
"""Orders of the colours in which networks take pictures."""

WHOLE = "whole"
"""Template of a picture that is resized as it is, without landmarks."""


@dataclass(frozen=True)
class Preprocessing:
    """What a picture goes through before a network sees it; part of every manifest and checkpoint.

    Attributes:
        template: "paper" or "centred" for an alignment by landmarks, "whole" for a picture resized whole.
        points: the template's five points at canvas height 112; empty for "whole".
        size: side of the square face in pixels.
        warp: how the pixels are interpolated.
        colour: order of the colours in which the network takes them, "RGB" or "BGR"; pictures are kept as RGB.
        mean, deviation: a level x, 0..255, goes into the network as (x - mean) / deviation.
    """

    template: str
    points: tuple[tuple[float, float], ...]
    size: int
    warp: str
    colour: str = "RGB"
    mean: float = 127.5
    deviation: float = 127.5

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise ValueError(f"colour order {self.colour!r}; expected one of {', '.join(COLOURS)}")
        if not (math.isfinite(self.mean) and 0 < self.deviation < math.inf):
            raise ValueError(f"mean {self.mean} and deviation {self.deviation}; expected numbers, the second above 0")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Preprocessing":
        """Rebuild from `to_dict`, also after a round trip through JSON."""
        points = tuple((float(x), float(y)) for x, y in data["points"])
        # Written before networks of other projects were read: RGB in [-1, 1].
        values = {"colour": "RGB", "mean": 127.5, "deviation": 127.5, **data}
        return Preprocessing(
            str(data["template"]),
            points,
            int(data["size"]),
            str(data["warp"]),
            str(values["colour"]),
            float(values["mean"]),
            float(values["deviation"]),
        )

    @property
    def input_told(self) -> str:
        """How the levels of a picture go into the network, for people: RGB, (x - 127.5) / 127.5."""
        return f"{self.colour}, (x - {self.mean:g}) / {self.deviation:g}"

    def with_input_of(self, other: "Preprocessing") -> "Preprocessing":
        """Return the description of the same faces, given to a network as another description says."""
        return replace(self, colour=other.colour, mean=other.mean, deviation=other.deviation)

    def differences(self, other: "Preprocessing") -> list[str]:
        """Name every field in which two descriptions cut out faces otherwise, with both values.

        Colours and scale do not count: they are the network's, and the same faces can be given to any.
        """
        mine, theirs = self.to_dict(), other.with_input_of(self).to_dict()
        return [f"{name} {mine[name]} against {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True)
class TarEntry:
    """One tar of a folder: its name, its size in bytes, its SHA-256 and the photos in it."""

    name: str
    bytes: int
    sha256: str
    photos: int


@dataclass(frozen=True)
class Manifest:
    """How a shard folder was made and what it holds.

    Attributes:
        preprocessing: what the photos went through.
        codec: "jpg", "png" or "webp" (lossless); also the extension in the tars.
        quality: of JPEG, 1..100; 0 where the codec is lossless.
        resampling: how low-resolution views are made of these photos.
        stored_views: sides in pixels of the views stored beside each photo.
        seed: of the order of identities over the tars.
        min_photos: identities with fewer were dropped.
        tar_mb: bound of a tar in MiB, as planned.
        min_tars: fewest tars asked for.
        sources: the inputs by their names, with what chose among their photos.
        input_records: photos named by the sources or found on disk.
        identities: labels in the tars.
        photos: photos in the tars.
        rejects: photos not in the tars, by reason; with `photos` they add up to `input_records`.
        dropped_identities: names of identities left with too few photos.
        tars: in order.
        versions: of the libraries that shaped the bytes.
        pointed: photos whose five points are known; all of them, or those of some sources, or none.
        version: of this format.
    """

    preprocessing: Preprocessing
    codec: str
    quality: int
    resampling: str
    stored_views: tuple[int, ...]
    seed: int
    min_photos: int
    tar_mb: int
    min_tars: int
    sources: tuple[dict[str, Any], ...]
    input_records: int
    identities: int
    photos: int
    rejects: dict[str, int]
    dropped_identities: tuple[str, ...]
    tars: tuple[TarEntry, ...]
    versions: dict[str, str] = field(default_factory=dict)
    pointed: int = 0
    version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> "Manifest":
        """Rebuild from `to_json`.

        Raises:
            ValueError, KeyError, TypeError: the text is not a manifest.
        """
        data = json.loads(text)
        data["preprocessing"] = Preprocessing.from_dict(data["preprocessing"])
        data["tars"] = tuple(TarEntry(**tar) for tar in data["tars"])
        data["stored_views"] = tuple(int(side) for side in data["stored_views"])
        data["sources"] = tuple(data["sources"])
        data["dropped_identities"] = tuple(data["dropped_identities"])
        manifest = Manifest(**data)
        _require_types(manifest)
        if [tar.name for tar in manifest.tars] != [tar_name(number) for number in range(len(manifest.tars))]:
            raise ValueError(f"its {len(manifest.tars)} tars are not named {tar_name(0)} and so on")
        return manifest


def _require_types(described: "Manifest | Preprocessing | TarEntry") -> None:
    """Raise TypeError where a field is not of its kind, or a number is below zero."""
    for name, hint in get_type_hints(type(described)).items():
        value = getattr(described, name)
        if not isinstance(value, get_origin(hint) or hint) or (isinstance(value, int) and value < 0):
            raise TypeError(f"its {name} is {str(value)[:40]!r}")
        for part in value if isinstance(value, tuple) else ():
            if isinstance(part, TarEntry):
                _require_types(part)
            elif name == "sources" and not (isinstance(part, dict) and isinstance(part.get("dataset"), str)):
                raise TypeError("one of its sources has no dataset")
            elif name == "dropped_identities" and not isinstance(part, str):
                raise TypeError(f"a dropped identity is {str(part)[:40]!r}")
        counts = value.values() if name == "rejects" else ()
        if any(type(count) is not int or count < 0 for count in counts):
            raise TypeError("the rejects are no counts")


_Bytes = TypeVar("_Bytes", int, NDArray[np.int64])


def next_member(offset: _Bytes, size: _Bytes) -> _Bytes:
    """Return where the bytes of the member after one begin: its header follows the padding to whole blocks."""
    return offset + -(-size // TAR_BLOCK) * TAR_BLOCK + TAR_BLOCK


def views_size(sides: tuple[int, ...]) -> int:
    """Return the number of bytes of stored views of these sides."""
    return sum(3 * side * side for side in sides)


def tar_name(number: int) -> str:
    """Return the file name of a tar."""
    return f"shard-{number:06d}.tar"


def index_name(tar: str) -> str:
    """Return the file name of DALI's index of the tar of a name."""
    return tar.removesuffix(".tar") + ".idx"


def label_bytes(label: int) -> bytes:
    """Return a label as it stands in a tar: int32, little endian."""
    return label.to_bytes(4, "little", signed=True)


def label_of(data: bytes) -> int:
    """Return the label that stands in a tar as these bytes."""
    return int.from_bytes(data, "little", signed=True)


def read_manifest(folder: Folder) -> Manifest:
    """Read a shard folder's manifest.

    Raises:
        UserError: the folder or its manifest is missing, damaged, or of another version.
    """
    path = folder / MANIFEST
    if isinstance(folder, Path) and not folder.is_dir():
        raise UserError(f"no folder {folder}; write one with `python -m pipeline.shard --out {folder}`")
    try:
        text = path.read_text(encoding="utf-8")
        version = json.loads(text)["version"]
        if version not in READ_VERSIONS:
            read = " and ".join(map(str, READ_VERSIONS))
            raise UserError(f"{path} has format version {version}, this program reads {read}; write the folder again")
        return Manifest.from_json(text)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(
            f"{folder} holds no {MANIFEST}; it is no finished shard folder: name one, or run the same "
            "`python -m pipeline.shard` command again to finish it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} is no manifest ({type(error).__name__}: {error}); write it again") from error
