"""Leaks planted in shards: found by bytes, pixels, likeness and name, and nothing else with them."""

import csv
import json
import shutil
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from evaluation.checks.evaluated_pictures import evaluated_pictures
from evaluation.checks.leak_report import read_leaks
from evaluation.checks.leaks import find_leaks
from evaluation.models.embedder import Embedder
from evaluation.protocols.selection import ProtocolOptions, plan
from evaluation.scoring.faces import FaceSource
from pipeline.sampling.shard_folders import ShardFolders
from shards.command import UserError
from shards.index import ShardIndex
from tests.conftest import Command
from tests.evaluation.people import write_people


def own_people(root: Path) -> ProtocolOptions:
    data = ProtocolOptions(None, None, None, None, False, [], None, False)
    return ProtocolOptions(**{**vars(data), "gallery": root / "known", "probes": root / "seen"})


@pytest.fixture
def planted(shards: Path, tmp_path: Path) -> Path:
    """Own people with five pictures of the shards: as stored, as PNG, mirrored, blurred, and a name alone."""
    index = ShardIndex.open(shards)
    write_people(tmp_path / "known", ["anna", "bert"], range(1))
    write_people(tmp_path / "seen", ["anna", "bert"], range(1, 4))
    faces = [bytes(index.read(photo)) for photo in range(4)]
    pixels = [np.asarray(Image.open(BytesIO(face)).convert("RGB")) for face in faces]
    (tmp_path / "seen/anna/stored.jpg").write_bytes(faces[0])
    Image.fromarray(pixels[1]).save(tmp_path / "seen/anna/again.png")
    Image.fromarray(pixels[2][:, ::-1]).save(tmp_path / "seen/bert/mirrored.png")
    Image.fromarray(cv2.GaussianBlur(pixels[3], (0, 0), 1.0)).save(tmp_path / "seen/bert/blurred.png")
    write_people(tmp_path / "known", [index.names[0]], range(1))
    write_people(tmp_path / "seen", [index.names[0]], range(1, 2))
    return tmp_path


def test_each_kind_is_found_and_nothing_else(planted: Path, shards: Path, embedder: Embedder) -> None:
    folders = ShardFolders.open([shards])
    runs, _ = plan(own_people(planted))
    tests = evaluated_pictures(runs, folders.preprocessing)
    for_model = evaluated_pictures(runs, embedder.preprocessing)
    found = find_leaks(tests, folders, (embedder, for_model), least=0.999999)
    told = {(leak.kind, Path(tests[leak.test].picture.name).stem, leak.photo, leak.mirrored) for leak in found.leaks}
    of_person = {leak for leak in told if leak[0] == "same name"}
    assert told - of_person == {
        ("same bytes", "stored", 0, False),
        ("same pixels", "stored", 0, False),
        ("same pixels", "again", 1, False),
        ("same pixels", "mirrored", 2, True),
        ("much alike", "stored", 0, False),
        ("much alike", "again", 1, False),
    }
    assert {name for _, name, _, _ in of_person} == {"0", "1"}
    assert not found.unread
    least = find_leaks(tests, folders, (embedder, for_model), least=-1)
    best = {Path(tests[one.test].picture.name).stem: one.photo for one in least.leaks if one.kind == "much alike"}
    assert best["blurred"] == 3


def test_a_photo_is_found_after_the_alignment_of_the_shards(rendered: Path, shards: Path, tmp_path: Path) -> None:
    """The shards hold aligned JPEG faces of these photos; the test set is the photos, with landmarks."""
    people = sorted((rendered / "VGGFace2" / "train").iterdir())[:2]
    rows = (rendered / "VGGFace2/bb_landmark/loose_landmark_train.csv").read_text().splitlines()[1:]
    lines = []
    for person in people:
        for number, photo in enumerate(sorted(person.iterdir())[:2]):
            to = tmp_path / ("known" if number == 0 else "seen") / f"own {person.name}" / photo.name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, to)
            row = next(row for row in rows if row.startswith(f'"{person.name}/{photo.stem}"'))
            lines.append(f"own {person.name}/{photo.name},{row.split(',', 1)[1]}")
    (tmp_path / "points.csv").write_text("\n".join(lines))
    given = ProtocolOptions(
        **{**vars(own_people(tmp_path)), "faces": FaceSource("landmark list", (tmp_path / "points.csv",))}
    )
    folders = ShardFolders.open([shards])
    tests = evaluated_pictures(plan(given)[0], folders.preprocessing)
    found = find_leaks(tests, folders)
    assert {leak.kind for leak in found.leaks} == {"same pixels"}
    assert {leak.test for leak in found.leaks} == set(range(4))
    assert {leak.value for leak in found.leaks} == {0.0}
    for leak in found.leaks:
        index, row = folders.locate(leak.photo)
        label = int(np.searchsorted(index.first, row, side="right")) - 1
        assert tests[leak.test].person == f"own {index.names[label]}"


def test_the_command_then_the_figures_without_them(
    planted: Path, shards: Path, checkpoint: Path, command: Command
) -> None:
    data = ("--gallery", planted / "known", "--probes", planted / "seen")
    done = command("evaluation.leaks", "--shards", shards, "--out", planted / "leaks", *data)
    assert done.returncode == 0, done.stderr
    assert "Own people: of 14 pictures 1 same bytes, 3 same pixels, 2 same name" in done.stdout
    rows = list(csv.DictReader((planted / "leaks/leaks.csv").open()))
    assert {row["tar"] for row in rows} <= {f"shard-{number:06d}.tar" for number in range(3)}
    page = (planted / "leaks/leaks.html").read_text()
    assert page.count("data:image/jpeg;base64") == 2 * len(rows)
    assert "probes/anna/again.png" in page
    out = planted / "report"
    words = ("--checkpoint", checkpoint, "--leave-out", planted / "leaks/leaks.csv", "--out", out, "--no-cache")
    done = command("evaluation", *data, *words)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert [model["label"] for model in results["models"]] == ["net", "net, without leaks"]
    every, fewer = (one["figures"][0]["n"] for one in results["protocols"][0]["results"])
    assert (every, fewer) == (11, 7)
    missing = results["protocols"][0]["results"][1]["missing"]
    assert {row["reason"] for row in missing} == {"left out: it stands in the training shards, too"}


def test_damaged_faces_are_counted(planted: Path, shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    (record,) = ShardIndex.open(copy).records[np.array([0])]
    with (copy / f"shard-{record['tar']:06d}.tar").open("r+b") as file:
        file.seek(int(record["offset"]) + 40)
        file.write(b"damage")
    folders = ShardFolders.open([copy])
    found = find_leaks(evaluated_pictures(plan(own_people(planted))[0], folders.preprocessing), folders)
    assert found.unread == {0: "damaged: its CRC-32 is another"}


@pytest.mark.parametrize(
    ("text", "told"),
    [("a,b\n1,2\n", "no columns protocol"), ("protocol,picture,kind\nx,y,z\n", "names the kind 'z'")],
)
def test_a_list_that_is_none(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "leaks.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        read_leaks(tmp_path / "leaks.csv")
