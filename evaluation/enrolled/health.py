"""Which photos of a gallery do harm: small, blurred, doubled, of somebody else, or near to everybody."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.search import GallerySearch
from evaluation.enrolled.usual_scores import usual_floor, usual_limit
from evaluation.metrics.identification import l2_normalised

Advice = Literal["keep", "look at", "leave out"]
SamePicture = Callable[[int, int], bool]
"""Tells whether two rows of a gallery show the same picture."""

# Cosine from which two photos may be one, and are looked at.
_MAYBE_COPIES = 0.9
# A photo that is nearest to so many photos of other people, and to such a share of them.
_HUB_PHOTOS, _HUB_SHARE = 10, 0.1


@dataclass(frozen=True)
class PhotoHealth:
    """What is known of a photo of a gallery.

    Attributes:
        advice: what to do with it.
        reasons: why, for whoever decides; empty where it is to be kept.
        size: the smaller of the face's side in its photo and its sharpness, in pixels.
        norm: length of its embedding.
        own: cosine with the mean of its person's other photos (leave one out); NaN where there is no other.
        other: best cosine with a photo of another person; NaN where nobody else is enrolled.
        other_row: of that photo; -1 likewise.
        hub: for how many photos of other people it is the nearest photo of anybody else.
        copies: rows of other photos that show the same picture.
    """

    advice: Advice
    reasons: tuple[str, ...]
    size: float
    norm: float
    own: float
    other: float
    other_row: int
    hub: int
    copies: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Nearness:
    """How near photos are to those of their own person and of others, of some rows of a gallery.

    Attributes:
        own: (N,) cosine with the mean of the person's other photos, NaN where there is none.
        own_best: (N,) best cosine with one of them, -inf likewise.
        other: (N,) best cosine with a photo of another person, -inf where there is nobody else.
        other_row: (N,) row of that photo, -1 likewise.
        other_mean: (N,) cosine with the mean of that person's photos, -inf likewise.
    """

    own: NDArray[np.float64]
    own_best: NDArray[np.float64]
    other: NDArray[np.float64]
    other_row: NDArray[np.int64]
    other_mean: NDArray[np.float64]


def gallery_health(table: FaceTable, same_picture: SamePicture, least_side: float) -> list[PhotoHealth]:
    """Judge every photo of a gallery.

    Copies and small photos are found first; how near a photo is to its person and to others is then judged among the
    others alone, so that ten bad photos do not make a good one look bad.

    Args:
        table: the gallery, sorted by person and photo.
        same_picture: asked of pairs whose embeddings are near.
        least_side: in pixels, below which the model confuses people (`confusing_side`).
    """
    _, people = table.numbered()
    units = l2_normalised(table.vectors)
    everyone = _nearness(table.vectors, units, people)
    sizes = np.minimum(table.column("side"), table.column("sharpness"))
    copies = _copies(table, people, units, everyone.other_row, same_picture)
    found: list[list[tuple[Advice, str]]] = [[] for _ in range(len(table))]
    _judge_sizes(found, table, sizes, least_side)
    for row, same in enumerate(copies):
        found[row] += _judge_copy(row, same, table, people, units, sizes)
    sound = [row for row, said in enumerate(found) if not said]
    _judge_likeness(found, sound, table, people, units)
    hubs = np.bincount(everyone.other_row[everyone.other_row >= 0], minlength=len(table))
    for row, hub in enumerate(hubs):
        others = int((people != people[row]).sum())
        if hub >= _HUB_PHOTOS and hub >= _HUB_SHARE * others:
            found[row].append(("look at", f"nearest to {hub} of {others} photos of other people"))
    norms = table.norms
    return [
        PhotoHealth(
            _worst([advice for advice, _ in said]),
            tuple(reason for _, reason in said),
            float(sizes[row]),
            float(norms[row]),
            float(everyone.own[row]),
            float(everyone.other[row]) if everyone.other_row[row] >= 0 else float("nan"),
            int(everyone.other_row[row]),
            int(hubs[row]),
            tuple(copies[row]),
        )
        for row, said in enumerate(found)
    ]


def names_of_rows(table: FaceTable) -> list[str]:
    """Return how each photo is called: its person and the file's own name."""
    return [f"{person}/{photo.rpartition('/')[2]}" for person, photo in zip(table.people, table.photos, strict=True)]


def _nearness(vectors: NDArray[np.float32], units: NDArray[np.float64], people: NDArray[np.int64]) -> _Nearness:
    count = len(people)
    own, own_best, other_mean = np.full(count, np.nan), np.full(count, -np.inf), np.full(count, -np.inf)
    starts = np.flatnonzero(np.diff(people, prepend=-1))
    sums = np.add.reduceat(units, starts, axis=0) if count else units
    place = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, count)))
    others = l2_normalised(sums[place] - units)
    alone = np.diff(np.append(starts, count))[place] == 1
    own[~alone] = np.einsum("nd,nd->n", others, units)[~alone]
    for start, stop in zip(starts, np.append(starts[1:], count), strict=True):
        scores = units[start:stop] @ units[start:stop].T
        np.fill_diagonal(scores, -np.inf)
        own_best[start:stop] = scores.max(axis=1)
    # The best person is a photo's own: it finds itself.
    found = GallerySearch(vectors, people).find(vectors, 2)
    second = np.where(found.people[:, 0] == people, 1, 0)
    rows = np.arange(count)
    other, other_row = found.scores[rows, second], found.rows[rows, second]
    there = other_row >= 0
    other_mean[there] = np.einsum("nd,nd->n", l2_normalised(sums)[place[other_row[there]]], units[there])
    return _Nearness(own, own_best, other, other_row, other_mean)


def _copies(
    table: FaceTable,
    people: NDArray[np.int64],
    units: NDArray[np.float64],
    other_row: NDArray[np.int64],
    same_picture: SamePicture,
) -> list[list[int]]:
    """Return for each row the rows that show the same picture, of its person and the nearest of another."""
    found: list[list[int]] = [[] for _ in range(len(table))]

    def pair(one: int, two: int) -> None:
        if two not in found[one] and (table.sha256[one] == table.sha256[two] or same_picture(one, two)):
            found[one].append(two)
            found[two].append(one)

    starts = np.flatnonzero(np.diff(people, prepend=-1))
    for start, stop in zip(starts, np.append(starts[1:], len(table)), strict=True):
        near = np.triu(units[start:stop] @ units[start:stop].T >= _MAYBE_COPIES, k=1)
        for one, two in np.argwhere(near):
            pair(int(start + one), int(start + two))
    for row, other in enumerate(other_row):
        if other >= 0 and float(units[row] @ units[other]) >= _MAYBE_COPIES:
            pair(row, int(other))
    return found


def _judge_sizes(
    found: list[list[tuple[Advice, str]]], table: FaceTable, sizes: NDArray[np.float64], least_side: float
) -> None:
    usual = float(np.median(sizes)) if len(sizes) else 0.0
    sides = table.column("side")
    for row, size in enumerate(sizes):
        what = (
            f"its face is {size:.0f} pixels" if sides[row] <= size else f"it is as sharp as a face of {size:.0f} pixels"
        )
        if size < least_side:
            found[row].append(("leave out", f"{what}; below {least_side:.0f} this model takes people for one another"))
        elif size < usual / 2:
            found[row].append(("look at", f"{what}, half the gallery has at least {usual:.0f}"))


def _judge_copy(
    row: int,
    same: list[int],
    table: FaceTable,
    people: NDArray[np.int64],
    units: NDArray[np.float64],
    sizes: NDArray[np.float64],
) -> list[tuple[Advice, str]]:
    """Say of a photo with copies whether it is the one to keep."""
    names = names_of_rows(table)
    said: list[tuple[Advice, str]] = []
    alike = [row, *(other for other in same if people[other] == people[row])]
    best = max(alike, key=lambda one: (sizes[one], -one))
    if best != row:
        said.append(("leave out", f"the same picture as {names[best]}"))
    for other in (other for other in same if people[other] != people[row]):
        mine, theirs = (_without(one, [row, other, *same], people, units) for one in (row, other))
        if np.isnan(mine) or np.isnan(theirs) or mine == theirs:
            said.append(("look at", f"the same picture as {names[other]}, of another person"))
        elif mine < theirs:
            said.append(("leave out", f"the same picture as {names[other]}, and more like that person's other photos"))
    return said


def _without(row: int, leave: list[int], people: NDArray[np.int64], units: NDArray[np.float64]) -> float:
    """Return the best cosine of a row with its person's photos, without some; NaN where there is none."""
    rows = [other for other in np.flatnonzero(people == people[row]) if other not in leave]
    return float((units[rows] @ units[row]).max()) if rows else float("nan")


def _judge_likeness(
    found: list[list[tuple[Advice, str]]],
    sound: list[int],
    table: FaceTable,
    people: NDArray[np.int64],
    units: NDArray[np.float64],
) -> None:
    """Find photos that are less like their person than like another, or than strangers are.

    Those that are surely another's are left out first, so that they do not make their person's photos look strange.
    """
    names = names_of_rows(table)
    while True:
        near = _nearness(table.vectors[sound], units[sound], people[sound])
        strangers = near.other[near.other_row >= 0]
        if not strangers.size:
            return
        limit = usual_limit(strangers)
        foreign = (near.other > near.own_best) & (near.other_mean > near.own)
        surely = foreign & (near.other > limit)
        if not surely.any():
            break
        for place in np.flatnonzero(surely).tolist():
            found[sound[place]].append(("leave out", _nearer_to_another(near, place, sound, names)))
        sound = [row for place, row in enumerate(sound) if not surely[place]]
    owners, alone = people[sound], np.isnan(near.own)
    # A model that knows few people again must not make every photo look strange.
    unlike = near.own_best <= min(limit, usual_floor(near.own_best[~alone]))
    for place in np.flatnonzero(alone & (near.other > limit)).tolist():
        reason = f"the only usable photo of its person, and nearer to another ({near.other[place]:.2f}) than usual"
        found[sound[place]].append(("look at", reason))
    for place in np.flatnonzero(~alone & (foreign | unlike)).tolist():
        reason = f"no more like its person's other photos ({near.own_best[place]:.2f}) than strangers are"
        # Of two unlike photos either may be the wrong one.
        agreeing = int(((owners == owners[place]) & ~unlike).sum())
        advice: Advice = "leave out" if unlike[place] and agreeing >= 2 else "look at"
        found[sound[place]].append((advice, reason if unlike[place] else _nearer_to_another(near, place, sound, names)))


def _nearer_to_another(near: _Nearness, place: int, sound: list[int], names: list[str]) -> str:
    nearest = f"{near.other[place]:.2f} to {names[sound[near.other_row[place]]]}"
    return f"nearer to another person ({nearest}) than to its own ({near.own_best[place]:.2f})"


def _worst(advice: list[Advice]) -> Advice:
    if not advice:
        return "keep"
    return "leave out" if "leave out" in advice else "look at"
