"""The health of a gallery: measured, written as a table, a list of photos to leave out, and a page with pictures."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.enrolled.enrolment import Enrolled
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.health import PhotoHealth, gallery_health, names_of_rows
from evaluation.enrolled.measuring import Measuring, faces_as_seen, jpeg, picture_of
from evaluation.enrolled.pages import as_csv, decisions_environment, write_private
from evaluation.enrolled.usual_scores import confusing_side
from evaluation.models.pictures import PictureError, read_picture
from pipeline.pixels.resample import reduce_and_enlarge, resize

LEAVE_OUT = "leave-out.txt"
SIDES = (8, 10, 12, 16, 20, 24, 32)
"""Sides in pixels at which a model is tried for `confusing_side`."""

# Photos that stand for the gallery there: the sharpest, one a person first.
_SAMPLE = 48
# Sides in pixels between which two pictures are compared, and the correlation from which they are one: of different
# photos of ORL 0.84 at most; of copies compressed to quality 30, resized or brightened 0.95 at least.
_FINE, _COARSE = 48, 16
_SAME = 0.9
_MOST_ON_PAGE = 1000
_COLOURS = {"keep": "good", "look at": "unsure", "leave out": "bad"}


def check_gallery(table: FaceTable, how: Measuring) -> tuple[list[PhotoHealth], int]:
    """Judge every photo of a gallery; return also the side below which this model confuses people, in pixels."""
    least = measured_confusing_side(table, how)
    return gallery_health(table, lambda one, two: _same_picture(table.photos[one], table.photos[two]), least), least


def checked(out: Path, enrolled: Enrolled, how: Measuring) -> tuple[list[PhotoHealth], list[str]]:
    """Check a gallery and write what was found; return that, and a sentence where photos are not to be kept.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    found, least = check_gallery(enrolled.table, how)
    page = write_health(out, enrolled.table, found, least, enrolled.faults, enrolled.notes, how)
    leave, look = (sum(one.advice == advice for one in found) for advice in ("leave out", "look at"))
    if not leave + look:
        return found, []
    return found, [
        f"{leave:,} of the gallery's photos had better be left out (--leave-out {out / LEAVE_OUT}), "
        f"{look:,} be looked at: {page}"
    ]


def measured_confusing_side(table: FaceTable, how: Measuring) -> int:
    """Embed the sharpest photos of a gallery, reduced, and see from which side the model tells people apart.

    Returns:
        one of `SIDES`; 0 where there are not two people, or no photo of that size.
    """
    form = how.embedder.preprocessing
    sizes = np.minimum(table.column("side"), table.column("sharpness"))
    rows = _sharpest(table, sizes)
    sides = [side for side in SIDES if side < form.size and side <= np.median(sizes[rows])]
    embedded = how.embedder.embed([picture_of(table, row, form, side) for side in [*sides, None] for row in rows])
    # (sides * rows, D) -> (sides, rows, D)
    vectors = embedded.vectors.reshape(len(sides) + 1, len(rows), -1)
    there = np.flatnonzero(np.isfinite(vectors).all(axis=(0, 2)))
    people = [table.people[rows[place]] for place in there]
    if not sides or not people:
        return 0
    reduced = {side: vectors[place, there] for place, side in enumerate(sides)}
    return confusing_side(reduced, vectors[-1, there], people)


def write_health(
    out: Path,
    table: FaceTable,
    found: Sequence[PhotoHealth],
    least_side: int,
    faults: Mapping[str, str],
    notes: Sequence[str],
    how: Measuring,
) -> Path:
    """Write gallery.csv, gallery.json, leave-out.txt and gallery.html into a folder; return the page's path.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    records = [_record(table, row, health) for row, health in enumerate(found)]
    if records:
        rows: list[list[object]] = [list(records[0]), *([_plain(v) for v in record.values()] for record in records)]
        write_private(out / "gallery.csv", as_csv(rows))
    counts = dict(Counter(health.advice for health in found))
    told = {"counts": counts, "least_side": least_side, "notes": list(notes), "not_used": dict(faults)}
    whole = {"made": table.made, **told, "photos": records}
    write_private(out / "gallery.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    write_private(out / LEAVE_OUT, _list(table, found))
    page = out / "gallery.html"
    worst = sorted(
        range(len(found)), key=lambda row: (found[row].advice == "keep", found[row].advice == "look at", row)
    )
    shown = worst[:_MOST_ON_PAGE]
    form = how.embedder.preprocessing
    pictures = faces_as_seen(table, form, [one for row in shown for one in (row, max(found[row].other_row, 0))])
    jpegs = [jpeg(face) for face in pictures]
    text = (
        decisions_environment()
        .get_template("gallery.html")
        .render(
            total=len(found),
            people=len(set(table.people)),
            counts=counts,
            least_side=least_side,
            notes=notes,
            faults=faults,
            shown=[
                records[row]
                | {"colour": _COLOURS[found[row].advice], "jpeg": jpegs[2 * place], "other_jpeg": jpegs[2 * place + 1]}
                for place, row in enumerate(shown)
            ],
        )
    )
    write_private(page, text)
    return page


def _sharpest(table: FaceTable, sizes: NDArray[np.float64]) -> list[int]:
    """Return the rows of the largest and sharpest photos, the best of each person first."""
    nth: Counter[str] = Counter()
    ranked = []
    for row in np.argsort(-sizes, kind="stable").tolist():
        ranked.append((nth[table.people[row]], -sizes[row], row))
        nth[table.people[row]] += 1
    return [row for _, _, row in sorted(ranked)[:_SAMPLE]]


def _record(table: FaceTable, row: int, health: PhotoHealth) -> dict[str, Any]:
    side, sharpness, *_ = table.measures[row].tolist()
    names = names_of_rows(table)
    return {
        "person": table.people[row],
        "photo": table.photos[row],
        "advice": health.advice,
        "reasons": list(health.reasons),
        "side": round(side, 1),
        "sharpness": round(sharpness, 1),
        "norm": round(health.norm, 4),
        "own": None if np.isnan(health.own) else round(health.own, 4),
        "other": None if np.isnan(health.other) else round(health.other, 4),
        "other_photo": names[health.other_row] if health.other_row >= 0 else "",
        "hub": health.hub,
        "copies": [names[copy] for copy in health.copies],
    }


def _plain(value: object) -> object:
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value


def _list(table: FaceTable, found: Iterable[PhotoHealth]) -> str:
    """Return the list that identify takes: a comment with the reason, then the path."""
    lines = ["# Photos to leave out: python -m evaluation.identify --leave-out FILE. Delete a line to keep its photo."]
    for photo, health in zip(table.photos, found, strict=True):
        if health.advice == "leave out":
            lines += [f"# {'; '.join(health.reasons)}", photo]
    return "\n".join(lines) + "\n"


def _same_picture(one: str, two: str) -> bool:
    first, second = _thumbnail(one), _thumbnail(two)
    return first is not None and second is not None and float(first @ second) >= _SAME


@lru_cache(maxsize=4096)
def _thumbnail(photo: str) -> NDArray[np.float64] | None:
    """Return what a photo of 48 x 48 grey levels shows beyond one of 16 x 16, of length one; None where it is gone."""
    try:
        grey = read_picture(Path(photo)).mean(axis=2).round().astype(np.uint8)
    except PictureError:
        return None
    fine = resize(grey, _FINE, _FINE)
    detail = (fine.astype(np.float64) - reduce_and_enlarge(fine, _COARSE)).ravel()
    length = float(np.linalg.norm(detail))
    return detail / length if length else None
