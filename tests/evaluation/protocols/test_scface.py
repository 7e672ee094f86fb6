"""SCface on rendered people, against an evaluation probe by probe."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.models.stored_embeddings import StoredEmbeddings
from evaluation.protocols.selection import scface
from tests.evaluation.by_hand import face, figures, landmarks, resized, vector
from tests.evaluation.conftest import SIZE


def test_rank_1_probe_by_probe(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
    outcome = scface.measure(scface.read(rendered / "SCface", [rendered / "lists"]), embedder)
    folder = rendered / "SCface" / "SCface_database"
    mugshots = landmarks(rendered / "lists" / "scface_mugshot.csv")
    gallery = {name[-15:-12]: vector(backbone, face(folder / name, p, SIZE)) for name, p in mugshots.items()}
    assert sorted(gallery) == ["001", "002", "003", "004", "005"]
    for distance, metres in ((1, "4.2 m"), (2, "2.6 m"), (3, "1.0 m")):
        hits = []
        for name, points in landmarks(rendered / "lists" / f"scface_distance{distance}.csv").items():
            native = int(3 * (points[:, 1].max() - points[:, 1].min()))
            probe = vector(backbone, resized(face(folder / name, points, native), SIZE))
            best = max(gallery, key=lambda subject: gallery[subject] @ probe)
            hits.append(best == Path(name).name[:3])
        assert len(hits) == 25
        assert figures(outcome)[f"d{distance} ({metres}): rank-1"] == pytest.approx(np.mean(hits))


def test_probes_whose_mugshot_is_unreadable_are_left_out(copy: Path, embedder: Embedder) -> None:
    mugshot = copy / "SCface" / "SCface_database" / "mugshot_frontal_original_all" / "001_frontal.jpg"
    mugshot.write_bytes(b"")
    (copy / "SCface" / "SCface_database" / "surveillance_cameras_all" / "001_cam8.jpg").write_bytes(b"infrared")
    outcome = scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder)
    assert outcome.incomplete
    assert outcome.figures[0].n == 20, "the five probes of subject 1 are left out"
    assert outcome.counts["pictures beside that no list names (other cameras)"] == 1


def test_the_half_begins_with_subject_51_and_infrared_pictures_are_left_out(tmp_path: Path) -> None:
    """Of embeddings in a file, so that no picture is needed."""
    subjects, cameras = (49, 50, 51, 52), (1, 5, 6, 7, 8)
    (tmp_path / "SCface_database").mkdir()
    points = ",".join(map(str, [30, 50, 65, 50, 48, 70, 33, 92, 62, 92]))
    lists = {"mugshot": [f"{subject:03d}_frontal.jpg" for subject in subjects]}
    for distance in (1, 2, 3):
        lists[f"distance{distance}"] = [f"{s:03d}_cam{c}_{distance}.jpg" for s in subjects for c in cameras]
    for name, pictures in lists.items():
        (tmp_path / f"scface_{name}.csv").write_text("".join(f"{picture},{points}\n" for picture in pictures))
    names = [picture for pictures in lists.values() for picture in pictures]
    vectors = np.eye(60)[[int(name[:3]) for name in names]]
    np.savez(tmp_path / "embeddings.npz", names=np.array(names), vectors=vectors)
    data = scface.read(tmp_path, [tmp_path])
    assert data.counts["infrared pictures in the lists, left out"] == 3 * len(subjects) * 3
    outcome = scface.measure(data, StoredEmbeddings(tmp_path / "embeddings.npz"))
    numbers = {figure.name: (figure.n, figure.value) for figure in outcome.figures}
    for distance, metres in ((1, "4.2 m"), (2, "2.6 m"), (3, "1.0 m")):
        assert numbers[f"d{distance} ({metres}): rank-1"] == (8, 1)
        assert numbers[f"d{distance}, subjects 51-130 only: rank-1"] == (4, 1)


def test_a_face_that_was_not_found_is_an_error_and_the_others_stand_beside(copy: Path, embedder: Embedder) -> None:
    """A mugshot and a probe without landmarks: the six probes count as errors, or stand whole."""
    for name, picture in (("scface_mugshot", "002_frontal"), ("scface_distance1", "003_cam1_1")):
        path = copy / "lists" / f"{name}.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(f"{line.split(',')[0]}{',nan' * 10}" if picture in line else line for line in lines))
    whole = {
        f.name: f for f in scface.measure(scface.read(copy / "SCface", [copy / "lists"], "whole"), embedder).figures
    }
    outcome = scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder)
    named = {figure.name: figure for figure in outcome.figures}
    name = "d1 (4.2 m): rank-1"
    every, found = named[name], named[f"faces found: {name}"]
    assert (every.n, found.n, whole[name].n) == (25, 19, 25)
    assert every.value == pytest.approx(found.value * 19 / 25)
    assert found.paper is None
    assert f"faces found: {name}" not in whole
    assert (named["d2 (2.6 m): rank-1"].n, named["faces found: d2 (2.6 m): rank-1"].n) == (25, 20)
    assert outcome.counts["probes left out"] == 0
    assert "2 of 80 not found, which became errors" in outcome.alignment.sentence


def test_a_distance_that_is_gone_is_named(copy: Path, embedder: Embedder) -> None:
    whole = figures(scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder))
    for path in (copy / "SCface" / "SCface_database" / "surveillance_cameras_all").glob("*_2.jpg"):
        path.unlink()
    outcome = scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder)
    assert any("Nothing of the probes at d2 can be used" in note for note in outcome.notes)
    found = figures(outcome)
    assert np.isnan(found["d2 (2.6 m): rank-1"])
    assert found["d1 (4.2 m): rank-1"] == whole["d1 (4.2 m): rank-1"]
