"""Rendered people in the directory layouts, file names and lists of the real data sets.

A layout is a list of `Job`s (which picture of whom, taken how, stored where) and the lists that are written
from their landmarks. People of one layout never appear in another, nor training people in a test set.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.synthetic.pose import Shot
from pipeline.synthetic.walks import WalkVideo

# People of different sets are numbered apart.
_PEOPLE = {
    "vggface2/train": 0,
    "vggface2/test": 1_000_000,
    "lfw": 2_000_000,
    "scface": 3_000_000,
    "survface/train": 4_000_000,
    "survface/verification": 5_000_000,
    "survface/identification": 6_000_000,
    "survface/unmated": 7_000_000,
    "tinyface/train": 8_000_000,
    "tinyface/test": 9_000_000,
    "tinyface/distractor": 10_000_000,
}
_PLAN_STREAM = 2
_SCFACE_EYES = {"frontal": 324.0, "1": 10.0, "2": 17.0, "3": 30.2}
"""Median distance between the eyes in pixels: mugshots and the three distances."""
_SCFACE_SIZES = {"1": (100, 75), "2": (144, 108), "3": (224, 168)}
_SCFACE_CAMERA_SCALES = (0.93, 0.97, 1.0, 1.05, 1.14)


@dataclass(frozen=True)
class Job:
    """One picture to render.

    Attributes:
        path: below the output folder.
        person: number of the identity.
        photo: number of the photo of that identity.
        shot: how it is taken.
        quality: of the JPEG.
    """

    path: str
    person: int
    photo: int
    shot: Shot
    quality: int


@dataclass(frozen=True)
class LandmarkList:
    """A landmark list to write: its path, its rows (name in the list, path of the picture), and its form.

    With scores, one a row, it has IJB's form: name, points and score with spaces between.
    """

    path: str
    rows: tuple[tuple[str, str], ...]
    header: bool = False
    final_newline: bool = True
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class MatFile:
    """A .mat file to write: its path and its variables, cell columns or cell pairs of text."""

    path: str
    variables: dict[str, list[str] | list[tuple[str, str]]]


@dataclass(frozen=True)
class BinFile:
    """A `.bin` file to write: its path, paths of pairs, whose faces are aligned, and whether they show one person."""

    path: str
    pairs: tuple[tuple[str, str], ...]
    same: tuple[bool, ...]


@dataclass(frozen=True)
class Layout:
    """Everything of one data set."""

    jobs: list[Job]
    landmarks: tuple[LandmarkList, ...] = ()
    mats: tuple[MatFile, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    videos: tuple[WalkVideo, ...] = ()
    bins: tuple[BinFile, ...] = ()


def stream(seed: int, *place: int) -> np.random.Generator:
    """Return the random numbers of one place in a layout."""
    return np.random.default_rng(np.random.SeedSequence((seed, _PLAN_STREAM, *place)))


def portrait(rng: np.random.Generator, width: int, height: int) -> Shot:
    """An everyday photo in which the face fills much of the picture."""
    eyes = width * rng.uniform(0.24, 0.32)
    centre = (width * rng.uniform(0.45, 0.55), height * rng.uniform(0.38, 0.46))
    return Shot(width, height, eyes, centre)


def vggface2(identities: int, photos: int, seed: int) -> Layout:
    """VGGFace2: train/ and test/ identities, landmark CSVs with a header, and the merged list."""
    jobs: list[Job] = []
    lists = []
    merged: list[tuple[str, str]] = []
    # A validation on people held out needs two of them.
    held_out = max(2, identities // 10)
    for split, count, first in (("train", identities, 2), ("test", held_out, 1 + 2 * identities)):
        rows = []
        for number in range(count):
            for photo in range(photos):
                rng = stream(seed, _PEOPLE[f"vggface2/{split}"] + number, photo)
                width = int(rng.integers(200, 401))
                shot = portrait(rng, width, int(width * rng.uniform(1.2, 1.3)))
                name = f"n{first + number:06d}/{photo // 3 + 1:04d}_{photo % 3 + 1:02d}"
                path = f"VGGFace2/{split}/{name}.jpg"
                person = _PEOPLE[f"vggface2/{split}"] + number
                jobs.append(Job(path, person, photo, shot, int(rng.integers(80, 96))))
                rows.append((name, path))
        folder = "VGGFace2/bb_landmark/loose_landmark"
        lists.append(LandmarkList(f"{folder}_{split}.csv", tuple(rows), header=True))
        merged += [(f"{split}/{name}", path) for name, path in rows]
    lists.append(LandmarkList(f"{folder}_train_test_remove_lfw_megaface.csv", tuple(merged), header=True))
    return Layout(jobs, tuple(lists))


def lfw(identities: int, photos: int, seed: int) -> Layout:
    """LFW: 250 x 250 photos by name, LFW.csv and a pairs list in ten folds."""
    jobs, names, rows = [], [], []
    for number in range(identities):
        name = f"Rendered_Person_{number:04d}"
        names.append(name)
        for photo in range(photos):
            person = _PEOPLE["lfw"] + number
            rng = stream(seed, person, photo)
            centre = (125 + rng.normal(0, 2.5), 108 + rng.normal(0, 3))
            shot = Shot(250, 250, 45 + rng.normal(0, 2.5), centre)
            path = f"{name}/{name}_{photo + 1:04d}.jpg"
            jobs.append(Job(f"LFW/lfw/{path}", person, photo, shot, 90))
            rows.append((path, f"LFW/lfw/{path}"))
    pairs = lfw_pairs(names, photos, stream(seed, _PEOPLE["lfw"]))
    return Layout(jobs, (LandmarkList("lists/LFW.csv", tuple(rows)),), texts=(("lists/lfw_pairs.txt", pairs),))


def lfw_pairs(names: list[str], photos: int, rng: np.random.Generator) -> str:
    """Draw pairs.txt: ten folds of people of their own where there are enough, as many pairs of each kind."""
    folds = max(1, min(10, len(names) // 2))
    members = [[int(m) for m in part] for part in np.array_split(rng.permutation(len(names)), folds)]
    each = min(300, min(len(part) for part in members) * photos * (photos - 1) // 2)
    lines = [f"{folds}\t{each}"]
    for part in members:
        same = [(p, i, j) for p in part for i in range(1, photos + 1) for j in range(i + 1, photos + 1)]
        for row in rng.permutation(len(same))[:each]:
            person, i, j = same[row]
            lines.append(f"{names[person]}\t{i}\t{j}")
        for _ in range(each):
            a, b = rng.choice(part, 2, replace=False)
            i, j = rng.integers(1, photos + 1, 2)
            lines.append(f"{names[a]}\t{i}\t{names[b]}\t{j}")
    return "\n".join(lines) + "\n"


def scface(identities: int, photos: int, seed: int) -> Layout:
    """SCface: a mugshot and five cameras at three distances a person, at the real distances between the eyes.

    The number of photos is the data set's own; `photos` is not used.
    """
    del photos
    jobs: list[Job] = []
    rows: dict[str, list[tuple[str, str]]] = {"frontal": [], "1": [], "2": [], "3": []}
    for subject in range(1, identities + 1):
        person = _PEOPLE["scface"] + subject
        rng = stream(seed, person)
        eyes = _SCFACE_EYES["frontal"] * float(np.exp(rng.normal(0, 0.03)))
        name = f"mugshot_frontal_original_all/{subject:03d}_frontal.jpg"
        mugshot = Shot(1200, 1600, eyes, (600.0, 640.0), roll_sd=1.5, turn=0.1, wear=0.4)
        jobs.append(Job(f"SCface/SCface_database/{name}", person, 0, mugshot, 90))
        rows["frontal"].append((name, f"SCface/SCface_database/{name}"))
        for distance in ("1", "2", "3"):
            width, height = _SCFACE_SIZES[distance]
            for camera, scale in enumerate(_SCFACE_CAMERA_SCALES, 1):
                eyes = _SCFACE_EYES[distance] * scale * float(np.exp(rng.normal(0, 0.04)))
                centre = (width * rng.uniform(0.42, 0.58), height * rng.uniform(0.36, 0.46))
                roll = (3.4, 4.0, 4.8, 5.5, 6.2)[camera - 1]
                shot = Shot(width, height, eyes, centre, roll_sd=roll, turn=0.8, wear=1.8)
                name = f"surveillance_cameras_all/{subject:03d}_cam{camera}_{distance}.jpg"
                jobs.append(Job(f"SCface/SCface_database/{name}", person, 5 * int(distance) + camera, shot, 75))
                rows[distance].append((name, f"SCface/SCface_database/{name}"))
    lists = [LandmarkList("lists/scface_mugshot.csv", tuple(rows["frontal"]))]
    lists += [
        LandmarkList(f"lists/scface_distance{d}.csv", tuple(rows[d]), final_newline=False) for d in ("1", "2", "3")
    ]
    return Layout(jobs, tuple(lists))


def _surveillance(rng: np.random.Generator) -> Shot:
    """A cut-out face as QMUL-SurvFace has them: median 27 high and 22 wide, from 7 x 5 to 117 x 106."""
    height = int(np.clip(np.rint(27 * np.exp(rng.normal(0, 0.38))), 7, 117))
    width = int(np.clip(np.rint(height * rng.normal(0.82, 0.08)), 5, 106))
    eyes = 0.38 * width * rng.uniform(0.9, 1.1)
    return Shot(width, height, eyes, (width * rng.uniform(0.45, 0.55), height * rng.uniform(0.36, 0.46)), 5, 1, 1.6)


def survface(identities: int, photos: int, seed: int) -> Layout:
    """QMUL-SurvFace: training, verification and open-set identification sets with their .mat files."""
    top = "QMUL-SurvFace/QMUL-SurvFace"
    jobs: list[Job] = []

    def shoot(folder: str, group: str, number: int, photo: int, name: str | None = None) -> str:
        person = _PEOPLE[f"survface/{group}"] + number
        rng = stream(seed, person, photo)
        stem = name or f"{number + 1}_cam{photo % 4 + 1}_{photo + 1}.jpg"
        jobs.append(Job(f"{top}/{folder}/{stem}", person, photo, _surveillance(rng), int(rng.integers(60, 90))))
        return stem

    for number in range(identities):
        for photo in range(photos):
            shoot(f"training_set/{number + 1}", "train", number, photo)
    verification = "Face_Verification_Test_Set"
    names = [
        [shoot(f"{verification}/verification_images", "verification", number, k) for k in range(max(2, photos))]
        for number in range(identities)
    ]
    rng = stream(seed, _PEOPLE["survface/verification"])
    positive = [(own[i], own[j]) for own in names for i in range(len(own)) for j in range(i + 1, len(own))]
    positive = [positive[row] for row in rng.permutation(len(positive))[:5320]]
    negative: list[tuple[str, str]] = []
    while len(negative) < len(positive) and identities > 1:
        a, b = rng.choice(identities, 2, replace=False)
        negative.append((names[a][rng.integers(len(names[a]))], names[b][rng.integers(len(names[b]))]))
    identification = "Face_Identification_Test_Set"
    gallery: list[tuple[str, str]] = []
    mated: list[tuple[str, str]] = []
    for number in range(identities):
        half = max(1, photos // 2)
        for k in range(max(2, photos)):
            part, folder = (gallery, "gallery") if k < half else (mated, "mated_probe")
            part.append((shoot(f"{identification}/{folder}", "identification", number, k), str(number + 1)))
    for number in range(identities):
        for k in range(photos):
            name = f"distractors_{number * photos + k + 1}.jpg" if k % 3 == 0 else None
            shoot(f"{identification}/unmated_probe", "unmated", identities + number, k, name)
    folder = f"{top}/{verification}"
    mats = (
        MatFile(f"{folder}/positive_pairs_names.mat", {"positive_pairs_names": positive}),
        MatFile(f"{folder}/negative_pairs_names.mat", {"negative_pairs_names": negative}),
        _pairs_mat(f"{top}/{identification}/gallery_img_ID_pairs.mat", "gallery", gallery),
        _pairs_mat(f"{top}/{identification}/mated_probe_img_ID_pairs.mat", "mated_probe", mated),
    )
    return Layout(jobs, mats=mats)


def tinyface(identities: int, photos: int, seed: int) -> Layout:
    """TinyFace: training identities, and probes, mated gallery and distractors with their .mat files."""
    jobs: list[Job] = []

    def shoot(folder: str, group: str, number: int, photo: int) -> str:
        person = _PEOPLE[f"tinyface/{group}"] + number
        rng = stream(seed, person, photo)
        name = f"{number + 1}_{photo + 1}.jpg"
        jobs.append(Job(f"TinyFace/{folder}/{name}", person, photo, _surveillance(rng), int(rng.integers(70, 95))))
        return name

    gallery: list[tuple[str, str]] = []
    probes: list[tuple[str, str]] = []
    for number in range(identities):
        for photo in range(photos):
            shoot(f"Training_Set/{number + 1}", "train", number, photo)
        for photo in range(max(2, photos)):
            part, folder = (gallery, "Gallery_Match") if photo % 2 == 0 else (probes, "Probe")
            part.append((shoot(f"Testing_Set/{folder}", "test", number, photo), str(number + 1)))
        for photo in range(photos):
            shoot("Testing_Set/Gallery_Distractor", "distractor", 10 * identities + number, photo)
    mats = (
        _pairs_mat("TinyFace/Testing_Set/gallery_match_img_ID_pairs.mat", "gallery", gallery),
        _pairs_mat("TinyFace/Testing_Set/probe_img_ID_pairs.mat", "probe", probes),
    )
    return Layout(jobs, mats=mats)


def _pairs_mat(path: str, what: str, pairs: Iterable[tuple[str, str]]) -> MatFile:
    names, owners = zip(*pairs, strict=True)
    return MatFile(path, {f"{what}_set": list(names), f"{what}_ids": list(owners)})
