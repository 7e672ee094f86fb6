"""Bad photos of a gallery are found, each for its own reason, and good ones kept."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import gallery, identify
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.health import PhotoHealth, gallery_health
from evaluation.enrolled.usual_scores import confusing_side, usual_limit
from evaluation.metrics.identification import cosines


def never(one: int, two: int) -> bool:
    return False


def drawn(people: Sequence[str], seed: int = 0, spread: float = 0.3) -> np.ndarray:
    """Embeddings of 32 numbers: one direction a person, and noise."""
    centres = {name: np.random.default_rng([seed, *name.encode()]).normal(size=32) for name in people}
    noise = np.random.default_rng([seed, 1]).normal(size=(len(people), 32))
    return (np.array([centres[name] for name in people]) + spread * noise).astype(np.float32)


def table_of(people: Sequence[str], vectors: np.ndarray, sides: Sequence[float] | None = None) -> FaceTable:
    count = len(people)
    measures = np.ones((count, 4))
    measures[:, 0] = 100 if sides is None else sides
    measures[:, 1] = 80
    photos = tuple(f"/g/{person}/{row}.jpg" for row, person in enumerate(people))
    texts = tuple(str(row) for row in range(count))
    empty = np.full((count, 5, 2), np.nan)
    return FaceTable({}, tuple(people), photos, texts, texts, empty, np.zeros((count, 4)), measures, vectors)


PEOPLE = [name for name in "abcdefgh" for _ in range(4)]


def advice(found: Sequence[PhotoHealth]) -> dict[int, str]:
    return {row: one.advice for row, one in enumerate(found) if one.advice != "keep"}


@pytest.mark.slow
@given(seed=st.integers(0, 1000))
def test_figures_are_those_of_a_slow_loop(seed: int) -> None:
    people = sorted(np.random.default_rng(seed).choice(list("abcd"), 9).tolist())
    vectors = drawn(people, seed, spread=1.5)
    found = gallery_health(table_of(people, vectors), never, 0)
    scores = cosines(vectors, vectors)
    units = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    nearest = []
    for row, person in enumerate(people):
        others = [one for one in range(9) if people[one] != person]
        own = [one for one in range(9) if people[one] == person and one != row]
        assert np.isnan(found[row].own) == (not own)
        if own:
            mean = units[own].mean(axis=0)
            assert found[row].own == pytest.approx(units[row] @ mean / np.linalg.norm(mean))
        best = max(others, key=lambda one, row=row: (scores[row, one], -one), default=-1)
        assert found[row].other_row == best
        nearest.append(best)
        assert found[row].norm == pytest.approx(np.linalg.norm(vectors[row]))
    assert [one.hub for one in found] == [nearest.count(row) for row in range(9)]


def test_a_good_gallery_is_kept() -> None:
    assert advice(gallery_health(table_of(PEOPLE, drawn(PEOPLE)), never, 20)) == {}


def test_a_photo_of_another_enrolled_person_is_left_out() -> None:
    vectors = drawn(PEOPLE)
    vectors[5] = vectors[20] + 0.05
    found = gallery_health(table_of(PEOPLE, vectors), never, 20)
    assert advice(found) == {5: "leave out"}
    assert "nearer to another person" in found[5].reasons[0] and "f/20.jpg" in found[5].reasons[0]


def test_a_photo_of_a_stranger_is_left_out_where_the_others_agree() -> None:
    vectors = drawn(PEOPLE)
    vectors[5] = drawn(["z"])[0]
    assert advice(gallery_health(table_of(PEOPLE, vectors), never, 20)) == {5: "leave out"}
    # Of two photos either may be the wrong one.
    two = [row for row in range(len(PEOPLE)) if row not in (6, 7)]
    found = gallery_health(table_of([PEOPLE[row] for row in two], vectors[two]), never, 20)
    assert advice(found) == {4: "look at", 5: "look at"}


def test_small_photos_are_left_out_and_those_small_for_the_gallery_looked_at() -> None:
    sides = [100.0] * len(PEOPLE)
    sides[3], sides[9] = 12, 30
    found = gallery_health(table_of(PEOPLE, drawn(PEOPLE), sides), never, 20)
    assert advice(found) == {3: "leave out", 9: "look at"}
    assert found[3].reasons == ("its face is 12 pixels; below 20 this model takes people for one another",)


def test_of_copies_the_larger_is_kept_and_another_person_s_left_out() -> None:
    vectors = drawn(PEOPLE)
    sides = [100.0] * len(PEOPLE)
    vectors[1], sides[0] = vectors[0], 60
    vectors[9] = vectors[24]
    found = gallery_health(table_of(PEOPLE, vectors, sides), lambda one, two: {one, two} in ({0, 1}, {9, 24}), 20)
    assert advice(found) == {0: "leave out", 9: "leave out"}
    assert found[0].reasons == ("the same picture as a/1.jpg",)
    assert found[24].copies == (9,)


def test_a_copy_under_two_names_with_one_photo_each_is_looked_at() -> None:
    vectors = drawn(["a", "b", "c"])
    vectors[1] = vectors[0]
    found = gallery_health(table_of(["a", "b", "c"], vectors), lambda one, two: {one, two} == {0, 1}, 20)
    assert advice(found) == {0: "look at", 1: "look at"}


def test_a_hub_is_looked_at() -> None:
    people = [name for name in "abcdefghijkl" for _ in range(3)]
    vectors = drawn(people)
    centre = vectors[3:].mean(axis=0)
    vectors[3:] += 0.8 * centre / np.linalg.norm(centre) * np.linalg.norm(vectors[3:], axis=1, keepdims=True)
    vectors[0] = vectors[0] + 4 * centre / np.linalg.norm(centre) * np.linalg.norm(vectors[0])
    found = gallery_health(table_of(people, vectors), never, 20)
    assert found[0].hub > 10 and found[0].advice != "keep"
    assert any("photos of other people" in reason for reason in found[0].reasons)


def test_a_gallery_of_one_person_and_of_one_photo() -> None:
    found = gallery_health(table_of(["a", "a"], drawn(["a", "a"])), never, 20)
    assert [one.advice for one in found] == ["keep", "keep"] and np.isnan(found[0].other)
    alone = gallery_health(table_of(["a"], drawn(["a"])), never, 20)[0]
    assert alone.advice == "keep" and np.isnan(alone.own) and alone.hub == 0


def test_confusing_side_is_where_strangers_stop_being_alike() -> None:
    full = drawn(PEOPLE)
    shared = 40 * np.random.default_rng(1).normal(size=32).astype(np.float32)
    reduced = {8: full + shared, 16: full + shared / 4, 24: full + shared / 1000}
    assert confusing_side(reduced, full, PEOPLE) == 24
    assert confusing_side({8: full + shared}, full, PEOPLE) == 8
    assert confusing_side(reduced, full, ["a"] * len(PEOPLE)) == 0
    assert usual_limit(np.array([0.2, 0.2, 0.2, 0.95])) == pytest.approx(0.2)


@pytest.mark.slow
def test_the_command_finds_what_was_put_in_and_identify_takes_its_list(
    people: Callable[..., Path],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = people("gallery", Anna=3, Bert=3, Cleo=3, Dora=3)
    (folder / "Bert" / "wrong.png").write_bytes((folder / "Dora" / "0.png").read_bytes())
    picture = cv2.imread(str(folder / "Cleo" / "0.png"))
    # The same picture, darker, in another file.
    cv2.imwrite(str(folder / "Cleo" / "copy.png"), (0.9 * picture).astype(np.uint8))
    out = tmp_path / "out"
    words = ["--model", str(checkpoint), "--aligned", "--gallery", str(folder), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["gallery", *words])
    gallery.main()
    assert "page " in capsys.readouterr().out
    told = {photo["photo"]: photo for photo in json.loads((out / "gallery.json").read_text())["photos"]}
    wrong = told[str(folder / "Bert" / "wrong.png")]
    assert wrong["advice"] == "leave out" and wrong["copies"] == ["Dora/0.png"]
    pair = {told[str(folder / "Cleo" / name)]["advice"] for name in ("0.png", "copy.png")}
    assert "leave out" in pair
    assert all(
        (out / name).stat().st_mode & 0o777 == 0o600 for name in ("gallery.html", "gallery.csv", "leave-out.txt")
    )
    listed = (out / "leave-out.txt").read_text()
    # Enrolling says the same.
    monkeypatch.setattr(sys, "argv", ["identify", *words[:-1], str(tmp_path / "new")])
    identify.main()
    assert (tmp_path / "new" / "leave-out.txt").read_text() == listed
    assert "of the gallery's photos" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["identify", *words, "--leave-out", str(out / "leave-out.txt")])
    identify.main()
    left = sum(photo["advice"] == "leave out" for photo in told.values())
    assert f"4 people, {len(told) - left} photos" in capsys.readouterr().out
