"""Layouts to records: what is found, what is set aside, and what is refused."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources import datasets
from pipeline.sources.datasets import Source, orl_photos
from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks
from pipeline.sources.photo_table import PhotoTable
from shards.command import UserError


def everything(source: Source) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return a source's usable records, and its rejects counted by reason."""
    with PhotoTable([source]) as records:
        rows = records.sample(10_000)
        assert records.inputs == len(rows) + sum(records.reasons().values())
        return rows.sort_values(["identity", "path"], ignore_index=True), records.reasons()


def test_vggface2_by_either_form_of_name(rendered: Path) -> None:
    root = rendered / "VGGFace2"
    lists = root / "bb_landmark"
    by_split = [lists / f"loose_landmark_{split}.csv" for split in ("train", "test")]
    merged = [lists / "loose_landmark_train_test_remove_lfw_megaface.csv"]
    one, no_rejects = everything(datasets.vggface2(root, by_split))
    other, _ = everything(datasets.vggface2(root, merged))
    pd.testing.assert_frame_equal(one, other)
    assert len(one) == 14 * 5
    assert no_rejects == {}
    assert all((root / path).is_file() for path in one["path"])


def test_vggface2_root_may_be_the_split_itself(rendered: Path, train_list: Path) -> None:
    records, _ = everything(datasets.vggface2(rendered / "VGGFace2" / "train", [train_list]))
    assert records["path"][0] == "n000002/0001_01.jpg"
    assert len(records) == 60


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
    records, reasons = everything(datasets.vggface2(root, [path]))
    assert reasons == {
        "landmarks absent": 1,
        "landmarks not finite": 1,
        "duplicate record": 1,
        "missing": 1,
        "no record": 1,
    }
    assert len(records) + sum(reasons.values()) == 60 + 1 + 1


def test_orl_keeps_the_held_out_people_apart() -> None:
    (train, reasons), (held_out, _) = everything(datasets.orl("train")), everything(datasets.orl("held-out"))
    assert (len(train), len(held_out)) == (250, 150)
    assert not set(train["identity"]) & set(held_out["identity"])
    assert reasons == {"no record": 1}, "s10/target.jpg lies beside the photos in the package"
    photos = orl_photos(["s26"])
    assert len(photos) == 10
    assert photos[0][1].is_file()
    assert photos[0][2].shape == (5, 2)


def test_a_folder_of_aligned_faces(rendered: Path) -> None:
    source = datasets.folder(rendered / "VGGFace2" / "train", [], aligned=True)
    assert source.framing == "aligned"
    assert len(everything(source)[0]) == 60
    with pytest.raises(UserError, match="either --landmarks CSV or --aligned"):
        datasets.folder(rendered / "VGGFace2" / "train", [], aligned=False)


def test_pictures_of_any_name_are_listed_and_counted(rendered: Path, tmp_path: Path) -> None:
    photo = next((rendered / "VGGFace2" / "train").rglob("*.jpg"))
    for name in (b"a/1.jpg", b"a/x\xff.jpg", b"b/c/1.jpg", b"d\ne/1.jpg", b"NA/1.jpg", b"top.jpg"):
        path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, path)
    records, reasons = everything(datasets.folder(tmp_path, [], aligned=True))
    assert records["identity"].tolist() == ["NA", "a", "b/c"]
    assert reasons == {"line break in the name": 1, "name not in UTF-8": 1, "no identity folder": 1}
    path = tmp_path / "list.csv"
    path.write_text("".join(f"{name},1,2,3,4,5,6,7,8,9,10\n" for name in ("b/c/1.jpg", "NA/1.jpg", "top.jpg")))
    records, reasons = everything(datasets.folder(tmp_path, [path], aligned=False))
    assert records["identity"].tolist() == ["NA", "b/c"]
    assert reasons == {"no identity folder": 1, "no record": 3}


def test_a_folder_with_a_landmark_list(rendered: Path) -> None:
    source = datasets.folder(rendered / "LFW" / "lfw", [rendered / "lists" / "LFW.csv"], aligned=False)
    records, reasons = everything(source)
    assert len(records) == 60
    assert reasons == {}


@pytest.mark.parametrize("aligned", [True, False])
def test_photos_of_unknown_people_are_an_identity_each(rendered: Path, tmp_path: Path, aligned: bool) -> None:
    first, second, third = sorted((rendered / "LFW" / "lfw").glob("*/*.jpg"))[:3]
    for name, photo in (("1.jpg", first), ("cam/1.jpg", second), ("cam/2.jpg", third)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    lists = [] if aligned else [tmp_path / "list.csv"]
    for path in lists:
        path.write_text("1.jpg,1,1,5,1,3,3,1,5,5,5\ncam/2.jpg,1,1,5,1,3,3,1,5,5,5\n")
    records, reasons = everything(datasets.folder(tmp_path, lists, aligned=aligned, unlabelled=True))
    assert records["identity"].tolist() == (["1.jpg", "cam/1.jpg", "cam/2.jpg"] if aligned else ["1.jpg", "cam/2.jpg"])
    assert sum(reasons.values()) == (0 if aligned else 1)


def test_low_resolution_training_sets_are_used_whole(rendered: Path) -> None:
    for name, folder in (("survface", "QMUL-SurvFace"), ("tinyface", "TinyFace")):
        source = datasets.low_resolution(name, rendered / folder)
        assert (source.name, source.framing, len(everything(source)[0])) == (name, "whole", 60)
    with pytest.raises(UserError, match="holds none of training_set"):
        datasets.low_resolution("survface", rendered / "LFW")


def test_scface_offers_its_training_half_only(rendered: Path, tmp_path: Path) -> None:
    root = tmp_path / "SCface"
    shutil.copytree(rendered / "SCface", root)
    for path in root.parent.rglob("*.jpg"):  # the last of five people becomes one of the testing half
        if path.name.startswith("005_"):
            path.rename(path.with_name(path.name.replace("005_", "051_")))
    lists = tmp_path / "lists"
    shutil.copytree(rendered / "lists", lists)
    for path in lists.glob("scface_*.csv"):
        path.write_text(path.read_text().replace("/005_", "/051_"))
    records, reasons = everything(datasets.scface(root, lists))
    assert records["identity"].value_counts().to_dict() == {f"00{subject}": 16 for subject in range(1, 5)}
    assert reasons == {}
    infrared = root / "SCface_database" / "surveillance_cameras_all" / "001_cam6_1.jpg"
    shutil.copy(infrared.with_name("001_cam1_1.jpg"), infrared)
    assert everything(datasets.scface(root, lists))[1] == {"no record": 1}
    with pytest.raises(UserError, match="no scface_mugshot"):
        datasets.scface(root, tmp_path)


def test_excluded_identities_are_rejects(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    whole = datasets.vggface2(rendered / "VGGFace2", [train_list])
    listed = tmp_path / "overlap.txt"
    listed.write_text("n000002\nn000004\nnobody\n")
    records, reasons = everything(datasets.without_identities(whole, listed))
    assert reasons == {"excluded identity": 10}
    assert not {"n000002", "n000004"} & set(records["identity"])
    listed.write_text("nobody\n")
    with pytest.raises(UserError, match="none of them in"):
        everything(datasets.without_identities(whole, listed))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no landmark list"),
        ("a,b,c\n1,2,3\n", "begins with column 'a'"),
        ("NAME_ID,P1X\nn/1,3\n", "has 2 columns; expected 11"),
        ("NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\n", "has no rows"),
        ("NAME_ID,P1X\nn/1,3,4,5\n", "columns; expected 11"),
        ("NAME_ID,P1Y,P1X,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\n" + "n/1" + ",1" * 10, "column 'P1Y' where 'P1X'"),
    ],
)
def test_other_lists_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=says):
        read_landmarks(path, header=True)


def test_missing_and_empty_folders_are_refused(tmp_path: Path, train_list: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        datasets.vggface2(tmp_path / "nowhere", [train_list])
    with pytest.raises(UserError, match="is empty"):
        datasets.vggface2(tmp_path, [train_list])
    with pytest.raises(UserError, match="no landmark list"):
        datasets.vggface2(train_list.parent, [])


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


def test_a_list_with_a_header_and_backslashes_is_read_as_meant(rendered: Path, tmp_path: Path) -> None:
    root = rendered / "VGGFace2" / "train"
    plain = read_landmarks(rendered / "VGGFace2" / "bb_landmark" / "loose_landmark_train.csv", header=True)
    rows = plain.assign(name=[name + ".jpg" for name in plain["name"]])
    rows.to_csv(tmp_path / "plain.csv", header=False, index=False)
    windows = rows.assign(name=[".\\" + name.replace("/", "\\") for name in rows["name"]])
    windows.to_csv(tmp_path / "windows.csv", index=False)
    one, rejects = everything(datasets.folder(root, [tmp_path / "plain.csv"], aligned=False))
    other, others = everything(datasets.folder(root, [tmp_path / "windows.csv"], aligned=False))
    assert len(one) == len(plain)
    pd.testing.assert_frame_equal(one, other)
    assert rejects == others == {}


def test_the_first_row_is_no_header_only_because_its_landmarks_are_absent(tmp_path: Path) -> None:
    for first in ("a/1.jpg" + "," * 10, "a/1.jpg" + ",nan" * 10, "a/1.jpg,x" + ",1" * 9):
        (tmp_path / "list.csv").write_text(first + "\na/2.jpg" + ",5" * 10 + "\n")
        assert read_landmarks(tmp_path / "list.csv")["name"].tolist() == ["a/1.jpg", "a/2.jpg"]


def test_paths_that_leave_the_folder_are_rejects(rendered: Path, tmp_path: Path) -> None:
    root = rendered / "VGGFace2" / "train"
    inside, *_ = sorted(path.relative_to(root) for path in root.glob("*/*.jpg"))
    names = [str(inside), f"../train/{inside}", str(root / inside)]
    (tmp_path / "list.csv").write_text("".join(f"{name}" + ",5" * 10 + "\n" for name in names))
    records, rejects = everything(datasets.folder(root, [tmp_path / "list.csv"], aligned=False))
    assert records["path"].tolist() == [str(inside)]

    assert rejects["path leads out of the folder"] == 2


def test_hidden_files_are_passed_over_and_the_sum_holds(rendered: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(rendered / "VGGFace2" / "train", tmp_path / "train"))
    photos = sorted(root.glob("*/*.jpg"))
    for place in (photos[0].with_name("._1.jpg"), root / ".hidden" / "x.jpg", photos[1].parent / "@eaDir" / "t.jpg"):
        place.parent.mkdir(exist_ok=True)
        shutil.copy(photos[0], place)
    (photos[2].parent / "1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    source = datasets.folder(root, [], aligned=True)
    records, rejects = everything(source)
    assert len(records) == len(photos) + 1, "what looks like a picture is counted, and a reject once it is read"
    assert rejects == {}
    assert source.passed_over.pictures == 3
