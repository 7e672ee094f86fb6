"""Rendered walks: the truth is where the faces are, and following it keeps who is who."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.synthetic.video_layout import video
from pipeline.synthetic.walks import TRUTH_COLUMNS, Walk, WalkVideo, plan_walks, true_box, write_walk_video
from pipeline.tracking.switches import Boxes, measure_following
from pipeline.tracking.tracker import Tracks, follow
from pipeline.tracking.video import Video

UP, CROSS, BACK = (
    Walk("up", 1, (8, 60), (0.2, 0.3), (0.0, 2.0)),
    Walk("cross", 2, (22, 24), (0.1, 0.9), (0.0, 2.0)),
    Walk("back", 3, (21, 23), (0.9, 0.1), (0.0, 2.0)),
)
SMALL = WalkVideo("walks/a.avi", (UP, CROSS, BACK), 0, width=480, height=270, rate=10, seconds=2)


def truth_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_truth_has_every_face_and_the_seed_gives_the_bytes(tmp_path: Path) -> None:
    assert write_walk_video(tmp_path / "a", SMALL, 1) == write_walk_video(tmp_path / "b", SMALL, 1) == 20
    for name in ("walks/a.avi", "walks/a.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = truth_of(tmp_path / "a" / "walks" / "a.csv")
    assert list(rows[0]) == TRUTH_COLUMNS
    assert len(rows) == 60
    widths = [float(row["width"]) for row in rows if row["person"] == "up"]
    # The width is that of a frontal face; a nod makes it look a little shorter.
    assert 7 < widths[0] < 8.5 and 40 < widths[-1] < 62
    points = np.array([[float(rows[0][f"{axis}{point}"]) for axis in "xy"] for point in range(1, 6)])
    box = [float(rows[0][name]) for name in ("left", "top", "width", "height")]
    np.testing.assert_allclose(true_box(points), box, atol=0.1)
    # The two who cross hide each other for a while.
    assert max(float(row["hidden"]) for row in rows) > 0.5
    frames = list(Video(tmp_path / "a" / "walks" / "a.avi"))
    assert [frame.number for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 10, atol=1e-6)
    assert frames[0].pixels.shape == (270, 480, 3)


def test_faces_are_where_the_truth_has_them(tmp_path: Path) -> None:
    """The difference to a video without the person lies around the box, and nowhere else."""
    alone = replace(SMALL, walks=(replace(UP, widths=(40, 60)),), seconds=0.1)
    write_walk_video(tmp_path / "with", alone, 1)
    write_walk_video(tmp_path / "without", replace(alone, walks=()), 1)
    first, second = (
        next(iter(Video(tmp_path / name / "walks" / "a.avi"))).pixels.astype(int) for name in ("with", "without")
    )
    (row,) = truth_of(tmp_path / "with" / "walks" / "a.csv")
    left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
    changed = np.abs(first - second).max(axis=2) > 20
    inside = changed[int(top) : int(top + height), int(left + width / 4) : int(left + 3 * width / 4)]
    assert inside.mean() > 0.8
    assert not changed[:, : int(left - 1.5 * width)].any()
    assert not changed[:, int(left + 2.5 * width) :].any()


@pytest.mark.slow
def test_following_the_true_boxes_keeps_everybody(tmp_path: Path) -> None:
    """At ten frames a second, each box off by a twentieth of its width, and hidden faces not found."""
    write_walk_video(tmp_path, SMALL, 2)
    rows = truth_of(tmp_path / "walks" / "a.csv")
    rng = np.random.default_rng(0)
    truth, found, tracks = [], [], Tracks()
    for frame in range(20):
        seen = [row for row in rows if row["frame"] == str(frame) and float(row["hidden"]) < 0.5]
        boxes = np.array([[float(row[name]) for name in ("left", "top", "width", "height")] for row in seen])
        truth.append(Boxes(tuple(row["person"] for row in seen), boxes))
        noisy = boxes + boxes[:, 2:3] * rng.normal(0, 0.05, boxes.shape)
        step = follow(tracks, frame / 10, noisy)
        tracks = step.tracks
        found.append(Boxes(step.numbers, noisy))
    measured = measure_following(truth, found)
    assert (measured.switches, measured.tracks, measured.misses) == (0, 3, 0)


def test_people_are_shared_out_and_some_are_strangers() -> None:
    layout = video(9, 2, 0)
    assert len(layout.videos) == 3
    walking = [walk.name for one in layout.videos for walk in one.walks]
    assert len(set(walking)) == len(walking) == 9
    enrolled = {job.path.split("/")[2] for job in layout.jobs}
    assert len(enrolled) == 6 and enrolled < set(walking)
    assert plan_walks(3, [("a", 1)] * 9, 0) == plan_walks(3, [("a", 1)] * 9, 0) != plan_walks(3, [("a", 1)] * 9, 1)


def test_a_cut_off_video_is_counted_and_what_is_none_is_refused(tmp_path: Path) -> None:
    from shards.command import UserError

    write_walk_video(tmp_path, replace(SMALL, walks=()), 1)
    path = tmp_path / "walks" / "a.avi"
    whole = Video(path)
    assert (len(list(whole)), whole.fault()) == (20, "")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = Video(path)
    read = len(list(cut))
    assert 0 < read < 20
    assert cut.fault() == f"cut off: {read} of 20 frames could be read"
    for content, told in ((b"", "is empty"), (b"no video", "no video"), (b"RIFF\x00\x00\x00\x00AVI ", "no video")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=told):
            list(Video(path))
    with pytest.raises(UserError, match="no file"):
        Video(tmp_path / "none.avi")


@pytest.mark.parametrize("code,name", [("mp4v", "a.mp4"), ("MJPG", "b.avi")])
def test_frames_of_other_containers_come_with_their_times(tmp_path: Path, code: str, name: str) -> None:
    writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*code), 8, (64, 48))
    for level in range(0, 240, 40):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    frames = list(Video(tmp_path / name))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(6) / 8, atol=1e-3)
    np.testing.assert_allclose([frame.pixels.mean() for frame in frames], np.arange(0, 240, 40), atol=6)
