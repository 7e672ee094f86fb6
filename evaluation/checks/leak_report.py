"""What a search for leaks writes: a list, which an evaluation can leave out, and a page with both pictures."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.checks.evaluated_pictures import EvaluatedPicture
from evaluation.checks.leaks import KINDS, Found, Kind, Leak
from evaluation.checks.training_faces import place_of, read_faces
from evaluation.enrolled.measuring import jpeg
from evaluation.enrolled.pages import as_csv, decisions_environment, write_private
from evaluation.models.pictures import PictureError
from pipeline.sampling.shard_folders import ShardFolders
from shards.command import UserError

COLUMNS = ("protocol", "picture", "kind", "value", "mirrored", "shards", "tar", "key", "identity")
MEANINGS: dict[Kind, str] = {
    "same bytes": "the file of the test picture is the training face, byte for byte",
    "same pixels": "prepared as the shards were made, the test picture is the training face, to within what JPEG "
    "changes; the value is the mean difference of their levels, of 255",
    "much alike": "the model's embeddings are nearly the same; the value is their cosine",
    "same name": "the person has the name of a training identity; numbers as names may agree by chance",
}
_TEMPLATES = Path(__file__).parent / "templates"
_MOST_ON_PAGE = 100


def write_leaks(
    out: Path, found: Found, tests: Sequence[EvaluatedPicture], folders: ShardFolders, notes: Sequence[str]
) -> tuple[Path, Path]:
    """Write leaks.csv and leaks.html into a folder, readable by the owner alone; return their paths.

    Args:
        out: the folder.
        found: the leaks.
        tests: the test pictures.
        folders: the shards.
        notes: sentences for whoever reads the page.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    table, page = out / "leaks.csv", out / "leaks.html"
    write_private(table, as_csv([COLUMNS, *(_row(leak, tests, folders) for leak in found.leaks)]))
    sections = []
    for kind in KINDS:
        of_kind = [leak for leak in found.leaks if leak.kind == kind]
        if of_kind:
            shown = [_shown(leak, tests[leak.test], folders) for leak in of_kind[:_MOST_ON_PAGE]]
            sections.append({"kind": kind, "meaning": MEANINGS[kind], "count": len(of_kind), "shown": shown})
    faults = {tests[number].picture.name: reason for number, reason in found.unusable.items()}
    text = (
        decisions_environment(_TEMPLATES)
        .get_template("leaks.html")
        .render(
            tests=len(tests),
            photos=folders.photos,
            counts=counts(found.leaks, tests),
            totals=Counter(test.protocol for test in tests),
            kinds=KINDS,
            sections=sections,
            notes=notes,
            unread=len(found.unread),
            faults=faults,
        )
    )
    write_private(page, text)
    return table, page


def counts(leaks: Sequence[Leak], tests: Sequence[EvaluatedPicture]) -> dict[str, dict[str, int]]:
    """Count the leaks of each kind by protocol, those without any included."""
    found: dict[str, dict[str, int]] = {test.protocol: dict.fromkeys(KINDS, 0) for test in tests}
    for leak in leaks:
        found[tests[leak.test].protocol][leak.kind] += 1
    return found


def read_leaks(path: Path, kinds: Sequence[str] = KINDS) -> dict[str, set[str]]:
    """Read which pictures of each protocol a list names.

    Args:
        path: leaks.csv, or a part of it.
        kinds: of leaks that count.

    Raises:
        UserError: the file is no such list.
    """
    found: dict[str, set[str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"protocol", "picture", "kind"} <= set(rows.fieldnames or ()):
                raise UserError(
                    f"{path} has no columns protocol, picture and kind; name a leaks.csv of evaluation.leaks"
                )
            for row in rows:
                if row["kind"] not in KINDS:
                    raise UserError(f"{path} names the kind {row['kind']!r:.40}; expected one of {', '.join(KINDS)}")
                if row["kind"] in kinds:
                    found.setdefault(row["protocol"], set()).add(row["picture"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); name a leaks.csv of evaluation.leaks") from error
    return found


def _row(leak: Leak, tests: Sequence[EvaluatedPicture], folders: ShardFolders) -> tuple[object, ...]:
    test, place = tests[leak.test], place_of(folders, leak.photo)
    value = "" if leak.value is None else f"{leak.value:.4f}"
    mirrored = "yes" if leak.mirrored else ""
    where = (place.folder, place.tar, place.key, place.identity)
    return (test.protocol, test.picture.name, leak.kind, value, mirrored, *where)


def _shown(leak: Leak, test: EvaluatedPicture, folders: ShardFolders) -> Mapping[str, Any]:
    try:
        seen = jpeg(test.picture.load())
    except PictureError:
        seen = b""
    faces, _ = read_faces(folders, np.array([leak.photo]))
    place = place_of(folders, leak.photo)
    said = {
        "same pixels": f"{leak.value or 0:.2f} of 255 levels apart{', mirrored' if leak.mirrored else ''}",
        "much alike": f"cosine {leak.value or 0:.4f}",
    }
    return {
        "protocol": test.protocol,
        "name": test.picture.name,
        "said": said.get(leak.kind, leak.kind),
        "test": seen,
        "training": jpeg(faces[0].pixels) if faces else b"",
        "place": place,
    }
