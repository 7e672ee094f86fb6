"""Tracks of own people against an evaluation track by track."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation import __main__ as command
from evaluation.models.embedder import Embedder
from evaluation.protocols import own_people
from evaluation.scoring.faces import FaceSource
from shards.command import UserError
from tests.evaluation.by_hand import figures, raw_vector, read, resized
from tests.evaluation.conftest import SIZE
from tests.evaluation.people import write_people, write_photo

PEOPLE = ["anna", "berta", "carl", "dora", "emil"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Each person has two tracks, of four and of two crops, and a single picture."""
    gallery, probes, strangers = (tmp_path / name for name in ("known", "asked", "others"))
    write_people(gallery, PEOPLE, range(2))
    for root, people in ((probes, PEOPLE), (strangers, ["xaver", "yara", "zoe", "quentin", "ruth"])):
        for person in people:
            for number in range(2, 9):
                folder = ("walk", "walk", "walk", "walk", "door/2", "door/2", "")[number - 2]
                write_photo(root / person / folder / f"{number}.png", person, number, (12, 20, 60)[number % 3], 110)
    return gallery, probes, strangers


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def pooled(backbone: nn.Module, folder: Path, *, weighted: bool) -> np.ndarray:
    total = np.zeros(64)
    for path in sorted(folder.glob("*.png")):
        picture = read(path)
        e = raw_vector(backbone, resized(picture, SIZE))
        total += min(picture.size[0], SIZE) * e if weighted else unit(e)
    return unit(total)


def by_hand(backbone: nn.Module, folders: Sequence[Path], *, weighted: bool) -> tuple[float, float]:
    """Return rank-1, and TPIR at FPIR 10 %."""
    gallery, probes, strangers = folders
    templates = {person: pooled(backbone, gallery / person, weighted=False) for person in PEOPLE}

    def scores(folder: Path) -> dict[str, float]:
        e = pooled(backbone, folder, weighted=weighted)
        return {person: float(template @ e) for person, template in templates.items()}

    def tracks(root: Path) -> list[Path]:
        return sorted([*root.glob("*/walk"), *root.glob("*/door/2")])

    alarms = sorted((max(scores(folder).values()) for folder in tracks(strangers)), reverse=True)
    threshold = alarms[len(alarms) // 10]
    found = [(folder.relative_to(probes).parts[0], scores(folder)) for folder in tracks(probes)]
    right = [max(own, key=lambda name: own[name]) == person for person, own in found]
    above = [own[person] > threshold for person, own in found]
    return float(np.mean(right)), float(np.mean(np.array(right) & above))


@pytest.mark.slow
def test_tracks_are_one_probe_each_beside_single_pictures(
    folders: tuple[Path, Path, Path], embedder: Embedder, backbone: nn.Module
) -> None:
    outcome = own_people.measure(own_people.read(*folders, tracks=True), embedder, sizes=[8])
    found = figures(outcome)
    for way, weighted in (("tracks", True), ("tracks, plain mean", False)):
        rank_1, tpir = by_hand(backbone, folders, weighted=weighted)
        assert found[f"{way}: rank-1"] == pytest.approx(rank_1), way
        assert found[f"{way}: TPIR at FPIR 10 %"] == pytest.approx(tpir), way
    both = [[v for name, v in found.items() if name.startswith(f"{way}: ")] for way in ("tracks", "tracks, plain mean")]
    assert not np.array_equal(*both, equal_nan=True), "a test that cannot fail"
    counts = {figure.name: figure.n for figure in outcome.figures}
    assert (counts["rank-1"], counts["tracks: rank-1"], counts["8 px: tracks: rank-1"]) == (35, 10, 10)
    assert outcome.counts["people in the probes"] == 5
    assert (outcome.counts["tracks in the probes"], outcome.counts["tracks of strangers"]) == (10, 10)
    assert {curve.name for curve in outcome.curves} >= {"tracks", "tracks, plain mean"}
    assert any("A track is the pictures in a folder" in note for note in outcome.notes)


@pytest.mark.slow
def test_a_track_counts_as_lost_only_where_all_of_its_faces_are(
    folders: tuple[Path, Path, Path], embedder: Embedder, tmp_path: Path
) -> None:
    gallery, probes, _ = folders
    points = "10,12,22,12,16,17,11,23,21,23"
    rows = [path.relative_to(tmp_path) for root in (gallery, probes) for path in sorted(root.rglob("*.png"))]
    lost = {"asked/anna/walk/2.png", *(f"asked/berta/door/2/{number}.png" for number in (6, 7))}
    (tmp_path / "points.csv").write_text("".join(f"{row},{points}\n" for row in rows if str(row) not in lost))
    source = FaceSource("landmark list", (tmp_path / "points.csv",))
    outcome = own_people.measure(own_people.read(gallery, probes, faces=source, tracks=True), embedder)
    counts = {figure.name: figure.n for figure in outcome.figures}
    assert (counts["rank-1"], counts["faces found: rank-1"]) == (35, 32)
    assert counts["tracks: rank-1"] == 10
    (probes / "carl" / "walk" / "3.png").write_bytes(b"no picture")
    again = own_people.measure(own_people.read(gallery, probes, tracks=True), embedder)
    assert next(figure.n for figure in again.figures if figure.name == "tracks: rank-1") == 10
    assert again.incomplete


def test_without_the_option_a_folder_is_a_person_and_with_it_there_must_be_tracks(
    folders: tuple[Path, Path, Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, probes, _ = folders
    assert {person for _, person in own_people.read(gallery, probes).probes.named} == set(PEOPLE)
    write_people(tmp_path / "flat", PEOPLE, range(9, 10))
    for words, told in [
        (("--gallery", gallery, "--probes", tmp_path / "flat", "--tracks"), "holds no track; expected .*TRACK/PICTURE"),
        (("--orl", "--tracks"), "--tracks without --gallery"),
    ]:
        monkeypatch.setattr("sys.argv", ["evaluation", "--checkpoint", str(checkpoint), *map(str, words), "--out", "x"])
        with pytest.raises(UserError, match=told):
            command.main()
