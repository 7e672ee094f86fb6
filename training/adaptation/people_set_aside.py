"""People whom an adaptation does not train on, and the folders on which it is tested with them."""

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources.landmark_list import read_landmarks
from pipeline.sources.picture_files import walk_pictures
from shards.command import UserError
from shards.writer import write_atomically

GALLERY, PROBES, STRANGERS, CROPS, LIST = "gallery", "probes", "strangers", "crops", "people.txt"
FEWEST_TRAINED, FEWEST_TESTED = 2, 2
_PEOPLE_FOR_STRANGERS = 6


@dataclass(frozen=True)
class Photos:
    """A folder of folders of people.

    Attributes:
        root: the folder.
        landmarks: list of five points a photo; None where every photo is an aligned face.
    """

    root: Path
    landmarks: Path | None

    @property
    def options(self) -> tuple[object, ...]:
        """What tells pipeline.shard how the faces are aligned."""
        return ("--aligned",) if self.landmarks is None else ("--landmarks", self.landmarks)

    def usable(self) -> dict[str, list[str]]:
        """Return the photos of each person that have a face, paths below the root, in order of their names."""
        with_face = None if self.landmarks is None else set(read_landmarks(self.landmarks)["name"])
        return usable_photos(list(walk_pictures(self.root)), with_face)


@dataclass(frozen=True)
class SetAside:
    """Whom to test on.

    Attributes:
        known: people whose first photo is the gallery and whose other photos are the probes: name -> photos in order,
            each the path below the folder of all photos, two at least.
        strangers: people who must not be found, likewise; empty where few people were set aside.
        trained: names of the people who are left to train on.
    """

    known: dict[str, tuple[str, ...]]
    strangers: dict[str, tuple[str, ...]]
    trained: tuple[str, ...]

    @property
    def people(self) -> list[str]:
        """Everyone who is set aside, by name."""
        return sorted({*self.known, *self.strangers})


def set_people_aside(photos: Mapping[str, Sequence[str]], share: float, seed: int) -> SetAside:
    """Choose the people to test on, whoever of them is named first or has most photos.

    A third of them are strangers where there are six or more. The order is that of a digest of seed and name, so that
    more people in the folder leave most of the choice as it was.

    Args:
        photos: usable photos of each person, in order.
        share: of the people with two photos or more that is set aside, above 0 and below 1.
        seed: of the choice.

    Raises:
        UserError: too few people, with how many there are and how many it takes.
    """
    able = sorted((name for name, own in photos.items() if len(own) > 1), key=lambda name: _digest(seed, name))
    tested = max(FEWEST_TESTED, round(share * len(able)))
    if len(able) - tested < FEWEST_TRAINED:
        raise UserError(
            f"{len(able)} people with two usable photos or more; an adaptation takes {FEWEST_TRAINED} people to train "
            f"on and {FEWEST_TESTED} to test on; in trials with --mode fresh 5 people raised rank-1 at 8 pixels from "
            "19 to 44 %, 30 to 81 % (docs/adapt.md): add people"
        )
    chosen, rest = able[:tested], able[tested:]
    strange = len(chosen) // 3 if len(chosen) >= _PEOPLE_FOR_STRANGERS else 0
    return SetAside(
        {name: tuple(photos[name]) for name in sorted(chosen[strange:])},
        {name: tuple(photos[name]) for name in sorted(chosen[:strange])},
        tuple(sorted(rest)),
    )


def usable_photos(found: Collection[tuple[str, str]], with_face: Collection[str] | None) -> dict[str, list[str]]:
    """Return the photos of each person in order of their names.

    Args:
        found: person and path of each photo; "" is the person of one that lies in no person's folder.
        with_face: paths of the photos in which a face was found; None where every photo is an aligned face.
    """
    photos: dict[str, list[str]] = {}
    for person, path in sorted(found):
        if person and (with_face is None or path in with_face):
            photos.setdefault(person, []).append(path)
    return photos


def write_test_folders(chosen: SetAside, photos: Photos, crops: Photos | None, out: Path) -> None:
    """Write the folders gallery, probes and strangers as links to the photos, and the list of whom to leave out.

    The small pictures of those in the gallery, where there are any, are linked in a folder crops. The folder appears
    when all is in it; one of an earlier choice is replaced.

    Args:
        chosen: whom to test on.
        photos: of everyone.
        crops: small pictures of the same people, or None.
        out: folder to write.
    """
    unfinished = out.with_name(f".{out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    places = [
        (GALLERY, photos.root, [own[0] for own in chosen.known.values()]),
        (PROBES, photos.root, [path for own in chosen.known.values() for path in own[1:]]),
        (STRANGERS, photos.root, [path for own in chosen.strangers.values() for path in own]),
    ]
    if crops is not None:
        small = crops.usable()
        places.append((CROPS, crops.root, [path for name in chosen.known for path in small.get(name, ())]))
    for part, root, paths in places:
        for path in paths:
            link = unfinished / part / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((root / path).resolve())
    write_atomically(unfinished / LIST, "".join(f"{name}\n" for name in chosen.people).encode())
    shutil.rmtree(out, ignore_errors=True)
    os.replace(unfinished, out)  # noqa: PTH105 - a folder onto nothing


def _digest(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
