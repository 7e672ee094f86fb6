"""Whom an adaptation is tested on: never trained on, the same for the same seed, and in folders of their own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.command import UserError
from training.adaptation.people_set_aside import (
    CROPS,
    GALLERY,
    LIST,
    PROBES,
    STRANGERS,
    Photos,
    set_people_aside,
    usable_photos,
    write_test_folders,
)


def people(count: int, photos: int = 3) -> dict[str, list[str]]:
    return {f"p{number}": [f"p{number}/{photo}.jpg" for photo in range(photos)] for number in range(count)}


@given(st.integers(4, 60), st.floats(0.05, 0.6), st.integers(0, 9))
def test_everyone_is_either_trained_on_or_tested(count: int, share: float, seed: int) -> None:
    able = people(count)
    if count - max(2, round(share * count)) < 2:
        return
    chosen = set_people_aside({**able, "single": ["single/0.jpg"]}, share, seed)
    assert sorted([*chosen.people, *chosen.trained]) == sorted(able)
    assert not set(chosen.known) & set(chosen.strangers)
    assert len(chosen.people) == max(2, round(share * count))
    assert chosen == set_people_aside(able, share, seed)


def test_more_people_leave_most_of_the_choice_as_it_was() -> None:
    before, after = (set(set_people_aside(people(count), 0.25, 0).people) for count in (40, 44))
    assert len(before & after) >= 8
    assert set(set_people_aside(people(40), 0.25, 1).people) != before


def test_a_third_of_six_are_strangers_and_none_of_five() -> None:
    assert len(set_people_aside(people(24), 0.25, 0).strangers) == 2
    assert not set_people_aside(people(20), 0.25, 0).strangers


def test_too_few_people_are_counted() -> None:
    with pytest.raises(UserError, match="3 people with two usable photos or more; an adaptation takes 2 people to"):
        set_people_aside({**people(3), "single": ["single/0.jpg"]}, 0.25, 0)


def test_photos_without_a_face_or_a_person_are_not_used() -> None:
    found = [("b", "b/2.jpg"), ("b", "b/1.jpg"), ("", "loose.jpg"), ("a", "a/1.jpg")]
    assert usable_photos(found, {"b/2.jpg", "b/1.jpg", "loose.jpg"}) == {"b": ["b/1.jpg", "b/2.jpg"]}
    assert usable_photos(found, None) == {"a": ["a/1.jpg"], "b": ["b/1.jpg", "b/2.jpg"]}


def test_folders_link_to_the_photos_and_replace_those_of_before(tmp_path: Path) -> None:
    root, out = tmp_path / "photos", tmp_path / "work" / "test"
    photos = people(8)
    for path in (path for own in photos.values() for path in own):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    small = tmp_path / "small"
    for name in ("p0", "p3", "p5", "stranger"):
        (small / name).mkdir(parents=True)
        (small / name / "9.png").write_text("small")
    for seed in (1, 0):
        chosen = set_people_aside(photos, 0.75, seed)
        write_test_folders(chosen, Photos(root, None), Photos(small, None), out)
    linked = {
        part: sorted(str(path.relative_to(out / part)) for path in (out / part).glob("*/*"))
        for part in (GALLERY, PROBES, STRANGERS, CROPS)
    }
    assert linked[GALLERY] == [f"{name}/0.jpg" for name in sorted(chosen.known)]
    assert linked[PROBES] == [f"{name}/{photo}.jpg" for name in sorted(chosen.known) for photo in (1, 2)]
    assert linked[STRANGERS] == [f"{name}/{photo}.jpg" for name in sorted(chosen.strangers) for photo in (0, 1, 2)]
    assert linked[CROPS] == [f"{name}/9.png" for name in sorted({"p0", "p3", "p5"} & set(chosen.known))] != []
    assert all((out / PROBES / path).read_text() == path for path in linked[PROBES])
    assert (out / LIST).read_text().split() == chosen.people
