"""The lists and pictures of SCface."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from evaluation.lists.text_lists import Landmarks, PictureFolder, find_folder, find_list, read_landmark_list
from evaluation.metrics.figures import Alignment
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, whole
from evaluation.scoring.faces import NotFound, joined, list_source
from evaluation.scoring.native_sides import native_side
from pipeline.alignment.align import native_size
from shards.command import UserError
from shards.format import Preprocessing

DISTANCES = {1: "4.2 m", 2: "2.6 m", 3: "1.0 m"}
# Cameras 6 and 7 are 1 and 5 by infrared light, 8 takes infrared mugshots.
_INFRARED = {"cam6", "cam7", "cam8"}


@dataclass(frozen=True)
class Data:
    """The photos with their landmarks: mugshots, and the probes of each distance.

    Attributes:
        folder: of all photos.
        mugshots: one a subject.
        probes: by distance, 1 to 3.
        counts: what else was found, by what it is.
        alignment: where the landmarks come from.
        not_found: what a picture without a face becomes.
    """

    folder: PictureFolder
    mugshots: Landmarks
    probes: dict[int, Landmarks]
    counts: dict[str, int]
    alignment: Alignment
    not_found: NotFound = "error"

    def parted(self, part: Landmarks) -> tuple[list[str], list[str]]:
        """Return the names of a part's pictures that are embedded, and of those that are errors without a face."""
        return (part.names, []) if self.not_found == "whole" else (list(part.points), list(part.faults))

    def side(self, part: Landmarks, name: str) -> int:
        """Return the side in pixels at which a face stands in its picture, or that of a picture without landmarks."""
        return native_size(part.points[name]) if name in part.points else native_side(self.folder.path(name))

    def picture(self, part: Landmarks, name: str, form: Preprocessing, **how: Any) -> Picture:
        """Return one of a part's pictures: aligned (see `aligned`) where its landmarks are known, else whole."""
        points, path = part.points.get(name), self.folder.path(name)
        return whole(name, path, form, how.get("low")) if points is None else aligned(name, path, points, form, **how)


def read(root: Path, lists: Sequence[Path], not_found: NotFound = "error") -> Data:
    """Read the lists; infrared pictures in them are left out and counted.

    Args:
        root: folder `SCface`.
        lists: folders searched for the `scface_*.csv` lists before the data set's own.
        not_found: what a picture becomes whose landmarks cannot be any.

    Raises:
        UserError: the folder or a list does not fit.
    """
    folder = find_folder(root, "SCface_database", "SCface/SCface_database", ".")
    places = [*lists, root, folder, Path("data")]
    paths = [find_list(f"scface_{part}.csv", places) for part in ("mugshot", *(f"distance{d}" for d in DISTANCES))]
    mugshots, *of_distances = (read_landmark_list(path) for path in paths)
    found = dict(zip(DISTANCES, of_distances, strict=True))
    infrared = {name for listed in found.values() for name in listed.names if camera(name) in _INFRARED}
    probes = {d: _without(listed, infrared) for d, listed in found.items()}
    for distance, part in probes.items():
        if not part.points:
            raise UserError(
                f"scface_distance{distance}.csv names no usable picture of cameras 1 to 5; expected 5 of each subject"
            )
    listed = set(mugshots.names).union(infrared, *(part.names for part in probes.values()))
    counts = {"pictures beside that no list names (other cameras)": _unlisted(folder, listed)}
    if infrared:
        counts["infrared pictures in the lists, left out"] = len(infrared)
    became = "errors" if not_found == "error" else "whole pictures"
    alignment = joined(
        [
            Alignment("landmark list", *list_source(path), len(part.names), len(part.faults), became)
            for path, part in zip(paths, (mugshots, *probes.values()), strict=True)
        ]
    )
    return Data(PictureFolder(folder), mugshots, probes, counts, alignment, not_found)


def subject(name: str) -> str:
    """Return the subject of `.../001_cam1_1.jpg` or `.../001_frontal.jpg`, without leading zeros."""
    number = PurePosixPath(name).stem.split("_")[0]
    return number.lstrip("0") or "0"


def camera(name: str) -> str:
    """Return the camera of `.../001_cam1_1.jpg`, in lower case."""
    return (PurePosixPath(name).stem.split("_") + ["", ""])[1].lower()


def _without(listed: Landmarks, names: set[str]) -> Landmarks:
    points = {name: points for name, points in listed.points.items() if name not in names}
    return Landmarks(points, {name: reason for name, reason in listed.faults.items() if name not in names})


def _unlisted(folder: Path, listed: set[str]) -> int:
    """Count pictures of the surveillance cameras that the lists do not name, such as infrared ones."""
    cameras = folder / "surveillance_cameras_all"
    if not cameras.is_dir():
        return 0
    known = {name.casefold() for name in listed}
    pictures = (f"{cameras.name}/{p.name}".casefold() for p in cameras.iterdir() if p.suffix.lower() == ".jpg")
    return sum(name not in known for name in pictures)
