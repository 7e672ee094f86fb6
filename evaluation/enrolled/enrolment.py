"""People enrolled in a file: from folders of photos, added to and removed by name."""

import shutil
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluation.enrolled.face_table import FaceTable, joined, read_faces, require_same, write_faces
from evaluation.enrolled.measuring import Measuring, measure, photo_state
from pipeline.sources.picture_files import PICTURE_SUFFIXES, walk_pictures
from shards.command import UserError
from shards.lock import locked


@dataclass(frozen=True)
class Enrolled:
    """A gallery, and what became of the photos that were to be enrolled.

    Attributes:
        table: the faces, sorted by person and photo.
        faults: reason by path of photos that could not be used.
        notes: sentences on people: without a usable photo, twice, added.
        new: photos that were enrolled now.
    """

    table: FaceTable
    faults: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    new: int = 0


def photos_of_people(folder: Path) -> tuple[list[tuple[str, Path]], dict[str, str]]:
    """Return person and absolute path of each photo FOLDER/PERSON/PHOTO, and photos that lie in nobody's folder.

    Raises:
        UserError: there is no folder, or no photo in any person's folder.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}; expected a folder for each person, with photos in it")
    found = [(person, folder.absolute() / path) for person, path in walk_pictures(folder)]
    photos = [(person, path) for person, path in found if person]
    if not photos:
        raise UserError(
            f"{folder} holds no photo in a person's folder; expected {folder}/PERSON/PHOTO with files ending in "
            f"{', '.join(PICTURE_SUFFIXES)}"
        )
    return photos, {str(path): "not in a person's folder" for person, path in found if not person}


def in_use(file: Path) -> AbstractContextManager[None]:
    """Keep other commands from writing an enrolment at the same time."""
    return locked(file.with_name(f".{file.name}.lock"), file, "name another --out")


def gallery_of(named: Path, out: Path, how: Measuring, *, again: bool) -> tuple[Path, Enrolled]:
    """Open the gallery that a user names: an enrolment file, or a folder of people that is enrolled into one.

    Args:
        named: file or folder.
        out: folder of the enrolment file of a folder.
        how: the model.
        again: enrol the photos anew where the file is of another making.

    Returns:
        the enrolment file and what it holds.

    Raises:
        UserError: see `enrol_folder` and `enrol_again`; the file is of another making.
    """
    if named.is_dir():
        file = out / "gallery.safetensors"
        with in_use(file):
            if again and file.is_file() and read_faces(file).made != how.made:
                file.unlink()
            return file, enrol_folder(named, file, how)
    table = read_faces(named)
    if again and table.made != how.made:
        with in_use(named):
            return named, enrol_again(named, how)
    require_same(named, table.made, how.made, "give the same model and options, or --re-enrol")
    return named, Enrolled(table)


def enrol_folder(folder: Path, file: Path, how: Measuring) -> Enrolled:
    """Enrol the people of a folder into a file; faces that the file has already are kept where their photo is the same.

    Raises:
        UserError: no photo, not one with a face, or the file is of another making.
    """
    photos, faults = photos_of_people(folder)
    kept: list[int] = []
    before = read_faces(file) if file.is_file() else None
    if before is not None:
        require_same(file, before.made, how.made, "give --re-enrol, or name another --out")
        wanted = {(person, str(path)): photo_state(path) for person, path in photos}
        rows = zip(before.people, before.photos, before.states, strict=True)
        kept = [row for row, (person, photo, state) in enumerate(rows) if wanted.get((person, photo)) == state]
    known = {(before.people[row], before.photos[row]) for row in kept} if before is not None else set()
    new = [(person, path) for person, path in photos if (person, str(path)) not in known]
    table, lost = _measured(new, file, how)
    faults.update(lost)
    table = joined([before.take(kept), table] if before is not None else [table]).by_person()
    _require_faces(table, folder, faults)
    write_faces(file, table)
    return Enrolled(table, faults, tuple(_on_people([person for person, _ in photos], table)), len(new))


def add_people(folder: Path, file: Path, how: Measuring) -> Enrolled:
    """Add the people of a folder to an enrolment file; a photo that it has already is not added again.

    Raises:
        UserError: as `enrol_folder`, or there is no such file.
    """
    before = read_faces(file)
    require_same(file, before.made, how.made, "give the same model and options, or --re-enrol")
    photos, faults = photos_of_people(folder)
    known = set(zip(before.people, before.photos, before.states, strict=True))
    new = [(person, path) for person, path in photos if (person, str(path), photo_state(path)) not in known]
    table, lost = _measured(new, file, how)
    faults.update(lost)
    # A photo that has changed since takes the place of the old one.
    changed = {str(path) for _, path in new}
    stays = [row for row, photo in enumerate(before.photos) if photo not in changed]
    together = joined([before.take(stays), table]).by_person()
    _require_faces(together, folder, faults)
    write_faces(file, together)
    there = sorted(set(before.people) & set(table.people))
    notes = [f"{person} was enrolled already: {table.people.count(person)} photos added" for person in there]
    people = [*before.people, *(person for person, _ in photos)]
    return Enrolled(together, faults, (*notes, *_on_people(people, together)), len(new))


def remove_people(names: Sequence[str], file: Path) -> Enrolled:
    """Remove people from an enrolment file; the file is written anew without them.

    Raises:
        UserError: there is no such file, a person is not in it, or nobody would be left.
    """
    before = read_faces(file)
    if absent := [name for name in names if name not in before.people]:
        raise UserError(f"{file} has nobody called {absent[0]}; it has {_some(sorted(set(before.people)))}")
    left = before.take([row for row, person in enumerate(before.people) if person not in names])
    if not len(left):
        raise UserError(f"{file} would hold nobody; delete the file itself")
    write_faces(file, left)
    gone = len(before) - len(left)
    return Enrolled(left, notes=(f"removed: {', '.join(names)} ({gone} photos)",))


def enrol_again(file: Path, how: Measuring) -> Enrolled:
    """Enrol the photos of a file anew, with another model or other options; the photos must still be there.

    Raises:
        UserError: there is no such file, or none of its photos is there.
    """
    before = read_faces(file)
    photos = list(dict.fromkeys(zip(before.people, (Path(photo) for photo in before.photos), strict=True)))
    table, faults = _measured(photos, file, how)
    table = table.by_person()
    _require_faces(table, file, faults)
    write_faces(file, table)
    return Enrolled(table, faults, tuple(_on_people(before.people, table)), len(table))


def left_out(table: FaceTable, listed: Path) -> tuple[FaceTable, list[str]]:
    """Leave out the photos that a file names, one a line: a path, or the end of one such as PERSON/PHOTO.

    Returns:
        the table without them, and the lines that name no photo of it.

    Raises:
        UserError: the file cannot be read, or no photo would be left.
    """
    try:
        lines = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{listed} cannot be read ({error}); expected the paths of photos, one a line") from error
    names = [line for line in dict.fromkeys(lines) if line and not line.startswith("#")]
    ends = set(names)
    matching = [_ends_of(photo) & ends for photo in table.photos]
    kept = [row for row, found in enumerate(matching) if not found]
    if not kept:
        raise UserError(f"{listed} leaves out every photo of the gallery; expected some to stay")
    used = {name for found in matching for name in found}
    return table.take(kept), [name for name in names if name not in used]


def _ends_of(photo: str) -> set[str]:
    parts = photo.split("/")
    return {photo, *("/".join(parts[start:]) for start in range(1, len(parts)))}


def _measured(photos: Sequence[tuple[str, Path]], file: Path, how: Measuring) -> tuple[FaceTable, dict[str, str]]:
    work = file.with_name(f".{file.name}.work")
    table, faults = measure(photos, how, work, enrolled=True)
    shutil.rmtree(work)
    return table, faults


def _require_faces(table: FaceTable, where: Path, faults: dict[str, str]) -> None:
    if not len(table):
        photo, reason = next(iter(faults.items()))
        raise UserError(f"no face could be enrolled from {len(faults)} photos of {where}, such as {photo} ({reason})")


def _on_people(people: Sequence[str], table: FaceTable) -> list[str]:
    """Say who has no usable photo, and whose names are alike."""
    names = sorted(set(people))
    without = sorted(set(names) - set(table.people))
    notes = [f"no usable photo of {person}" for person in without]
    alike: dict[str, list[str]] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        alike.setdefault(plain, []).append(name)
    notes += [f"names that may be one person: {', '.join(map(repr, same))}" for same in alike.values() if len(same) > 1]
    if len(np.unique(np.array(table.people, dtype=object))) == 1:
        notes.append(f"a gallery of one person, {table.people[0]}: nobody stands beside them for comparison")
    return notes


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
