"""QMUL-SurvFace open-set identification on rendered people, against an evaluation probe by probe."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.protocols.selection import survface_openset
from tests.evaluation.by_hand import figures, read, resized, vector
from tests.evaluation.conftest import SIZE


def test_tpir_probe_by_probe(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
    outcome = survface_openset.measure(survface_openset.read(rendered / "QMUL-SurvFace", []), embedder)
    folder = rendered / "QMUL-SurvFace" / "QMUL-SurvFace" / "Face_Identification_Test_Set"

    def embedded(part: str) -> list[tuple[str, np.ndarray]]:
        paths = sorted((folder / part).iterdir())
        return [(path.name.split("_")[0], vector(backbone, resized(read(path), SIZE))) for path in paths]

    people: dict[str, list[np.ndarray]] = {}
    for person, e in embedded("gallery"):
        people.setdefault(person, []).append(e)
    templates = {person: np.mean(own, axis=0) / np.linalg.norm(np.mean(own, axis=0)) for person, own in people.items()}
    unmated = sorted((max(t @ e for t in templates.values()) for _, e in embedded("unmated_probe")), reverse=True)
    mated = embedded("mated_probe")
    assert (len(people), len(mated), len(unmated)) == (12, 36, 60)
    for fpir, name in ((30, "TPIR20 at FPIR 30 %"), (10, "TPIR20 at FPIR 10 %"), (1, "TPIR20 at FPIR 1 %")):
        threshold = unmated[fpir * len(unmated) // 100]
        hits = 0
        for person, e in mated:
            true = templates[person] @ e
            rank = 1 + sum(t @ e >= true for other, t in templates.items() if other != person)
            hits += rank <= 20 and true > threshold
        assert figures(outcome)[name] == pytest.approx(hits / len(mated))


def test_unmated_probes_that_are_not_there_are_as_bad_as_unreadable_ones(copy: Path, embedder: Embedder) -> None:
    root = copy / "QMUL-SurvFace"
    folder = next(root.rglob("unmated_probe"))
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    unreadable = survface_openset.measure(survface_openset.read(root, []), embedder)
    shutil.rmtree(folder)
    absent = survface_openset.measure(survface_openset.read(root, []), embedder)
    assert absent.incomplete
    np.testing.assert_equal(figures(absent), figures(unreadable))
