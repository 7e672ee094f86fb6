"""IJB's templates and pairs against an evaluation face by face."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.protocols import ijb
from shards.command import UserError
from tests.evaluation.by_hand import face, figures, raw_vector, resized
from tests.evaluation.conftest import SIZE
from tests.evaluation.people import write_photo

POINTS = np.array([(9, 10), (20, 10), (15, 16), (10, 23), (19, 23)], dtype=float)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six templates of three people, of one to three media of one to three faces, listed in no order."""
    rng = np.random.default_rng(0)
    (tmp_path / "meta").mkdir()
    faces, points, number = [], [], 0
    for template in range(1, 7):
        for medium in range(rng.integers(1, 4)):
            for _ in range(rng.integers(1, 4)):
                number += 1
                write_photo(tmp_path / "loose_crop" / f"{number}.jpg", f"person {template % 3}", number)
                faces.append(f"{number}.jpg {template} {10 * template + medium}")
                shown = " ".join(f"{value:.3f}" for value in (POINTS + rng.normal(0, 0.5, (5, 2))).ravel())
                points.append(f"{number}.jpg {shown} {rng.uniform(0.5, 1):.4f}")
    (tmp_path / "meta" / "ijbc_face_tid_mid.txt").write_text("\n".join(faces[::-1]))
    (tmp_path / "meta" / "ijbc_name_5pts_score.txt").write_text("\n".join(points))
    pairs = [f"{a} {b} {int(a % 3 == b % 3)}" for a, b in combinations(range(1, 7), 2)]
    (tmp_path / "meta" / "ijbc_template_pair_label.txt").write_text("\n".join(pairs))
    return tmp_path


def templates_by_hand(root: Path, backbone: nn.Module, low: int | None) -> dict[int, np.ndarray]:
    rows = [line.split() for line in (root / "meta" / "ijbc_name_5pts_score.txt").read_text().splitlines()]
    listed = {row[0]: np.array(row[1:], dtype=float) for row in rows}
    media: dict[int, dict[str, list[np.ndarray]]] = {}
    for line in (root / "meta" / "ijbc_face_tid_mid.txt").read_text().splitlines():
        name, template, medium = line.split()
        shown = face(root / "loose_crop" / name, listed[name][:10].reshape(5, 2), SIZE)
        shown = shown if low is None else resized(resized(shown, low), SIZE)
        both = raw_vector(backbone, shown) + raw_vector(backbone, np.asarray(shown)[:, ::-1])
        media.setdefault(int(template), {}).setdefault(medium, []).append(both * listed[name][10])
    summed = {template: sum(np.mean(own, axis=0) for own in of_one.values()) for template, of_one in media.items()}
    return {template: np.asarray(one) / np.linalg.norm(one) for template, one in summed.items()}


@pytest.mark.parametrize("at_once", [8_192, 2])
def test_figures_face_by_face(
    root: Path, embedder: Embedder, backbone: nn.Module, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(ijb, "_FACES", at_once)
    monkeypatch.setattr(ijb, "_PAIRS", at_once)
    outcome = ijb.measure(ijb.read(root), embedder, sizes=[8])
    found = figures(outcome)
    full = templates_by_hand(root, backbone, None)
    for low, prefix in ((None, ""), (8, "second at 8 px: ")):
        other = templates_by_hand(root, backbone, low)
        scores: dict[bool, list[float]] = {True: [], False: []}
        for a, b in combinations(range(1, 7), 2):
            scores[a % 3 == b % 3].append(float(full[a] @ other[b]))
        threshold = sorted(scores[False], reverse=True)[len(scores[False]) // 10]
        assert found[f"{prefix}TAR at FAR 10 %"] == np.mean([score > threshold for score in scores[True]])
        area = np.mean([(a > b) + (a == b) / 2 for a in scores[True] for b in scores[False]])
        assert found[f"{prefix}AUC"] == pytest.approx(area)
    assert np.isnan(found["TAR at FAR 0.01 %"])
    assert outcome.protocol == "IJB-C 1:1"
    assert outcome.counts["pairs"] == 15


def test_unreadable_faces_are_left_out_of_their_medium(root: Path, embedder: Embedder) -> None:
    lines = (root / "meta" / "ijbc_face_tid_mid.txt").read_text().splitlines()
    of_first = [line.split()[0] for line in lines if line.split()[1] == "1"]
    for name in of_first:
        (root / "loose_crop" / name).write_bytes(b"no picture")
    outcome = ijb.measure(ijb.read(root), embedder)
    assert {name for name, _ in outcome.missing} == set(of_first)
    assert outcome.counts["pairs left out"] == 5
    assert outcome.incomplete


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("face_tid_mid", "1.jpg 1", "damaged|no number|empty"),
        ("face_tid_mid", "9999.jpg 1 1", "gives 9999.jpg a template and no landmarks"),
        ("template_pair_label", "1 77 0", "pairs template 77"),
        ("name_5pts_score", "", "damaged|empty"),
    ],
)
def test_damaged_lists(root: Path, name: str, text: str, told: str) -> None:
    (root / "meta" / f"ijbc_{name}.txt").write_text(text)
    with pytest.raises(UserError, match=told):
        ijb.read(root)


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folder loose_crop"):
        ijb.read(tmp_path)
    (tmp_path / "loose_crop").mkdir()
    with pytest.raises(UserError, match=r"holds no meta/ijbb_face_tid_mid\.txt"):
        ijb.read(tmp_path)
