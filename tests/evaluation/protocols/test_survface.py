"""QMUL-SurvFace verification on rendered people, against an evaluation pair by pair."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.protocols.selection import survface
from shards.command import UserError
from tests.evaluation.by_hand import figures, read, resized, vector
from tests.evaluation.conftest import SIZE

INSIDE = Path("QMUL-SurvFace") / "QMUL-SurvFace" / "Face_Verification_Test_Set" / "verification_images"


def test_figures_pair_by_pair(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
    outcome = survface.measure(survface.read(rendered / "QMUL-SurvFace", []), embedder)
    folder = rendered / "QMUL-SurvFace" / "QMUL-SurvFace" / "Face_Verification_Test_Set"
    scores = {}
    for kind in ("positive", "negative"):
        cells = scipy.io.loadmat(folder / f"{kind}_pairs_names.mat")[f"{kind}_pairs_names"]
        pairs = [[str(cell[0]) for cell in row] for row in cells]
        scores[kind] = [
            float(np.dot(*(vector(backbone, resized(read(folder / "verification_images" / n), SIZE)) for n in pair)))
            for pair in pairs
        ]
    downwards = sorted(scores["negative"], reverse=True)
    found = figures(outcome)
    for far, name in (
        (30, "TAR at FAR 30 %"),
        (10, "TAR at FAR 10 %"),
        (1, "TAR at FAR 1 %"),
        (0.1, "TAR at FAR 0.1 %"),
    ):
        threshold = downwards[int(round(far * len(downwards), 6)) // 100]
        assert found[name] == pytest.approx(np.mean([score > threshold for score in scores["positive"]]))
        assert next(f.threshold for f in outcome.figures if f.name == name) == pytest.approx(threshold, abs=1e-5)
    sides = {path.name: min(read(path).size) for path in (folder / "verification_images").iterdir()}
    pairs = scipy.io.loadmat(folder / "positive_pairs_names.mat")["positive_pairs_names"].tolist()
    pairs += scipy.io.loadmat(folder / "negative_pairs_names.mat")["negative_pairs_names"].tolist()
    smaller = np.array([min(sides[str(one[0])], sides[str(other[0])]) for one, other in pairs])
    values, same = np.array(scores["positive"] + scores["negative"]), np.arange(len(pairs)) < len(scores["positive"])
    right = max((((values >= t) == same) for t in sorted([*values, np.inf], reverse=True)), key=np.sum)
    for band, rows in (("under 16 px", smaller < 16), ("16 to 23 px", (smaller >= 16) & (smaller < 24))):
        figure = next(one for one in outcome.figures if one.name == f"accuracy, smaller side {band}")
        assert (figure.n, figure.value) == (rows.sum(), pytest.approx(right[rows].mean()))
        assert figure.interval is not None
    wins = [(p > n) + 0.5 * (p == n) for p in scores["positive"] for n in scores["negative"]]
    assert found["AUC"] == pytest.approx(np.mean(wins), abs=1e-4)
    assert "5,319" in " ".join(outcome.notes), "the list's length differs from the published one"


def test_inner_folders_are_accepted(rendered: Path, embedder: Embedder) -> None:
    outer = survface.measure(survface.read(rendered / "QMUL-SurvFace", []), embedder)
    inner = survface.measure(survface.read(rendered / "QMUL-SurvFace" / "QMUL-SurvFace", []), embedder)
    assert figures(outer) == figures(inner)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds none of"):
        survface.read(tmp_path, [])


def test_a_missing_picture_makes_figures_incomplete(copy: Path, embedder: Embedder) -> None:
    next((copy / INSIDE).iterdir()).unlink()
    assert survface.measure(survface.read(copy / "QMUL-SurvFace", []), embedder).incomplete


def test_without_any_picture_there_are_no_figures(copy: Path, embedder: Embedder) -> None:
    for path in (copy / INSIDE).iterdir():
        path.write_bytes(b"no picture")
    outcome = survface.measure(survface.read(copy / "QMUL-SurvFace", []), embedder)
    assert outcome.incomplete
    assert all(figure.n == 0 and np.isnan(figure.value) for figure in outcome.figures)


def test_a_truncated_jpeg_is_no_picture(copy: Path, embedder: Embedder) -> None:
    cut = sorted((copy / INSIDE).iterdir())[0]
    cut.write_bytes(cut.read_bytes()[:-200])
    assert cv2.imread(str(cut)) is not None, "the decoder itself fills it with grey"
    outcome = survface.measure(survface.read(copy / "QMUL-SurvFace", []), embedder)
    assert outcome.missing == ((cut.name, "unreadable (truncated)"),)
