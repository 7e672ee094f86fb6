"""SCface on rendered people, against an evaluation probe by probe."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
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


def test_a_distance_that_is_gone_is_named(copy: Path, embedder: Embedder) -> None:
    whole = figures(scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder))
    for path in (copy / "SCface" / "SCface_database" / "surveillance_cameras_all").glob("*_2.jpg"):
        path.unlink()
    outcome = scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder)
    assert any("Nothing of the probes at d2 can be used" in note for note in outcome.notes)
    found = figures(outcome)
    assert np.isnan(found["d2 (2.6 m): rank-1"])
    assert found["d1 (4.2 m): rank-1"] == whole["d1 (4.2 m): rank-1"]
