"""Rendered videos of people who walk, with the truth of every frame: who is where, and who hides whom."""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.face import Painter
from pipeline.synthetic.identity import Identity, make_identity
from pipeline.synthetic.pose import Pose
from pipeline.synthetic.render import background, camera, light
from shards.writer import write_atomically

SIDES_OF_EYES_TO_MOUTH = 2.2
"""Width of a face, in distances from the middle of the eyes to the middle of the mouth."""
TRUTH_COLUMNS = [
    *("frame", "seconds", "person", "left", "top", "width", "height", "hidden"),
    *(f"{axis}{point}" for point in range(1, 6) for axis in "xy"),
]
_WALK_STREAM, _FRAME_STREAM = 3, 4
# Of a face's box: height over width, and its middle above that of the landmarks, in widths.
_TALL, _RAISED = 1.27, 0.09
# A head is painted with at least so many pixels between its eyes and then reduced.
_SMALLEST_DRAWN_EYE_DISTANCE = 36.0
# What a person covers around the middle of the eyes, in distances between the eyes: left, top, right, bottom.
_COVERED = (-3.2, -2.3, 3.2, 6.6)


@dataclass(frozen=True)
class Walk:
    """How a person moves through a video, from one place and size to another at constant speed.

    Attributes:
        name: of the person in the truth.
        person: number of the identity.
        widths: of the face in pixels, at the first and the last moment; who walks up nears at constant speed, so that
            one over the width changes evenly.
        across: x of the middle of the eyes at these moments, in widths of the picture; beyond 0..1 is outside.
        times: seconds at which the person comes and is gone.
    """

    name: str
    person: int
    widths: tuple[float, float]
    across: tuple[float, float]
    times: tuple[float, float]


@dataclass(frozen=True)
class WalkVideo:
    """A video to render.

    Attributes:
        path: below the output folder, ends in .avi (motion JPEG); the truth lies beside it as .csv: of each person in
            each frame whose face's middle is in the picture, the box, which share of it a nearer person hides, and
            the landmarks, all in pixels.
        walks: of the people in it.
        number: of the video, for what is its own.
        width: of the picture in pixels.
        height: of the picture in pixels.
        rate: frames a second.
        seconds: length.
    """

    path: str
    walks: tuple[Walk, ...]
    number: int
    width: int = 1280
    height: int = 720
    rate: float = 12.5
    seconds: float = 10.0


@dataclass(frozen=True)
class _Seen:
    """A person in a frame: whose walk, the pose in the frame, and the true box (4,) and landmarks (5, 2)."""

    walk: Walk
    identity: Identity
    pose: Pose
    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]


def plan_walks(videos: int, names: list[tuple[str, int]], seed: int, seconds: float = 10.0) -> list[tuple[Walk, ...]]:
    """Plan who walks how in each video: some walk up from 8 to 60 pixels, two cross each other, one leaves.

    Args:
        videos: how many.
        names: name and number of the identity of each person; they are shared out in turn.
        seed: of everything.
        seconds: length of a video.

    Returns:
        the walks of each video.
    """
    planned = []
    for number in range(videos):
        people = names[number::videos]
        rng = np.random.default_rng(np.random.SeedSequence((seed, _WALK_STREAM, number)))
        walks = []
        for place, (name, person) in enumerate(people):
            kind = ("up", "cross", "cross back", "leave")[place % 4]
            lane = (0.15 + 0.7 * rng.random(), 0.15 + 0.7 * rng.random())
            # More than four come one after the other.
            begin = seconds * 0.25 * (place // 4) / max(1, len(people) // 4)
            if kind == "up":
                walks.append(Walk(name, person, (8, 60), lane, (begin, seconds)))
            elif kind == "leave":
                away = -0.1 if lane[0] < 0.5 else 1.1
                walks.append(Walk(name, person, (20, 50), (lane[0], away), (begin, seconds * 0.8)))
            else:
                # Both of a pair have nearly one size, so that neither is told from the other by it.
                width = float(rng.uniform(18, 36))
                sides = (0.1, 0.9) if kind == "cross" else (0.9, 0.1)
                walks.append(Walk(name, person, (width, width * 1.1), sides, (begin, seconds)))
        planned.append(tuple(walks))
    return planned


def write_walk_video(out: Path, video: WalkVideo, seed: int) -> int:
    """Render a video and the truth beside it; return the number of frames. The same seed gives the same bytes.

    Raises:
        OSError: OpenCV cannot write the file.
    """
    cv2.setNumThreads(1)
    target = out / video.path
    target.parent.mkdir(parents=True, exist_ok=True)
    scene = np.random.default_rng(np.random.SeedSequence((seed, _FRAME_STREAM, video.number)))
    empty = background(scene, video.width, video.height)
    frames = max(1, round(video.seconds * video.rate))
    people = {walk.person: make_identity(seed, walk.person) for walk in video.walks}
    unfinished = target.with_name(f".{target.name}.part.avi")
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"MJPG"), video.rate, (video.width, video.height))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {unfinished}")
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 90)
    rows: list[list[object]] = []
    for frame in range(frames):
        seconds = frame / video.rate
        seen = _in_frame(video, people, seconds, seed)
        picture = _frame(empty, seen, seed, video.number, frame)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        rows += [_row(frame, seconds, seen, place) for place in range(len(seen)) if _inside(seen[place], video)]
    writer.release()
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([TRUTH_COLUMNS, *rows])
    write_atomically(target.with_suffix(".csv"), text.getvalue().encode())
    unfinished.replace(target)
    return frames


def true_box(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the box (4,), left, top, width, height, of a face by its landmarks (5, 2)."""
    width = SIDES_OF_EYES_TO_MOUTH * float(np.linalg.norm(landmarks[:2].mean(axis=0) - landmarks[3:].mean(axis=0)))
    middle = landmarks.mean(axis=0) - (0, _RAISED * width)
    size = np.array([width, _TALL * width])
    return np.concatenate([middle - size / 2, size])


def _in_frame(video: WalkVideo, people: dict[int, Identity], seconds: float, seed: int) -> list[_Seen]:
    """Return who is there at a moment, the farthest first."""
    found = []
    for walk in video.walks:
        begin, end = walk.times
        if not begin <= seconds <= end:
            continue
        part = (seconds - begin) / max(end - begin, 1e-9)
        width = 1 / ((1 - part) / walk.widths[0] + part / walk.widths[1])
        # What lies at constant speed in the scene moves in the picture as the width grows.
        moved = part * width / walk.widths[1]
        x = video.width * (walk.across[0] + (walk.across[1] - walk.across[0]) * moved)
        identity = people[walk.person]
        pose = _pose(walk, identity, seconds, (x, 0.3 * video.height + 1.2 * width), width, seed)
        landmarks = pose.landmarks(identity)
        found.append(_Seen(walk, identity, pose, true_box(landmarks), landmarks))
    return sorted(found, key=lambda seen: seen.pose.scale)


def _pose(walk: Walk, identity: Identity, seconds: float, centre: tuple[float, float], width: float, seed: int) -> Pose:
    """Return how a walking head stands: it nods with the steps and turns slowly."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, _WALK_STREAM, walk.person, 1)))
    phase, pace = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.15, 0.35, 6)
    turn = np.sin(phase + 2 * np.pi * pace * seconds)
    step = np.sin(2 * np.pi * 1.9 * seconds + phase[0])
    eyes = width / (SIDES_OF_EYES_TO_MOUTH * identity.mouth_drop)
    return Pose(
        scale=eyes,
        centre=(centre[0], centre[1] + 0.08 * eyes * step),
        yaw=float(np.deg2rad(14 * turn[0])),
        pitch=float(np.deg2rad(5 * turn[1])),
        roll=float(np.deg2rad(3 * turn[2])),
        smile=float(0.2 + 0.3 * turn[3]),
        mouth_open=float(max(0.0, 0.5 * turn[4])),
        eyes_open=0.85,
        gaze=(0.1 * float(turn[5]), 0.0),
    )


def _frame(empty: NDArray[np.uint8], seen: list[_Seen], seed: int, video: int, frame: int) -> NDArray[np.uint8]:
    """Paint people into the empty scene, light it, and take it with a camera."""
    picture = empty.copy()
    for one in seen:
        _paint(picture, one, seed)
    lit = light(picture, np.random.default_rng(np.random.SeedSequence((seed, _FRAME_STREAM, video, 1))), 0.8)
    return camera(lit, np.random.default_rng(np.random.SeedSequence((seed, _FRAME_STREAM, video, 2, frame))), 0.8)


def _paint(picture: NDArray[np.uint8], one: _Seen, seed: int) -> None:
    """Paint a person into the part of the picture that it covers, enlarged and then reduced as a camera does."""
    scale, (x, y) = one.pose.scale, one.pose.centre
    height, width = picture.shape[:2]
    left, top = max(0, int(x + _COVERED[0] * scale)), max(0, int(y + _COVERED[1] * scale))
    right, bottom = min(width, int(x + _COVERED[2] * scale) + 1), min(height, int(y + _COVERED[3] * scale) + 1)
    if left >= right or top >= bottom:
        return
    part = picture[top:bottom, left:right]
    factor = max(1, int(np.ceil(_SMALLEST_DRAWN_EYE_DISTANCE / scale)))
    large = np.repeat(np.repeat(part, factor, axis=0), factor, axis=1)
    centre = ((x - left + 0.5) * factor - 0.5, (y - top + 0.5) * factor - 0.5)
    pose = replace(one.pose, scale=scale * factor, centre=centre)
    # Hair line and clothes are drawn anew for each frame from the same numbers: they stay what they are.
    rng = np.random.default_rng(np.random.SeedSequence((seed, _WALK_STREAM, one.walk.person, 2)))
    Painter(large, one.identity, pose, rng).paint()
    part[:] = cv2.resize(large, part.shape[1::-1], interpolation=cv2.INTER_AREA)


def _inside(one: _Seen, video: WalkVideo) -> bool:
    """Return whether the middle of a face lies in the picture."""
    x, y = one.box[:2] + one.box[2:] / 2
    return bool(0 <= x < video.width and 0 <= y < video.height)


def _row(frame: int, seconds: float, seen: list[_Seen], place: int) -> list[object]:
    """Return the row of the truth of a person in a frame; whoever comes later is nearer and hides those before."""
    one = seen[place]
    nearer = [_head(other) for other in seen[place + 1 :]]
    rows, columns = np.mgrid[0:1:16j, 0:1:16j]
    x, y = one.box[0] + columns * one.box[2], one.box[1] + rows * one.box[3]
    hidden = np.zeros(x.shape, dtype=bool)
    for left, top, right, bottom in nearer:
        hidden |= (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return [
        frame,
        f"{seconds:.3f}",
        one.walk.name,
        *(f"{value:.2f}" for value in one.box),
        f"{hidden.mean():.3f}",
        *(f"{value:.2f}" for value in one.landmarks.ravel()),
    ]


def _head(one: _Seen) -> tuple[float, float, float, float]:
    """Return about what a person's head and shoulders hide: left, top, right, bottom."""
    scale, (x, y) = one.pose.scale, one.pose.centre
    return x - 1.3 * scale, y - 1.4 * scale, x + 1.3 * scale, y + 6.6 * scale
