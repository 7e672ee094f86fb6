"""Following: by examples with known truth, and by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.tracking.switches import Boxes, measure_following
from pipeline.tracking.tracker import Following, Tracks, follow, overlap


def square(x: float, y: float, side: float) -> list[float]:
    return [x - side / 2, y - side / 2, side, side]


def numbers_of(frames: list[list[list[float]]], rate: float = 10, **settings: float) -> list[tuple[int, ...]]:
    tracks, found = Tracks(), []
    for number, boxes in enumerate(frames):
        step = follow(tracks, number / rate, np.array(boxes).reshape(-1, 4), how=Following(**settings))
        tracks = step.tracks
        found.append(step.numbers)
    return found


def test_two_faces_that_cross_keep_their_numbers() -> None:
    """Where they meet only their velocities tell them apart; the order of boxes changes as they cross."""
    frames = [sorted([square(100 + 8 * t, 50, 20), square(260 - 8 * t, 54, 20)]) for t in range(21)]
    found = numbers_of(frames)
    assert found[0] == (0, 1)
    assert found[-1] == (1, 0)
    assert {number for numbers in found for number in numbers} == {0, 1}


def test_a_face_hidden_for_less_than_the_patience_goes_on_and_for_longer_begins_anew() -> None:
    def walk(hidden: range) -> list[list[list[float]]]:
        return [[] if t in hidden else [square(100 + 5 * t, 50, 20)] for t in range(30)]

    assert set(numbers_of(walk(range(10, 18)))) == {(0,), ()}
    assert set(numbers_of(walk(range(10, 25)))) == {(0,), (), (1,)}
    assert set(numbers_of(walk(range(10, 25)), patience=2)) == {(0,), ()}


def test_faces_that_look_different_are_not_joined_however_near() -> None:
    box, two = np.array([square(50, 50, 20)]), np.eye(4)[:2]
    first = follow(Tracks(), 0.0, box, two[:1])
    again = follow(first.tracks, 0.1, box, two[:1], Following(least_cosine=0.3))
    other = follow(first.tracks, 0.1, box, two[1:], Following(least_cosine=0.3))
    unknown = follow(first.tracks, 0.1, box, np.full((1, 4), np.nan), Following(least_cosine=0.3))
    assert (again.numbers, other.numbers, unknown.numbers) == ((0,), (1,), (0,))


def test_appearance_decides_between_places_that_are_alike() -> None:
    boxes = np.array([square(46, 50, 20), square(54, 50, 20)])
    first = follow(Tracks(), 0.0, boxes, np.eye(2))
    swapped = follow(first.tracks, 0.1, boxes + [0.1, 0, 0, 0], np.eye(2)[::-1], Following(appearance=0.9))
    assert swapped.numbers == (1, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 12), st.integers(0, 5))
def test_each_box_has_one_number_and_each_number_one_box(seed: int, frames: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    tracks, before = Tracks(), 0
    for frame in range(frames):
        boxes = np.hstack([rng.uniform(0, 60, (most, 2)), rng.uniform(5, 20, (most, 2))])[: rng.integers(0, most + 1)]
        step = follow(tracks, frame * 0.2, boxes)
        tracks = step.tracks
        assert len(set(step.numbers)) == len(boxes)
        assert len(tracks) >= before
        assert sorted(track.number for track in (*tracks.alive, *tracks.ended)) == list(range(len(tracks)))
        before = len(tracks)


def test_mistakes_are_refused() -> None:
    box = np.array([square(50, 50, 20)])
    with pytest.raises(ValueError, match="after one at"):
        follow(follow(Tracks(), 1.0, box).tracks, 1.0, box)
    with pytest.raises(ValueError, match="without a width"):
        follow(Tracks(), 0.0, np.zeros((1, 4)))
    with pytest.raises(ValueError, match="2 embeddings of 1 boxes"):
        follow(Tracks(), 0.0, box, np.eye(2))


def frame(**boxes: tuple[float, float]) -> Boxes:
    return Boxes(tuple(boxes), np.array([square(x, y, 20) for x, y in boxes.values()]).reshape(-1, 4))


def test_switches_misses_and_false_boxes_are_counted_as_by_hand() -> None:
    truth = [frame(ann=(50, 50), bob=(150, 50))] * 4
    found = [
        frame(a=(50, 50), b=(150, 50)),
        frame(a=(51, 50), c=(150, 52), d=(300, 50)),  # bob's track changes; d is nobody
        frame(a=(50, 51)),  # bob is missed
        frame(b=(50, 50), c=(150, 50)),  # ann's track changes
    ]
    measured = measure_following(truth, found)
    assert (measured.faces, measured.misses, measured.false, measured.switches) == (8, 1, 1, 2)
    assert measured.mota == pytest.approx(1 - 4 / 8)
    # ann: a in three frames, bob: c in two; five of eight boxes each
    assert measured.idf1 == pytest.approx(2 * 5 / (8 + 8))


def test_a_pair_goes_on_while_another_box_overlaps_more() -> None:
    found = [frame(a=(50, 50)), frame(a=(54, 50), b=(50, 50))]
    assert measure_following([frame(ann=(50, 50))] * 2, found).switches == 0


def test_perfect_following_has_no_fault_and_no_faces_no_score() -> None:
    truth = [frame(ann=(50 + t, 50), bob=(150, 50)) for t in range(5)]
    measured = measure_following(truth, truth)
    assert (measured.misses, measured.false, measured.switches, measured.mota, measured.idf1) == (0, 0, 0, 1.0, 1.0)
    assert np.isnan(measure_following([frame()], [frame()]).mota)


@given(st.integers(0, 99))
def test_overlap_is_that_of_counted_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.hstack([rng.integers(0, 15, (2, 2)), rng.integers(1, 10, (2, 2))]).astype(float)

    def mask(box: NDArray[np.float64]) -> NDArray[np.bool_]:
        left, top, width, height = box.astype(int)
        held = np.zeros((30, 30), dtype=bool)
        held[top : top + height, left : left + width] = True
        return held

    first, second = mask(boxes[0]), mask(boxes[1])
    assert overlap(boxes[:1], boxes[1:])[0, 0] == pytest.approx((first & second).sum() / (first | second).sum())
