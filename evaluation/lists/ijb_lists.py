"""The lists of IJB-B and IJB-C as arcface_torch's evaluation takes them, in the set's folder `meta`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shards.command import UserError, first_line

SETS = {"ijbb": "IJB-B", "ijbc": "IJB-C"}


@dataclass(frozen=True)
class Subjects:
    """Templates of a list, rising, each once, and whom they show: (T,) each."""

    templates: NDArray[np.int64]
    subjects: NDArray[np.int64]


@dataclass(frozen=True)
class SearchLists:
    """Who is searched for among whom: both galleries, which share nobody, and the probes."""

    galleries: tuple[Subjects, Subjects]
    probes: Subjects


@dataclass(frozen=True)
class IjbLists:
    """Faces, templates and pairs of templates.

    Attributes:
        name: of the set.
        folder: of the pictures.
        pictures: (F,) file names below `loose_crop`.
        templates: (F,) template of each face.
        media: (F,) medium of each face, a still or a video.
        points: (F, 5, 2) landmarks x, y in pixels.
        scores: (F,) of the detector, 0..1.
        left: (P,) first template of each pair.
        right: (P,) second template.
        same: (P,) whether they show one person.
    """

    name: str
    folder: Path
    pictures: list[str]
    templates: NDArray[np.int64]
    media: NDArray[np.int64]
    points: NDArray[np.float64]
    scores: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]


def read_ijb_lists(root: Path) -> IjbLists:
    """Read the lists of the set in a folder.

    Raises:
        UserError: the folder holds no set, or a list is missing, damaged or names what others do not.
    """
    if not (root / "loose_crop").is_dir():
        raise UserError(f"{root} holds no folder loose_crop; name the folder of {' or '.join(SETS.values())}")
    meta = root / "meta"
    short = next((short for short in SETS if (meta / f"{short}_face_tid_mid.txt").is_file()), None)
    if short is None:
        raise UserError(f"{root} holds no meta/ijbb_face_tid_mid.txt or meta/ijbc_face_tid_mid.txt; name IJB's folder")
    faces = _table(meta / f"{short}_face_tid_mid.txt", ("name", "template", "medium"))
    found = _table(meta / f"{short}_name_5pts_score.txt", ("name", *(f"p{n}" for n in range(10)), "score"))
    pairs = _table(meta / f"{short}_template_pair_label.txt", ("left", "right", "same"))
    joined = faces.merge(found.drop_duplicates("name"), how="left", on="name", validate="many_to_one")
    if joined["score"].isna().any():
        name = joined["name"][joined["score"].isna()].iloc[0]
        raise UserError(f"{meta} gives {name} a template and no landmarks; expected lists of one set")
    templates = joined["template"].to_numpy(np.int64)
    for side in ("left", "right"):
        if len(strange := np.setdiff1d(pairs[side], templates)):
            raise UserError(f"{meta} pairs template {strange[0]}, which has no face; expected lists of one set")
    return IjbLists(
        SETS[short],
        root / "loose_crop",
        joined["name"].tolist(),
        templates,
        joined["medium"].to_numpy(np.int64),
        joined[[f"p{n}" for n in range(10)]].to_numpy(np.float64).reshape(-1, 5, 2),
        joined["score"].to_numpy(np.float64),
        pairs["left"].to_numpy(np.int64),
        pairs["right"].to_numpy(np.int64),
        pairs["same"].to_numpy(np.int64) == 1,
    )


def read_search_lists(root: Path, lists: IjbLists) -> SearchLists | None:
    """Read the lists of 1:N of the set in a folder; None where there are none.

    Raises:
        UserError: a list is missing or damaged, or names a template that has no face, or two people's.
    """
    meta = root / "meta"
    short = next(short for short, name in SETS.items() if name == lists.name)
    # IJB-B's lists name their galleries S1 and S2.
    paths = [_first_of(meta, [f"{short}_1N_gallery_{kind}{n}.csv" for kind in "GS"]) for n in (1, 2)]
    paths.append(_first_of(meta, [f"{short}_1N_probe_mixed.csv"]))
    if not any(path.is_file() for path in paths):
        return None
    known = np.unique(lists.templates)
    one, two, probes = (_subjects(path, known) for path in paths)
    if len(both := np.intersect1d(one.subjects, two.subjects)):
        raise UserError(f"{paths[0]} and {paths[1]} both hold subject {both[0]}; expected galleries that share nobody")
    return SearchLists((one, two), probes)


def _first_of(folder: Path, names: list[str]) -> Path:
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])


def _subjects(path: Path, known: NDArray[np.int64]) -> Subjects:
    """Read a list of a header and TEMPLATE_ID,SUBJECT_ID,... a line."""
    if not path.is_file():
        raise UserError(f"no {path}; expected a header and TEMPLATE_ID,SUBJECT_ID,... a line")
    try:
        table = pd.read_csv(
            path, usecols=[0, 1], header=0, names=["template", "subject"], dtype="int64", na_filter=False
        )
    except Exception as error:  # pandas raises anything between ParserError and OverflowError
        told = first_line(error)
        raise UserError(f"{path} is damaged ({told}); expected TEMPLATE_ID,SUBJECT_ID,... a line") from error
    table = table.drop_duplicates()
    if not len(table):
        raise UserError(f"{path} is empty; expected TEMPLATE_ID,SUBJECT_ID,... a line")
    if table["template"].duplicated().any():
        twice = table["template"][table["template"].duplicated()].iloc[0]
        raise UserError(f"{path} gives template {twice} to two subjects; expected one")
    if len(strange := np.setdiff1d(table["template"], known)):
        raise UserError(f"{path} names template {strange[0]}, which has no face; expected lists of one set")
    table = table.sort_values("template")
    return Subjects(table["template"].to_numpy(np.int64), table["subject"].to_numpy(np.int64))


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a list of one name, if it has one, and numbers; no number is NaN."""
    if not path.is_file():
        raise UserError(f"no {path}; expected {' '.join(columns)} a line")
    numbers = [column for column in columns if column != "name"]
    whole = ("template", "medium", "left", "right", "same")
    try:
        table = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            names=list(columns),
            dtype={
                column: "str" if column == "name" else "int64" if column in whole else "float64" for column in columns
            },
            na_filter=False,
            index_col=False,
        )
    except Exception as error:  # pandas raises anything between ParserError and OverflowError
        raise UserError(f"{path} is damaged ({first_line(error)}); expected {' '.join(columns)} a line") from error
    if not len(table) or not np.isfinite(table[numbers].to_numpy(np.float64)).all():
        raise UserError(f"{path} is empty or holds what is no number; expected {' '.join(columns)} a line")
    return table
