"""Layouts to records: what is found, what is set aside, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import sources
from pipeline.sources import LANDMARK_COLUMNS, Source, orl_photos, read_landmarks
from shards.command import UserError


def reasons(source: Source) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in source.rejects["reason"].value_counts().items()}


def test_vggface2_by_either_form_of_name(rendered: Path) -> None:
    root = rendered / "VGGFace2"
    lists = root / "bb_landmark"
    by_split = [lists / f"loose_landmark_{split}.csv" for split in ("train", "test")]
    merged = [lists / "loose_landmark_train_test_remove_lfw_megaface.csv"]
    one, other = sources.vggface2(root, by_split), sources.vggface2(root, merged)
    assert one.records.equals(other.records)
    assert one.inputs == len(one.records) == 13 * 5
    assert all((root / path).is_file() for path in one.records["path"])


def test_vggface2_root_may_be_the_split_itself(rendered: Path, train_list: Path) -> None:
    source = sources.vggface2(rendered / "VGGFace2" / "train", [train_list])
    assert source.records["path"][0] == "n000002/0001_01.jpg"
    assert len(source.records) == 60


def test_bad_rows_are_set_aside_and_counted(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    root = tmp_path / "VGGFace2"
    shutil.copytree(rendered / "VGGFace2" / "train", root / "train")
    lines = train_list.read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split(",")[3], "", 1)  # a landmark is empty
    lines[2] = lines[2].rsplit(",", 1)[0] + ",inf"
    lines.append(lines[3])  # a record twice
    lines[4] = '"n000002/9999_01",1,2,3,4,5,6,7,8,9,10'  # a photo that is not there, and one without a record
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines))
    source = sources.vggface2(root, [path])
    assert reasons(source) == {
        "landmarks absent": 1,
        "landmarks not finite": 1,
        "duplicate record": 1,
        "missing": 1,
        "no record": 1,
    }
    assert source.inputs == 60 + 1 + 1
    assert len(source.records) + len(source.rejects) == source.inputs


def test_orl_keeps_the_held_out_people_apart() -> None:
    train, held_out = sources.orl("train"), sources.orl("held-out")
    assert (len(train.records), len(held_out.records)) == (250, 150)
    assert not set(train.records["identity"]) & set(held_out.records["identity"])
    assert reasons(train) == {"no record": 1}, "s10/target.jpg lies beside the photos in the package"
    photos = orl_photos(["s26"])
    assert len(photos) == 10
    assert photos[0][1].is_file()
    assert photos[0][2].shape == (5, 2)


def test_a_folder_of_aligned_faces(rendered: Path) -> None:
    source = sources.folder(rendered / "VGGFace2" / "train", [], aligned=True)
    assert source.aligned
    assert len(source.records) == 60
    with pytest.raises(UserError, match="either --landmarks CSV or --aligned"):
        sources.folder(rendered / "VGGFace2" / "train", [], aligned=False)


def test_a_folder_with_a_landmark_list(rendered: Path) -> None:
    source = sources.folder(rendered / "LFW" / "lfw", [rendered / "lists" / "LFW.csv"], aligned=False)
    assert len(source.records) == 60
    assert source.rejects.empty


def test_low_resolution_training_sets_are_used_whole(rendered: Path) -> None:
    for name, folder in (("survface", "QMUL-SurvFace"), ("tinyface", "TinyFace")):
        source = sources.low_resolution(name, rendered / folder)
        assert (source.name, source.aligned, len(source.records)) == (name, True, 60)
    with pytest.raises(UserError, match="holds none of training_set"):
        sources.low_resolution("survface", rendered / "LFW")


def test_excluded_identities_are_rejects(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    whole = sources.vggface2(rendered / "VGGFace2", [train_list])
    listed = tmp_path / "overlap.txt"
    listed.write_text("n000002\nn000004\nnobody\n")
    source = sources.without_identities(whole, listed)
    assert reasons(source) == {"excluded identity": 10}
    assert source.inputs == whole.inputs
    assert not {"n000002", "n000004"} & set(source.records["identity"])
    listed.write_text("nobody\n")
    with pytest.raises(UserError, match="none of them in"):
        sources.without_identities(whole, listed)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no landmark list"),
        ("a,b,c\n1,2,3\n", "begins with column 'a'"),
        ("NAME_ID,P1X\nn/1,3\n", "has 2 columns; expected 11"),
        ("NAME_ID,P1X\nn/1,3,4,5\n", "columns; expected 11"),
    ],
)
def test_other_lists_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=says):
        read_landmarks(path, header=True)


def test_missing_and_empty_folders_are_refused(tmp_path: Path, train_list: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        sources.vggface2(tmp_path / "nowhere", [train_list])
    with pytest.raises(UserError, match="is empty"):
        sources.vggface2(tmp_path, [train_list])
    with pytest.raises(UserError, match="no landmark list"):
        sources.vggface2(train_list.parent, [])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_lists_are_read_or_refused(tmp_path: Path, train_list: Path, data: st.DataObject) -> None:
    text = bytearray(train_list.read_bytes()[:1500])
    for _ in range(data.draw(st.integers(1, 6))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "list.csv"
    path.write_bytes(text)
    try:
        table = read_landmarks(path, header=True)
        assert table[LANDMARK_COLUMNS].to_numpy().dtype == np.float64
    except UserError as error:
        assert "\n" not in str(error).strip()
