"""Own pairs against an evaluation pair by pair."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.protocols import own_pairs
from evaluation.scoring.faces import FaceSource
from shards.command import UserError
from tests.evaluation.by_hand import figures, read, resized, vector
from tests.evaluation.conftest import SIZE
from tests.evaluation.people import write_people


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """Pictures of four people, and a list of all their pairs."""
    write_people(tmp_path / "photos", ["anna", "berta", "carl", "dora"], range(3), sides=(12, 24, 48))
    names = sorted(path.relative_to(tmp_path / "photos").as_posix() for path in tmp_path.rglob("*.png"))
    rows = [f"{a} {b} {int(a.split('/')[0] == b.split('/')[0])}" for a, b in combinations(names, 2)]
    (tmp_path / "pairs.txt").write_text("\n".join(rows))
    return tmp_path / "pairs.txt", tmp_path / "photos"


def scores_by_hand(backbone: nn.Module, pairs: Path, root: Path, low: int | None) -> dict[bool, list[float]]:
    found: dict[bool, list[float]] = {True: [], False: []}
    for line in pairs.read_text().splitlines():
        first, second, same = line.split()
        right = resized(read(root / second), SIZE)
        right = right if low is None else resized(resized(right, low), SIZE)
        left = resized(read(root / first), SIZE)
        found[same == "1"].append(float(vector(backbone, left) @ vector(backbone, right)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("low", [None, 8])
def test_figures_pair_by_pair(
    data: tuple[Path, Path], embedder: Embedder, backbone: nn.Module, low: int | None
) -> None:
    outcome = own_pairs.measure(own_pairs.read(*data), embedder, sizes=[8])
    found = {figure.name: figure for figure in outcome.figures}
    prefix = f"second at {low} px: " if low else ""
    scores = scores_by_hand(backbone, *data, low)
    threshold = sorted(scores[False], reverse=True)[len(scores[False]) // 10]
    tar = np.mean([score > threshold for score in scores[True]])
    area = np.mean([(a > b) + (a == b) / 2 for a in scores[True] for b in scores[False]])
    assert found[f"{prefix}TAR at FAR 10 %"].value == pytest.approx(tar)
    assert found[f"{prefix}AUC"].value == pytest.approx(area)
    assert (found[f"{prefix}TAR at FAR 10 %"].n, found[f"{prefix}AUC"].n) == (12, 66)
    assert "at least 100 pairs of two people, here are 54" in found[f"{prefix}TAR at FAR 1 %"].note
    assert sum(f.n for f in outcome.figures if f.name.startswith("accuracy, smaller face")) == 66
    assert outcome.mistakes


def test_a_face_that_was_not_found_is_an_error(data: tuple[Path, Path], embedder: Embedder, tmp_path: Path) -> None:
    listed = tmp_path / "points.csv"
    rows = [
        f"{path.relative_to(data[1]).as_posix()},4,4,9,4,6,6,4,9,9,9"
        for path in sorted(data[1].rglob("*.png"))
        if path.parent.name != "anna"
    ]
    listed.write_text("\n".join(rows))
    outcome = own_pairs.measure(own_pairs.read(*data, FaceSource("landmark list", (listed,))), embedder)
    found = {figure.name: figure for figure in outcome.figures}
    assert outcome.alignment.not_found == 3
    assert (found["TAR at FAR 10 %"].n, found["faces found: TAR at FAR 10 %"].n) == (12, 9)
    assert found["TAR at FAR 10 %"].value * 12 == pytest.approx(found["faces found: TAR at FAR 10 %"].value * 9)
    # The 27 pairs of anna with others say nothing of false accepts.
    assert found["AUC"].n == 12 + 27
    assert outcome.counts["pairs left out"] == 27


def test_the_form_of_lfw_is_measured_over_folds(embedder: Embedder, tmp_path: Path) -> None:
    write_people(tmp_path, ["anna", "bert"], range(1, 4))
    for path in tmp_path.rglob("*.png"):
        path.rename(path.with_name(f"{path.parent.name}_000{path.stem}.jpg"))
    (tmp_path / "pairs.txt").write_text("2\t1\nanna\t1\t2\nanna\t1\tbert\t1\nbert\t1\t2\nbert\t2\tanna\t1\n")
    outcome = own_pairs.measure(own_pairs.read(tmp_path / "pairs.txt", tmp_path), embedder)
    first = outcome.figures[0]
    assert (first.name, first.n) == ("accuracy over 2 folds", 4)
    assert first.spread is not None


def test_unreadable_pictures_are_counted(data: tuple[Path, Path], embedder: Embedder) -> None:
    (data[1] / "anna" / "0.png").write_bytes(b"no picture")
    outcome = own_pairs.measure(own_pairs.read(*data), embedder)
    assert [name for name, _ in outcome.missing] == ["photos/anna/0.png"]
    assert outcome.counts["pairs left out"] == 11
    assert outcome.incomplete
    assert 0 <= figures(outcome)["AUC"] <= 1


def test_mistakes_of_users(data: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--root: no folder"):
        own_pairs.read(data[0], tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="none of 12 pictures"):
        own_pairs.read(data[0], tmp_path / "empty")
