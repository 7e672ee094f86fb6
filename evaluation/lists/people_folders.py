"""Folders of people: DIR/PERSON/PHOTO.jpg, at any depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources.picture_files import PICTURE_SUFFIXES, is_hidden, walk_pictures
from shards.command import UserError


@dataclass(frozen=True)
class PeopleFolder:
    """The photos of a folder of people.

    Attributes:
        root: the folder.
        named: path below it and person of each photo; the person is the path of the folder that the photo lies in.
        loose: photos that lie in the folder itself.
        hidden: hidden files that were passed over.
    """

    root: Path
    named: list[tuple[str, str]]
    loose: list[str]
    hidden: int

    @property
    def people(self) -> set[str]:
        """All people."""
        return {person for _, person in self.named}


def track_of(path: str) -> str:
    """Return the folder of a track that a picture PERSON/TRACK/PICTURE lies in, "" of one in the person's own folder.

    >>> track_of("anna/walk_1/007.jpg"), track_of("anna/1.jpg")
    ('anna/walk_1', '')
    """
    folder = path.rpartition("/")[0]
    return folder if "/" in folder else ""


def read_people(root: Path, option: str, *, loose_is_enough: bool = False, tracks: bool = False) -> PeopleFolder:
    """Find the photos of a folder of people.

    Args:
        root: the folder.
        option: that named it, for messages.
        loose_is_enough: photos that lie in no person's folder will do.
        tracks: a person is the first folder alone; those below it are tracks, see `track_of`.

    Raises:
        UserError: no folder, no photos, no folders of people, or two names that differ by upper and lower case alone.
    """
    if not root.is_dir():
        raise UserError(f"{option}: no folder {root}; expected a folder that holds a folder of photos for each person")
    named, loose, hidden = [], [], 0
    for person, path in walk_pictures(root):
        if any(is_hidden(part) for part in path.split("/")):
            hidden += 1
        elif person:
            named.append((path, person.partition("/")[0] if tracks else person))
        else:
            loose.append(path)
    if not named and not loose:
        raise UserError(f"{option}: {root} holds no photos; expected PERSON/PHOTO with {', '.join(PICTURE_SUFFIXES)}")
    if not named and not loose_is_enough:
        raise UserError(
            f"{option}: {root} holds {len(loose):,} photos and no folders of people; expected {root}/PERSON/PHOTO"
        )
    refuse_names_by_case({person for _, person in named}, str(root))
    return PeopleFolder(root, sorted(named), sorted(loose), hidden)


def refuse_names_by_case(people: set[str], where: str) -> None:
    """Refuse names of people that differ by upper and lower case alone, which may mean one person or two.

    Raises:
        UserError: naming both.
    """
    seen: dict[str, str] = {}
    for person in sorted(people):
        other = seen.setdefault(person.casefold(), person)
        if other != person:
            raise UserError(
                f"{where}: {other} and {person} differ by upper and lower case alone; give one person one name"
            )


def some_names(names: Sequence[str], most: int = 5) -> str:
    """Name a few of many.

    >>> some_names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
