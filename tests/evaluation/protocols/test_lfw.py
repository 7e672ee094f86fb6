"""LFW on rendered people, against an evaluation pair by pair."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.protocols.selection import lfw
from shards.command import UserError
from shards.format import Preprocessing
from tests.evaluation.by_hand import face, figures, landmarks, resized, vector
from tests.evaluation.conftest import SIZE
from training.networks.backbone_file import LoadedBackbone


def test_accuracy_pair_by_pair(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
    outcome = lfw.measure(lfw.read(rendered / "LFW", [rendered / "lists"]), embedder, sizes=(8,))
    points = landmarks(rendered / "lists" / "LFW.csv")
    lines = [line.split("\t") for line in (rendered / "lists" / "lfw_pairs.txt").read_text().splitlines()]
    folds, each = map(int, lines[0])
    grid = np.linspace(-1, 1, 10_001)
    scores, same = [], []
    for parts in lines[1:]:
        (a, i), (b, j) = (parts[0], parts[1]), (parts[0], parts[2]) if len(parts) == 3 else (parts[2], parts[3])
        names = [f"{a}/{a}_{int(i):04d}.jpg", f"{b}/{b}_{int(j):04d}.jpg"]
        one, two = (face(rendered / "LFW" / "lfw" / name, points[name], SIZE) for name in names)
        scores.append(vector(backbone, one) @ vector(backbone, resized(resized(two, 8), SIZE)))
        same.append(len(parts) == 3)
    values, truth = np.array(scores), np.array(same)
    fold = np.repeat(np.arange(folds), 2 * each)
    accuracies = []
    for f in range(folds):
        right = [((values > t) == truth)[fold != f].sum() for t in grid]
        threshold = grid[np.flatnonzero(np.array(right) == max(right))[-1]]
        accuracies.append(((values > threshold) == truth)[fold == f].mean())
    assert figures(outcome)["accuracy, second photo at 8 px"] == pytest.approx(np.mean(accuracies))
    assert outcome.figures[0].spread == pytest.approx(np.std(accuracies))
    assert outcome.figures[0].n == len(scores)
    assert not outcome.incomplete


def test_missing_and_unreadable_photos_are_counted_and_named(copy: Path, embedder: Embedder) -> None:
    person = copy / "LFW" / "lfw" / "Rendered_Person_0000"
    (person / "Rendered_Person_0000_0001.jpg").unlink()
    (person / "Rendered_Person_0000_0002.jpg").write_bytes(b"no picture")
    outcome = lfw.measure(lfw.read(copy / "LFW", [copy / "lists"]), embedder, sizes=())
    assert outcome.incomplete
    assert dict(outcome.missing) == {
        "Rendered_Person_0000/Rendered_Person_0000_0001.jpg": "missing",
        "Rendered_Person_0000/Rendered_Person_0000_0002.jpg": "unreadable",
    }
    assert outcome.counts["pairs left out"] > 0
    assert outcome.figures[0].n == outcome.counts["pairs in the list"] - outcome.counts["pairs left out"]


def test_a_face_that_was_not_found_is_an_error_and_the_others_stand_beside(copy: Path, embedder: Embedder) -> None:
    lists = copy / "lists"
    lines = (lists / "LFW.csv").read_text().splitlines(keepends=True)
    lost = "Rendered_Person_0003/Rendered_Person_0003_0002.jpg"
    (lists / "LFW.csv").write_text("".join(line for line in lines if not line.startswith(lost)))
    data = lfw.read(copy / "LFW", [lists])
    pairs = [(pair.same, lost in (pair.left, pair.right)) for pair in (*data.pairs, *data.lost)]
    same_lost, other_lost = pairs.count((True, True)), pairs.count((False, True))
    assert same_lost > 0
    outcome = lfw.measure(data, embedder, sizes=(8,))
    named = {figure.name: figure for figure in outcome.figures}
    for size in (8, SIZE):
        name = f"accuracy, second photo at {size} px"
        every, found = named[name], named[f"faces found: {name}"]
        assert (every.n, found.n) == (len(pairs) - other_lost, len(pairs) - other_lost - same_lost)
        assert every.value < found.value
    assert "1 of " in outcome.alignment.sentence
    assert "which became errors" in outcome.alignment.sentence
    whole = lfw.measure(lfw.read(copy / "LFW", [lists], "whole"), embedder, sizes=(8,))
    assert {figure.n for figure in whole.figures} == {len(pairs)}
    assert "which became whole pictures" in whole.alignment.sentence


def test_missing_folders_and_lists_are_named(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        lfw.read(tmp_path / "nowhere", [])
    with pytest.raises(UserError, match=r"no LFW.csv in .*LFW.*data"):
        lfw.read(rendered / "LFW", [])


def test_without_any_photo_there_are_no_figures(rendered: Path, tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "LFW" / "lfw").mkdir(parents=True)
    outcome = lfw.measure(lfw.read(tmp_path / "LFW", [rendered / "lists"]), embedder)
    assert outcome.incomplete
    assert all(figure.n == 0 and np.isnan(figure.value) for figure in outcome.figures)


def test_a_checkpoint_with_another_template_is_refused(rendered: Path, backbone: nn.Module) -> None:
    for form, says in (
        (Preprocessing("whole", (), SIZE, "x"), "template 'whole'"),
        (Preprocessing("paper", ((1.0, 2.0),), SIZE, "x"), "has points"),
    ):
        other = Embedder(LoadedBackbone(backbone, form, "spherenet4", 1, "x", "0"), device="cpu")
        with pytest.raises(UserError, match=says):
            lfw.measure(lfw.read(rendered / "LFW", [rendered / "lists"]), other)
