"""People are enrolled once, added, removed and enrolled again; bad photos are counted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.enrolled.enrolment import add_people, enrol_folder, gallery_of, left_out, remove_people
from evaluation.enrolled.face_table import read_faces
from evaluation.enrolled.measuring import Measuring
from shards.command import UserError


def test_a_folder_is_enrolled_once_and_changes_alone_are_measured(
    people: Callable[..., Path], how: Measuring, tmp_path: Path
) -> None:
    folder, file = people("gallery", Anna=2, Bert=1), tmp_path / "g"
    first = enrol_folder(folder, file, how)
    assert first.table.people == ("Anna", "Anna", "Bert")
    before = how.embedder.computed
    assert enrol_folder(folder, file, how).table.photos == first.table.photos
    assert how.embedder.computed == before
    people("gallery", Cleo=1)
    (folder / "Anna" / "0.png").unlink()
    again = enrol_folder(folder, file, how).table
    assert again.people == ("Anna", "Bert", "Cleo")
    assert how.embedder.computed == before + 1
    assert not list(tmp_path.glob(".g.work"))


def test_bad_photos_and_people_without_any_are_told(
    people: Callable[..., Path], how: Measuring, tmp_path: Path
) -> None:
    folder = people("gallery", Anna=1, anna=1)
    (folder / "Bert").mkdir()
    (folder / "Bert" / "x.jpg").write_bytes(b"no photo")
    (folder / "stray.png").write_bytes((folder / "Anna" / "0.png").read_bytes())
    found = enrol_folder(folder, tmp_path / "g", how)
    assert sorted(found.faults.values()) == ["not in a person's folder", "unreadable"]
    assert found.notes == ("no usable photo of Bert", "names that may be one person: 'Anna', 'anna'")


def test_a_gallery_of_one_is_told_and_one_without_faces_refused(
    people: Callable[..., Path], how: Measuring, tmp_path: Path
) -> None:
    assert "a gallery of one person, Anna" in enrol_folder(people("one", Anna=1), tmp_path / "g", how).notes[0]
    (tmp_path / "bad" / "Bert").mkdir(parents=True)
    (tmp_path / "bad" / "Bert" / "x.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match="no face could be enrolled from 1 photos"):
        enrol_folder(tmp_path / "bad", tmp_path / "h", how)
    with pytest.raises(UserError, match="no folder"):
        enrol_folder(tmp_path / "nothing", tmp_path / "h", how)


def test_people_are_added_and_removed_by_name(people: Callable[..., Path], how: Measuring, tmp_path: Path) -> None:
    file = tmp_path / "g"
    enrol_folder(people("gallery", Anna=1, Bert=1), file, how)
    added = add_people(people("more", Bert=1, Cleo=2), file, how)
    assert added.table.people == ("Anna", "Bert", "Bert", "Cleo", "Cleo")
    assert added.notes == ("Bert was enrolled already: 1 photos added",)
    # The same photos once more change nothing.
    assert len(add_people(tmp_path / "more", file, how).table) == 5
    left = remove_people(["Bert"], file)
    assert left.table.people == ("Anna", "Cleo", "Cleo")
    assert b"Bert" not in file.read_bytes()
    with pytest.raises(UserError, match="nobody called Bert; it has Anna, Cleo"):
        remove_people(["Bert"], file)
    with pytest.raises(UserError, match="would hold nobody"):
        remove_people(["Anna", "Cleo"], file)


def test_a_file_of_another_model_is_refused_or_enrolled_again(
    people: Callable[..., Path], how: Measuring, tmp_path: Path
) -> None:
    folder = people("gallery", Anna=2, Bert=1)
    file, first = gallery_of(folder, tmp_path, how, again=False)
    other = replace(how, made={**how.made, "detector": "another"})
    for named in (file, folder):
        with pytest.raises(UserError, match="detector none: every picture is a face, taken whole, this is another"):
            gallery_of(named, tmp_path, other, again=False)
    (folder / "Bert" / "0.png").unlink()
    _, again = gallery_of(file, tmp_path, other, again=True)
    assert again.table.people == ("Anna", "Anna")
    assert again.faults == {str(folder / "Bert" / "0.png"): "missing"}
    assert again.notes[0] == "no usable photo of Bert"
    assert read_faces(file).made["detector"] == "another"
    np.testing.assert_array_equal(again.table.vectors, first.table.vectors[:2])


def test_photos_are_left_out_by_their_path_or_its_end(
    people: Callable[..., Path], how: Measuring, tmp_path: Path
) -> None:
    table = enrol_folder(people("gallery", Anna=2, Bert=1), tmp_path / "g", how).table
    listed = tmp_path / "list.txt"
    listed.write_text(f"# small\nAnna/0.png\n{table.photos[2]}\nAnna/7.png\n0.png.x\n")
    kept, unknown = left_out(table, listed)
    assert kept.photos == table.photos[1:2]
    assert unknown == ["Anna/7.png", "0.png.x"]
    listed.write_text("0.png\n1.png\n")
    with pytest.raises(UserError, match="leaves out every photo"):
        left_out(table, listed)
