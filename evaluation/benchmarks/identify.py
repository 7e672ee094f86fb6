"""Milliseconds of each stage from a video and a photo to decisions, of `python -m evaluation.bench identify`."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.decisions.calibration import Calibration
from evaluation.decisions.decision import CANDIDATES, decide
from evaluation.decisions.video_faces import watch
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.measuring import Measuring, measuring
from evaluation.enrolled.photo_quality import sharpness
from evaluation.enrolled.search import GallerySearch
from evaluation.models.embedder import Embedder
from evaluation.models.load import load_model
from evaluation.models.preparation import aligned
from pipeline.alignment.align import preprocessing, template_points
from pipeline.benchmarks.runner import in_fresh_process, in_rounds, print_table, write_figures
from pipeline.detection.cascade import find_faces, find_near
from pipeline.synthetic.walks import Walk, WalkVideo, write_walk_video
from pipeline.tracking.face_follower import Search, begins_interval, together
from pipeline.tracking.tracker import Tracks, follow
from pipeline.tracking.video import Video
from shards.cores import usable_cores
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import build_backbone

# Widths in pixels at the beginning and the end, and from where to where, of three people who are there all the time.
_WALKS = (((24, 32), (0.15, 0.3)), ((30, 38), (0.45, 0.55)), ((40, 50), (0.75, 0.85)))
_NUMBERS = (4, 104, 3)
_PROBES = 20
_OF_A_FACE = ("open the gallery", "search", "decide")


@dataclass(frozen=True)
class Task:
    """What is measured.

    Attributes:
        video: a file.
        model: of the embeddings, as `load_model` takes it; "" for random weights.
        backbone: architecture of random weights.
        template: of the alignment.
        size: side of the network's input in pixels.
        enrolled: photos in the gallery that is searched, each of a person of its own.
        threads: of torch.
    """

    video: Path
    model: str
    backbone: str
    template: str
    size: int
    enrolled: int
    threads: int


@dataclass(frozen=True)
class Stages:
    """A round.

    Attributes:
        seconds: by stage, in all.
        core_seconds: by stage, time of cores, which other work beside does not lengthen much.
        times: by stage, how often it was done.
        frames: of the video.
        rate: frames a second of the whole.
        core_seconds_a_frame: of the whole.
    """

    seconds: dict[str, float]
    core_seconds: dict[str, float]
    times: dict[str, int]
    frames: int
    rate: float
    core_seconds_a_frame: float


def bench_identify(options: Any, folder: Path) -> None:
    """Render a video, measure every stage in rounds, and print one table."""
    video = folder / "bench.avi"
    if not video.is_file():
        walks = tuple(
            Walk(f"p{number}", number, widths, across, (0, options.seconds))
            for number, (widths, across) in zip(_NUMBERS, _WALKS, strict=True)
        )
        write_walk_video(folder, WalkVideo(video.name, walks, 1, rate=25, seconds=options.seconds), 3)
    model = str(options.model) if options.model else ""
    task = Task(video, model, options.backbone, options.template, options.size, options.enrolled, options.threads)
    runs = in_rounds(
        ["video"],
        options.rounds,
        lambda _, __: in_fresh_process(measure, task),
        lambda run: f"{run.rate:.1f} frames/s",
    )["video"]
    rows = []
    for stage, times in runs[0].times.items():
        each = [1000 * run.seconds[stage] / run.times[stage] for run in runs]
        cores = median(1000 * run.core_seconds[stage] / run.times[stage] for run in runs)
        a_frame = median(1000 * run.core_seconds[stage] / run.frames for run in runs)
        of_video = "" if stage in _OF_A_FACE else f"{a_frame:.2f}"
        spread = f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        rows.append((stage, f"{times:,}", spread, f"{cores:.2f}", of_video))
    print_table(("stage", "times", "ms each: median (least to most)", "core ms each", "core ms a frame"), rows)
    rates = [run.rate for run in runs]
    cores = 1000 * median(run.core_seconds_a_frame for run in runs)
    about = {
        "model": task.model or f"{task.backbone}, random",
        "size": task.size,
        "frames": runs[0].frames,
        "enrolled": task.enrolled,
        "threads": task.threads,
        "cores": usable_cores(),
        "rounds": options.rounds,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"the whole, frames/s: {median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})")
    print(f"core ms a frame of the whole: {cores:.0f}")
    write_figures(options.out, "identify.json", {**about, "runs": [asdict(run) for run in runs]})


class _Clock:
    """Seconds, time of cores, and number of times of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cores: dict[str, float] = {}
        self.times: dict[str, int] = {}

    @contextmanager
    def __call__(self, stage: str, times: int = 1) -> Iterator[None]:
        start, cores = time.perf_counter(), time.process_time()
        yield
        self.cores[stage] = self.cores.get(stage, 0.0) + time.process_time() - cores
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
        self.times[stage] = self.times.get(stage, 0) + times


def measure(task: Task) -> Stages:
    """Measure every stage by itself, then the whole video as `evaluation.identify` goes through it."""
    torch.set_num_threads(task.threads)
    cv2.setNumThreads(1)
    how, clock, search = _model(task), _Clock(), Search()
    first = next(iter(Video(task.video))).pixels
    for face in find_faces(first, search.smallest, search.least_score)[:1]:
        _embed(how, [_seen(how, first, face.landmarks)])
    vectors = _stages(task, how, clock, search)
    _decisions(task, vectors, clock)
    with TemporaryDirectory() as work:
        start, cores = time.perf_counter(), time.process_time()
        frames = len(watch(task.video, how, search, Path(work)).faces.frames)
        cores, seconds = time.process_time() - cores, time.perf_counter() - start
    return Stages(clock.seconds, clock.cores, clock.times, frames, frames / seconds, cores / frames)


def _stages(task: Task, how: Measuring, clock: _Clock, search: Search) -> NDArray[np.float32]:
    """Go through the video frame by frame, one stage after the other; return the embeddings."""
    tracks, last = Tracks(), -np.inf
    vectors: list[NDArray[np.float32]] = []
    frames = iter(Video(task.video))
    while True:
        with clock("decode"):
            frame = next(frames, None)
        if frame is None:
            return np.concatenate(vectors)
        whole = []
        if begins_interval(last, frame.seconds, search.interval):
            with clock("find: whole frame"):
                whole = find_faces(frame.pixels, search.smallest, search.least_score)
        expected = np.array([track.expected(frame.seconds) for track in tracks.alive]).reshape(-1, 4)
        with clock("find: near tracks", len(expected)):
            near = find_near(frame.pixels, expected, search.continuing_score) if len(expected) else []
        found = together(whole, near)
        described = None
        if found and begins_interval(last, frame.seconds, search.embedding_interval):
            with clock("align", len(found)):
                seen = [_seen(how, frame.pixels, face.landmarks) for face in found]
            with clock("sharpness", len(found)):
                for face in seen:
                    sharpness(face)
            with clock("embed", len(found)):
                described = _embed(how, seen)
            vectors.append(described)
        with clock("follow"):
            boxes = np.array([face.box for face in found]).reshape(-1, 4)
            tracks = follow(tracks, frame.seconds, boxes, described).tracks
        last = frame.seconds


def _decisions(task: Task, vectors: NDArray[np.float32], clock: _Clock) -> None:
    """Search a gallery of random embeddings for one probe at a time, and decide."""
    draw = np.random.default_rng(0)
    gallery = draw.normal(size=(task.enrolled, vectors.shape[1])).astype(np.float32)
    with clock("open the gallery"):
        index = GallerySearch(gallery, np.arange(task.enrolled))
    names = [str(number) for number in range(task.enrolled)]
    calibration = _calibration()
    for row in range(min(_PROBES, len(vectors))):
        probe = _probe(vectors[row])
        with clock("search"):
            found = index.find(probe.vectors, CANDIDATES)
        with clock("decide"):
            decide(probe, found, names, task.enrolled, calibration, 0.01)


def _probe(vector: NDArray[np.float32]) -> FaceTable:
    measures = np.array([[40.0, 32.0, 1.0, 0.0]])
    one = ("",)
    return FaceTable({}, one, one, one, one, np.zeros((1, 5, 2)), np.zeros((1, 4)), measures, vector[None])


def _calibration() -> Calibration:
    sizes = (8.0, 16.0, 64.0)
    return Calibration(
        {}, {}, sizes, (0.3, 0.1, 0.0), (0.1,) * 3, (1.0,) * 3, (0.0,) * 3, (3.0, 1.0, 0.0), (0.8,) * 3,
        (0.1, 0.01), (1.3, 2.3), 0.1, 9.0,
    )  # fmt: skip


def _seen(how: Measuring, pixels: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    return aligned("", Path(), landmarks, how.embedder.preprocessing).preparation.apply(pixels)


def _embed(how: Measuring, faces: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    # Where the points are does not change what a network that takes them costs.
    points = np.tile(template_points(how.embedder.preprocessing.template, 1).astype(np.float32), (len(faces), 1, 1))
    return how.embedder.embed_faces(np.stack(faces), points)


def _model(task: Task) -> Measuring:
    if task.model:
        loaded = load_model(task.model, template=task.template, size=task.size)
    else:
        torch.manual_seed(0)
        backbone = build_backbone(task.backbone, task.size).eval()
        digest = hashlib.sha256(f"{task.backbone} {task.size}".encode()).hexdigest()
        loaded = LoadedBackbone(backbone, preprocessing(task.template, task.size), task.backbone, 0, None, digest)
    embedder = Embedder(loaded, device="cpu")
    return measuring(task.model, embedder, loaded, {}, aligned=False, least_score=0.9)
