"""The benchmark of alignment, `python -m pipeline.bench shard`: ways to do it in turn, and where the time goes."""

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pipeline.alignment.align import WARP, align, cut_by, similarity, template_points
from pipeline.benchmarks.runner import in_fresh_process, in_rounds, print_table, ratios, spread, write_figures
from pipeline.jobs.executors import prepare_processes
from pipeline.pixels.photo import decode_needed
from pipeline.sharding.plan import Plan, Settings, TarContents
from pipeline.sharding.run import shard
from pipeline.sharding.tar_job import Job, Origin, make_tar
from pipeline.sharding.tar_record import WORK
from pipeline.sources.datasets import vggface2
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from shards.cores import usable_cores

OURS = "this stage"
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
_RENDERED_PEOPLE, _RENDERED_PHOTOS = 60, 10


def bench_shard(options: Any) -> None:
    """Measure the full stage against a bare loop and against the usual way."""
    if (options.root is None) != (options.landmarks is None):
        raise UserError("give both --root and --landmarks, or neither to measure with rendered people")
    if options.root is not None and options.around != 1:
        raise UserError("--around is for rendered photos; leave out --root and --landmarks")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        root, landmarks = _photos(options, Path(scratch))
        task = ShardTask(root, landmarks, options.size, options.workers)
        rates = in_rounds(
            WAYS,
            options.rounds,
            lambda way, _: in_fresh_process(measure, way, task),
            lambda rate: f"{rate:,.0f} photos/s",
        )
        parts = in_fresh_process(time_by_part, task)
    print_table(
        ("", "photos/s", f"{OURS} / this: median (min to max)"),
        [
            (way, f"{median(measured):,.0f}", str(spread(ratios(rates[OURS], measured))))
            for way, measured in rates.items()
        ],
    )
    whole = sum(parts.values())
    print_table(
        ("one worker's time", "us/photo", "%"),
        [(part, f"{cost:,.0f}", f"{100 * cost / whole:.0f}") for part, cost in parts.items()],
    )
    about = {
        "photos": options.photos,
        "times VGGFace2's side": options.around,
        "size": options.size,
        "workers": options.workers,
        "cores": usable_cores(),
    }
    print(
        f"{options.photos:,} photos of {options.around} times VGGFace2's side to {options.size} x {options.size} "
        f"pixels, {options.workers} workers, {usable_cores()} cores"
    )
    write_figures(options.out, "shard.json", {**about, "photos_per_second": rates, "microseconds_by_part": parts})


def _photos(options: Any, scratch: Path) -> tuple[Path, Path]:
    root, landmarks = options.root, options.landmarks
    if root is None:
        write_dataset(scratch, "vggface2", identities=_RENDERED_PEOPLE, photos=_RENDERED_PHOTOS, seed=0)
        root = scratch / "VGGFace2"
        landmarks = root / "bb_landmark" / "loose_landmark_train.csv"
        if options.around > 1:
            surround_photos(root / "train", landmarks, options.around)
        return repeat_photos(root, landmarks, options.photos, scratch / "repeated")
    return root, landmarks


@dataclass(frozen=True)
class ShardTask:
    """What every way is asked to do: align all photos of a VGGFace2 folder to JPEG faces of quality 95.

    Attributes:
        root: of the data set.
        landmarks: its list.
        size: side of a face in pixels.
        workers: processes.
        seconds: that the loop and the usual way may take, which need not go through all photos.
    """

    root: Path
    landmarks: Path
    size: int
    workers: int
    seconds: float = 10.0

    def settings(self) -> Settings:
        """Return the settings of the full stage."""
        return Settings(size=self.size, min_tars=4 * self.workers)


def bare_loop(task: ShardTask) -> float:
    """Return the photos per second of a loop of OpenCV on one core: read, decode, warp, encode."""
    contents = _one_tar(task)
    target = template_points("paper", task.size)
    start, done = time.perf_counter(), 0
    for path, landmarks in zip(contents.paths, contents.landmarks, strict=True):
        photo = cv2.imdecode(np.fromfile(task.root / path, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert photo is not None
        to_face = cv2.invertAffineTransform(similarity(target, landmarks))
        cv2.imencode(".jpg", cv2.warpAffine(photo, to_face, (task.size, task.size), flags=cv2.INTER_CUBIC), _QUALITY)
        done += 1
        if time.perf_counter() - start > task.seconds:
            break
    return done / (time.perf_counter() - start)


def bare_loop_times_workers(task: ShardTask, out: Path) -> float:
    """Return the rate of the loop on one core times the number of workers, which no real machine reaches."""
    del out
    return task.workers * bare_loop(task)


def this_stage(task: ShardTask, out: Path) -> float:
    """Return the photos per second of the full stage, from reading the list to the finished folder."""
    start = time.perf_counter()
    prepare_processes()
    plan = Plan(vggface2(task.root, [task.landmarks]), task.settings())
    manifest, _ = shard(plan, out / "shards", workers=task.workers)
    return manifest.photos / (time.perf_counter() - start)


class _Photos(Dataset[tuple[str, NDArray[np.uint8]]]):
    """One item a photo: its name and its aligned face."""

    def __init__(self, task: ShardTask) -> None:
        self._task, self._contents = task, _one_tar(task)

    def __len__(self) -> int:
        return len(self._contents.paths)

    def __getitem__(self, item: int) -> tuple[str, NDArray[np.uint8]]:
        cv2.setNumThreads(1)
        photo = cv2.imread(str(self._task.root / self._contents.paths[item]))
        assert photo is not None
        face = align(photo.astype(np.uint8, copy=False), self._contents.landmarks[item], self._task.size)
        return self._contents.paths[item], face


def loose_files(task: ShardTask, out: Path) -> float:
    """Return the rate of the usual way: a torch DataLoader of one photo an item, faces saved as loose files."""
    start = time.perf_counter()
    items = DataLoader(_Photos(task), batch_size=None, num_workers=task.workers)
    done = 0
    for path, face in items:
        place = out / "loose" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), face.numpy() if hasattr(face, "numpy") else face, _QUALITY)
        done += 1
        if time.perf_counter() - start > task.seconds:
            break
    return done / (time.perf_counter() - start)


WAYS: dict[str, Callable[[ShardTask, Path], float]] = {
    "OpenCV loop, one core x workers": bare_loop_times_workers,
    OURS: this_stage,
    "DataLoader, loose files": loose_files,
}


def measure(way: str, task: ShardTask) -> float:
    """Run one way in this process, writing to a folder that is removed afterwards; return photos per second."""
    cv2.setNumThreads(1)
    with _scratch() as out:
        return WAYS[way](task, out)


def time_by_part(task: ShardTask, photos: int = 2_000) -> dict[str, float]:
    """Return where the time of one worker goes, in microseconds a photo, over some photos in turn."""
    cv2.setNumThreads(1)
    contents = _one_tar(task, photos)
    form = task.settings().face_format()
    ends = np.zeros((len(contents.paths), 6))
    for row, (path, landmarks) in zip(ends, zip(contents.paths, contents.landmarks, strict=True), strict=True):
        row[0] = time.perf_counter()
        data = (task.root / path).read_bytes()
        row[1] = time.perf_counter()
        cut = cut_by(landmarks, task.size, "paper", WARP)
        row[2] = time.perf_counter()
        photo = decode_needed(data, cut.needed())
        row[3] = time.perf_counter()
        face = cut.face(photo)
        row[4] = time.perf_counter()
        cv2.imencode(".jpg", face, _QUALITY)
        row[5] = time.perf_counter()
    # (photos, 6) moments -> (5,) seconds
    spent = dict(zip(("read", "fit", "decode", "warp", "encode"), np.diff(ends).sum(axis=0).tolist(), strict=True))
    with _scratch() as out:
        job = Job((Origin("vggface2", task.root, "landmarks"),), out, out, form, 1)
        (out / WORK).mkdir()
        start = time.perf_counter()
        make_tar(contents, job)
        whole = time.perf_counter() - start
    spent["checksums, tar, index, sync"] = max(whole - sum(spent.values()), 0.0)
    return {part: 1e6 * seconds / len(contents.paths) for part, seconds in spent.items()}


def _one_tar(task: ShardTask, photos: int | None = None) -> TarContents:
    """Return the photos of the list, or the first of them, as one piece of work."""
    plan = Plan(vggface2(task.root, [task.landmarks]), Settings(size=task.size, min_photos=1, tar_mb=1 << 20))
    contents = plan.tar_contents(0)
    plan.records.close()
    few = slice(photos)
    return TarContents(
        0,
        contents.labels[few],
        contents.sources[few],
        contents.identities[few],
        contents.paths[few],
        contents.positions[few],
        contents.landmarks[few],
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def surround_photos(root: Path, landmarks: Path, times: int) -> None:
    """Make the side of every photo so many times larger by its mirror images, and move its landmarks accordingly."""
    listed = pd.read_csv(landmarks)
    for row, name in enumerate(listed.iloc[:, 0]):
        photo = cv2.imread(str(root / f"{name}.jpg"))
        assert photo is not None
        height, width = photo.shape[:2]
        before = (times - 1) // 2, times - 1 - (times - 1) // 2
        sides = ((before[0] * height, before[1] * height), (before[0] * width, before[1] * width), (0, 0))
        cv2.imwrite(str(root / f"{name}.jpg"), np.pad(photo, sides, mode="symmetric"))
        listed.iloc[row, 1::2] += before[0] * width
        listed.iloc[row, 2::2] += before[0] * height
    listed.to_csv(landmarks, index=False)


def repeat_photos(root: Path, landmarks: Path, photos: int, out: Path) -> tuple[Path, Path]:
    """Make a data set of many photos out of a small one by hard links; return its root and its list."""
    lines = landmarks.read_text(encoding="utf-8").splitlines()
    rows = [line.split(",", 1) for line in lines[1:]]
    listed = [lines[0]]
    for number, (name, points) in enumerate(itertools.islice(itertools.cycle(rows), photos)):
        person, photo = name.strip('"').split("/")
        again = f"{person}-{number // len(rows):04d}"
        place = out / "train" / again / f"{photo}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(root / "train" / person / f"{photo}.jpg")
        listed.append(f'"{again}/{photo}",{points}')
    path = out / "list.csv"
    path.write_text("\n".join(listed) + "\n", encoding="utf-8")
    return out, path
