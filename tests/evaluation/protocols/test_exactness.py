"""What the network sees in every protocol, against the published preparation written down anew: within 1 of 255.

The oracle shares no code with the program: Pillow decodes, reduces and enlarges; the similarity is NumPy's least
squares; the warp is the cubic convolution of Keys (1981) with a = -0.75, at positions of 1/32 pixel as OpenCV takes
them, zero outside the photo.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from evaluation.models.embedder import Embedded
from evaluation.models.pictures import Picture
from evaluation.protocols.selection import lfw, orl, scface, survface, survface_openset, tinyface
from pipeline.alignment.align import preprocessing
from pipeline.sources.datasets import orl_photos

SIZE = 128
PAPER = np.array([(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)])


class Recorder:
    """In place of a model: keeps what a protocol wants embedded."""

    def __init__(self) -> None:
        self.preprocessing = preprocessing("paper", SIZE)
        self.pictures: list[Picture] = []

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        self.pictures += pictures
        return Embedded(np.random.default_rng(0).normal(size=(len(pictures), 4)).astype(np.float32), {})

    def summary(self) -> str:
        return "recorded"


def rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def cubic(t: np.ndarray) -> np.ndarray:
    t, a = np.abs(t), -0.75
    return np.where(t < 1, (a + 2) * t**3 - (a + 3) * t**2 + 1, np.where(t < 2, a * (t**3 - 5 * t**2 + 8 * t - 4), 0))


def aligned(photo: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    """Fit template to photo by least squares, then read the photo at every pixel of the face."""
    template = (PAPER * side / 112).astype(np.float32).astype(float)
    x, y = template.T
    one, none = np.ones(5), np.zeros(5)
    # u = a x - b y + p and v = b x + a y + q: ten equations in a, b, p, q.
    system = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    a, b, p, q = np.linalg.lstsq(system, points.astype(np.float32).astype(float).T.ravel(), rcond=None)[0]
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    # OpenCV adds the parts of a position in units of 1/1024 pixel and rounds the sum to 1/32.
    u, v = (
        np.floor((np.rint(1024 * across) + np.rint(1024 * down) + 16) / 32) / 32
        for across, down in ((a * column, p - b * row), (b * column, q + a * row))
    )
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    framed = np.pad(photo.astype(float), ((4, 4), (4, 4), (0, 0)))
    height, width = framed.shape[:2]
    face = np.zeros((side, side, 3))
    for dy in range(-1, 3):
        for dx in range(-1, 3):
            weight = cubic(u - left - dx) * cubic(v - top - dy)
            i, j = (np.clip(place + d + 4, 0, size - 1) for place, d, size in ((top, dy, height), (left, dx, width)))
            face += weight[..., None] * framed[i, j]
    return np.clip(np.rint(face), 0, 255).astype(np.uint8)


def native(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    return resized(aligned(photo, points, int(3 * (points[:, 1].max() - points[:, 1].min()))), SIZE)


def landmarks(*paths: Path) -> dict[str, np.ndarray]:
    rows = [row for path in paths for row in csv.reader(path.read_text().splitlines())]
    return {row[0]: np.array(row[1:], dtype=float).reshape(5, 2) for row in rows}


def differences(picture: Picture, expected: np.ndarray) -> np.ndarray:
    seen = picture.load()
    assert seen.shape == expected.shape == (SIZE, SIZE, 3)
    assert seen.dtype == np.uint8
    return np.abs(seen.astype(int) - expected.astype(int))


def test_the_oracle_sees_a_wrong_preparation(rendered: Path) -> None:
    """A pixel to the side, another fit, another filter: none stays within 1 of 255."""
    points = landmarks(rendered / "lists" / "LFW.csv")
    name = next(iter(points))
    photo = rgb(rendered / "LFW" / "lfw" / name)
    right = aligned(photo, points[name], SIZE).astype(int)
    moved = aligned(photo, points[name] + [[0.2, 0]], SIZE)
    assert np.abs(moved - right).max() > 1
    one = Image.fromarray(aligned(photo, points[name], SIZE))
    for way in (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.NEAREST):
        reduced = one.resize((8, 8), way).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(reduced).astype(int) - resized(resized(right.astype(np.uint8), 8), SIZE)).max() > 1


def test_lfw_in_full_and_reduced(rendered: Path) -> None:
    recorder = Recorder()
    lfw.measure(lfw.read(rendered / "LFW", [rendered / "lists"]), recorder, sizes=(8, 12, 16, 20))
    points = landmarks(rendered / "lists" / "LFW.csv")
    faces: dict[str, np.ndarray] = {}
    lows = set()
    for picture in recorder.pictures:
        if len(faces) == 4 and picture.name not in faces:
            continue
        if picture.name not in faces:
            faces[picture.name] = aligned(rgb(rendered / "LFW" / "lfw" / picture.name), points[picture.name], SIZE)
        low = picture.preparation.low
        lows.add(low)
        face = faces[picture.name]
        assert differences(picture, face if low is None else resized(resized(face, low), SIZE)).max() <= 1
    assert lows == {None, 8, 12, 16, 20}


def test_scface_at_native_size(rendered: Path) -> None:
    recorder = Recorder()
    scface.measure(scface.read(rendered / "SCface", [rendered / "lists"]), recorder)
    names = ["scface_mugshot", *(f"scface_distance{d}" for d in (1, 2, 3))]
    points = landmarks(*(rendered / "lists" / f"{name}.csv" for name in names))
    assert len({picture.name for picture in recorder.pictures}) == len(points) == 5 + 3 * 25
    seen = set()
    for picture in recorder.pictures:
        kind = picture.name[-6:] if "cam" in picture.name else "mugshot"
        if kind in seen:
            continue
        seen.add(kind)
        photo = rgb(rendered / "SCface" / "SCface_database" / picture.name)
        make = (lambda p, q: aligned(p, q, SIZE)) if kind == "mugshot" else native
        assert differences(picture, make(photo, points[picture.name])).max() <= 1, picture.name
    assert len(seen) == 4


@pytest.mark.parametrize("protocol", [survface, survface_openset, tinyface])
def test_whole_pictures(rendered: Path, protocol: object) -> None:
    recorder = Recorder()
    root = rendered / ("TinyFace" if protocol is tinyface else "QMUL-SurvFace")
    protocol.measure(protocol.read(root, []), recorder)  # type: ignore[attr-defined]
    assert len(recorder.pictures) >= 60
    for picture in recorder.pictures[:: len(recorder.pictures) // 20]:
        inside = "verification_images" if protocol is survface else ""
        (path,) = (p for p in root.rglob(Path(picture.name).name) if str(p).endswith(f"{inside}/{picture.name}"))
        assert differences(picture, resized(rgb(path), SIZE)).max() <= 1


def test_survface_names_are_the_lists(rendered: Path) -> None:
    recorder = Recorder()
    survface.measure(survface.read(rendered / "QMUL-SurvFace", []), recorder)
    folder = rendered / "QMUL-SurvFace" / "QMUL-SurvFace" / "Face_Verification_Test_Set"
    named = {
        str(cell[0])
        for kind in ("positive", "negative")
        for cell in scipy.io.loadmat(folder / f"{kind}_pairs_names.mat")[f"{kind}_pairs_names"].ravel()
    }
    assert sorted(picture.name for picture in recorder.pictures) == sorted(named), "each once"


@pytest.mark.slow
def test_orl_in_full_and_reduced() -> None:
    recorder = Recorder()
    orl.measure(orl.read(), recorder, sizes=(8,))
    photos = {f"{person}/{path.name}": (path, points) for person, path, points in orl_photos(("s26",))}
    for picture in [one for one in recorder.pictures if one.name in photos][::5]:
        path, points = photos[picture.name]
        face = aligned(rgb(path), np.asarray(points), SIZE)
        low = picture.preparation.low
        assert differences(picture, face if low is None else resized(resized(face, low), SIZE)).max() <= 1
