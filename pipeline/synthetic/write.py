"""Writer of a synthetic data set: renders its photos on all cores and writes its lists."""

import multiprocessing
import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import scipy.io
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from pipeline.alignment.align import align
from pipeline.sources.landmark_list import HEADER
from pipeline.synthetic.identity import Identity, make_identity
from pipeline.synthetic.layouts import (
    BinFile,
    Job,
    LandmarkList,
    Layout,
    MatFile,
    lfw,
    scface,
    survface,
    tinyface,
    vggface2,
)
from pipeline.synthetic.pair_sets import bin_set, ijbc, xqlfw
from pipeline.synthetic.render import photo_generator, render
from pipeline.synthetic.video_layout import video
from pipeline.synthetic.walks import WalkVideo, write_walk_video
from shards.command import UserError
from shards.writer import write_atomically

_CHUNK = 64
_BIN_SIZE, _BIN_QUALITY = 112, 95
LAYOUTS: dict[str, tuple[str, Callable[[int, int, int], Layout]]] = {
    "vggface2": ("VGGFace2", vggface2),
    "lfw": ("LFW", lfw),
    "scface": ("SCface", scface),
    "survface": ("QMUL-SurvFace", survface),
    "tinyface": ("TinyFace", tinyface),
    "xqlfw": ("XQLFW", xqlfw),
    "ijbc": ("IJBC", ijbc),
    "bin": ("BIN", bin_set),
    "video": ("Video", video),
}
"""The folder of each layout below the output folder, and its plan."""
_Part = TypeVar("_Part")
_Done = TypeVar("_Done")


def write_dataset(out: Path, layout: str, *, identities: int, photos: int, seed: int, workers: int = 1) -> int:
    """Render a data set.

    Args:
        out: folder below which the data set's own folder and `lists/` appear.
        layout: a name in `LAYOUTS`.
        identities: number of people.
        photos: photos of each, where the layout leaves it open.
        seed: of everything; the same seed gives the same bytes.
        workers: processes.

    Returns:
        number of pictures, those of videos included.

    Raises:
        UserError: the data set's folder exists already, or a number is too small.
    """
    if identities < 2 or photos < 2:
        raise UserError(f"{identities} identities with {photos} photos; give at least 2 of each")
    folder, planned = LAYOUTS[layout]
    target = out / folder
    if target.exists():
        raise UserError(f"{target} exists already; name a new folder for --out")
    plan = planned(identities, photos, seed)
    try:
        write_layout(out, plan, layout, seed, workers)
        frames = sum(_map(partial(_render_videos, out, seed), [[one] for one in plan.videos], workers))
    except BaseException:
        # A part of a data set looks like a smaller one.
        shutil.rmtree(target, ignore_errors=True)
        raise
    return len(plan.jobs) + frames


def write_layout(out: Path, plan: Layout, name: str, seed: int, workers: int) -> None:
    """Render the pictures of a layout, or of a part of one, and write its lists; see `write_dataset`."""
    for folder in {(out / job.path).parent for job in plan.jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    landmarks = _render_all(out, plan.jobs, seed, workers, name)
    _write_lists(out, plan, landmarks)


def _render_all(out: Path, jobs: list[Job], seed: int, workers: int, layout: str) -> dict[str, NDArray[np.float64]]:
    """Render every picture; return the landmarks by path."""
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    landmarks: dict[str, NDArray[np.float64]] = {}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"rendering {layout}", total=len(jobs))
        for done in _map(partial(render_chunk, out, seed), chunks, workers):
            landmarks.update(done)
            bar.update(task, completed=len(landmarks))
    return landmarks


def _render_videos(out: Path, seed: int, videos: list[WalkVideo]) -> int:
    """Render videos and return the number of their frames."""
    return sum(write_walk_video(out, one, seed) for one in videos)


def _map(function: Callable[[_Part], _Done], chunks: list[_Part], workers: int) -> Iterator[_Done]:
    if workers == 1:
        yield from map(function, chunks)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(function, chunks)


def render_chunk(out: Path, seed: int, jobs: list[Job]) -> dict[str, NDArray[np.float64]]:
    """Render and write some pictures; return their landmarks by path."""
    cv2.setNumThreads(1)
    people: dict[int, Identity] = {}
    landmarks = {}
    for job in jobs:
        if job.person not in people:
            people[job.person] = make_identity(seed, job.person)
        photo = render(people[job.person], job.shot, photo_generator(seed, job.person, job.photo))
        bgr = cv2.cvtColor(photo.picture, cv2.COLOR_RGB2BGR)
        done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, job.quality])
        assert done
        (out / job.path).write_bytes(encoded.tobytes())
        landmarks[job.path] = photo.landmarks
    return landmarks


def _write_lists(out: Path, plan: Layout, landmarks: dict[str, NDArray[np.float64]]) -> None:
    for listing in plan.landmarks:
        _write(out / listing.path, _landmark_text(listing, landmarks).encode())
    for mat in plan.mats:
        _write_mat(out / mat.path, mat)
    for one in plan.bins:
        _write(out / one.path, _bin_bytes(out, one, landmarks))
    for path, text in plan.texts:
        _write(out / path, text.encode())


def _bin_bytes(out: Path, bins: BinFile, landmarks: dict[str, NDArray[np.float64]]) -> bytes:
    """Return the pickle that InsightFace's tools write of such pairs."""
    faces: dict[str, bytes] = {}
    for path in dict.fromkeys(path for pair in bins.pairs for path in pair):
        photo = cv2.imread(str(out / path))
        assert photo is not None
        face = align(photo.astype(np.uint8, copy=False), landmarks[path], _BIN_SIZE, "centred")
        faces[path] = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, _BIN_QUALITY])[1].tobytes()
    pictures = [faces[path] for pair in bins.pairs for path in pair]
    return pickle.dumps((pictures, list(bins.same)), protocol=pickle.HIGHEST_PROTOCOL)


def _landmark_text(listing: LandmarkList, landmarks: dict[str, NDArray[np.float64]]) -> str:
    if listing.scores:
        rows = zip(listing.rows, listing.scores, strict=True)
        told = (f"{name} {' '.join(f'{v:.3f}' for v in landmarks[path].ravel())} {s:.4f}" for (name, path), s in rows)
        return "\n".join(told) + "\n"
    lines = [f"{name},{','.join(f'{v:.3f}' for v in landmarks[path].ravel())}" for name, path in listing.rows]
    if listing.header:
        # VGGFace2 quotes its names.
        lines = [
            ",".join(HEADER),
            *(f'"{line.split(",", 1)[0]}",{line.split(",", 1)[1]}' for line in lines),
        ]
    return "\n".join(lines) + ("\n" if listing.final_newline else "")


def _write_mat(path: Path, mat: MatFile) -> None:
    variables = {}
    for name, values in mat.variables.items():
        width = 1 if not values or isinstance(values[0], str) else 2
        # (N,) or (N, 2) text -> an N x 1 or N x 2 cell array
        cells = np.empty((len(values), width), dtype=object)
        for row, value in enumerate(values):
            cells[row] = [value] if isinstance(value, str) else list(value)
        variables[name] = cells
    scipy.io.savemat(path, variables)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
