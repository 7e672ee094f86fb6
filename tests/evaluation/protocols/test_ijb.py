"""IJB's templates and pairs against an evaluation face by face."""

import heapq
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.lists.ijb_lists import read_ijb_lists, read_search_lists
from evaluation.metrics import identification
from evaluation.models.embedder import Embedder
from evaluation.protocols import ijb, ijb_search
from evaluation.scoring import media_templates
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
    header = "TEMPLATE_ID,SUBJECT_ID,FILENAME"
    # Templates 1 to 3 are in the galleries, of two people the first one's and of the third the second one's.
    rows = {"gallery_G1": [(2, 2), (1, 1), (1, 1)], "gallery_G2": [(3, 0)], "probe_mixed": [(6, 0), (5, 2), (4, 1)]}
    for name, listed in rows.items():
        lines = [header, *(f"{template},{subject},img/{template}.jpg" for template, subject in listed)]
        (tmp_path / "meta" / f"ijbc_1N_{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def templates_by_hand(root: Path, backbone: nn.Module, low: int | None, short: str = "ijbc") -> dict[int, np.ndarray]:
    rows = [line.split() for line in (root / "meta" / f"{short}_name_5pts_score.txt").read_text().splitlines()]
    listed = {row[0]: np.array(row[1:], dtype=float) for row in rows}
    media: dict[int, dict[str, list[np.ndarray]]] = {}
    for line in (root / "meta" / f"{short}_face_tid_mid.txt").read_text().splitlines():
        name, template, medium = line.split()
        shown = face(root / "loose_crop" / name, listed[name][:10].reshape(5, 2), SIZE)
        shown = shown if low is None else resized(resized(shown, low), SIZE)
        both = raw_vector(backbone, shown) + raw_vector(backbone, np.asarray(shown)[:, ::-1])
        media.setdefault(int(template), {}).setdefault(medium, []).append(both * listed[name][10])
    summed = {template: sum(np.mean(own, axis=0) for own in of_one.values()) for template, of_one in media.items()}
    return {template: np.asarray(one) / np.linalg.norm(one) for template, one in summed.items()}


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [8_192, 2])
def test_figures_face_by_face(
    root: Path, embedder: Embedder, backbone: nn.Module, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(media_templates, "FACES", at_once)
    monkeypatch.setattr(ijb, "_PAIRS", at_once)
    outcome = ijb.measure(read_ijb_lists(root), embedder, sizes=[8])
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


def peers_search(
    query: np.ndarray, gallery: np.ndarray, mates: list[int]
) -> tuple[dict[int, float], dict[float, float]]:
    """Rank-r and TPIR at FPIR by the steps of insightface's ijb_1n.py: all pairs at once, a heap of the highest."""
    similarity = query @ gallery.T
    order = np.argsort(-similarity, axis=1)
    ranks = {r: float(np.mean([mate in row[:r] for mate, row in zip(mates, order, strict=True)])) for r in (1, 5, 10)}
    places = {fpir: math.ceil(len(query) * fpir) for fpir in (0.01, 0.1)}
    own = similarity[np.arange(len(query)), mates].copy()
    similarity[np.arange(len(query)), mates] = -2
    highest = heapq.nlargest(max(places.values()), similarity[similarity > -2].tolist())
    return ranks, {fpir: float((own > highest[place - 1]).sum() / len(query)) for fpir, place in places.items()}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Forty people in each of two galleries, with three probes each, of one face a template."""
    meta = tmp_path / "meta"
    meta.mkdir()
    (tmp_path / "loose_crop").mkdir()
    rows: dict[str, list[str]] = {"gallery_S1": [], "gallery_S2": [], "probe_mixed": []}
    faces, points = [], []
    for subject in range(80):
        for number in range(4):
            template = 4 * subject + number
            gallery = "gallery_S1" if subject < 40 else "gallery_S2"
            rows[gallery if number == 0 else "probe_mixed"].append(f"{template},{subject},x")
            write_photo(tmp_path / "loose_crop" / f"{template}.jpg", f"person {subject}", number, noise=40)
            faces.append(f"{template}.jpg {template} {template}")
            points.append(f"{template}.jpg {' '.join(map(str, POINTS.ravel()))} 0.9")
    (meta / "ijbb_face_tid_mid.txt").write_text("\n".join(faces))
    (meta / "ijbb_name_5pts_score.txt").write_text("\n".join(points))
    (meta / "ijbb_template_pair_label.txt").write_text("0 1 1\n0 4 0\n")
    for name, lines in rows.items():
        (meta / f"ijbb_1N_{name}.csv").write_text("\n".join(["TEMPLATE_ID,SUBJECT_ID,FILENAME", *lines[::-1]]))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("block_bytes", [1 << 28, 8 * 80 * 7])
def test_search_equals_the_peers_steps(
    many: Path, embedder: Embedder, backbone: nn.Module, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(identification, "_BLOCK_BYTES", block_bytes)
    lists = read_ijb_lists(many)
    search = read_search_lists(many, lists)
    assert search is not None
    outcome = ijb_search.measure(lists, search, embedder)
    found = figures(outcome)
    assert (outcome.protocol, outcome.counts["probes"]) == ("IJB-B 1:N", 240)
    templates = templates_by_hand(many, backbone, None, "ijbb")
    gallery = np.stack([templates[4 * subject] for subject in range(80)])
    probes = np.stack([templates[4 * subject + number] for subject in range(80) for number in (1, 2, 3)])
    people = np.repeat(np.arange(80), 3)
    ranks, tpir = peers_search(probes, gallery, people.tolist())
    assert 0 < tpir[0.1] < 1
    for rank, value in ranks.items():
        assert found[f"G1 and G2 together: rank-{rank}"] == value
    for fpir, value in tpir.items():
        assert found[f"G1 and G2 together: TPIR at FPIR {100 * fpir:g} %"] == value
    both = []
    for name, own in (("G1", people < 40), ("G2", people >= 40)):
        similarity = probes @ gallery[np.unique(people[own])].T
        place = people[own] - people[own].min()
        mated, true = similarity[own], similarity[own][np.arange(own.sum()), place]
        assert found[f"{name}: rank-1"] == np.mean(mated.argmax(axis=1) == place)
        best = np.sort(similarity[~own].max(axis=1))[::-1]
        for fpir in (0.1, 0.01):
            assert found[f"{name}: TPIR at FPIR {100 * fpir:g} %"] == np.mean(true > best[int(fpir * len(best))])
        both.append(np.mean(mated.argmax(axis=1) == place))
    assert found["mean of rank-1 in G1 and G2"] == np.mean(both)


@pytest.mark.slow
def test_search_of_templates_of_several_media(root: Path, embedder: Embedder, backbone: nn.Module) -> None:
    lists = read_ijb_lists(root)
    search = read_search_lists(root, lists)
    assert search is not None
    outcome = ijb_search.measure(lists, search, embedder, sizes=[8])
    full, low = templates_by_hand(root, backbone, None), templates_by_hand(root, backbone, 8)
    for prefix, probes in (("", full), ("probes at 8 px: ", low)):
        scores = np.array([[probes[probe] @ full[template] for template in (1, 2, 3)] for probe in (4, 5, 6)])
        rank_1 = np.mean(scores.argmax(axis=1) == np.arange(3))
        assert figures(outcome)[f"{prefix}G1 and G2 together: rank-1"] == rank_1
    assert outcome.counts["people in G1"] == 2


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("gallery_G1", "TEMPLATE_ID,SUBJECT_ID\n77,1\n", "names template 77, which has no face"),
        ("gallery_G1", "TEMPLATE_ID,SUBJECT_ID\n1,1\n1,2\n", "gives template 1 to two subjects"),
        ("gallery_G1", "TEMPLATE_ID,SUBJECT_ID\n1,0\n", "both hold subject 0"),
        ("probe_mixed", "TEMPLATE_ID,SUBJECT_ID\n", "is empty"),
        ("probe_mixed", "TEMPLATE_ID,SUBJECT_ID\nx,1\n", "is damaged"),
    ],
)
def test_damaged_search_lists(root: Path, name: str, text: str, told: str) -> None:
    (root / "meta" / f"ijbc_1N_{name}.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        read_search_lists(root, read_ijb_lists(root))


def test_without_search_lists(root: Path) -> None:
    for path in (root / "meta").glob("*_1N_*"):
        path.unlink()
    assert read_search_lists(root, read_ijb_lists(root)) is None


def test_unreadable_faces_are_left_out_of_their_medium(root: Path, embedder: Embedder) -> None:
    lines = (root / "meta" / "ijbc_face_tid_mid.txt").read_text().splitlines()
    of_first = [line.split()[0] for line in lines if line.split()[1] == "1"]
    for name in of_first:
        (root / "loose_crop" / name).write_bytes(b"no picture")
    outcome = ijb.measure(read_ijb_lists(root), embedder)
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
        read_ijb_lists(root)


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folder loose_crop"):
        read_ijb_lists(tmp_path)
    (tmp_path / "loose_crop").mkdir()
    with pytest.raises(UserError, match=r"holds no meta/ijbb_face_tid_mid\.txt"):
        read_ijb_lists(tmp_path)
