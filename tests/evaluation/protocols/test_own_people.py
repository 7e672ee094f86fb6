"""Own people against an evaluation photo by photo, and what a user may get wrong."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.protocols import own_people
from evaluation.scoring.faces import FaceSource
from shards.command import UserError
from tests.evaluation.by_hand import figures, read, resized, vector
from tests.evaluation.conftest import SIZE
from tests.evaluation.people import write_people, write_photo

PEOPLE = ["anna", "berta", "site/carl", "dora", "emil", "fritz", "gina"]
STRANGERS = ["xaver", "yara", "zoe"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    gallery, probes, strangers = (tmp_path / name for name in ("known", "asked", "others"))
    write_people(gallery, PEOPLE, range(2))
    write_people(probes, PEOPLE, range(2, 5), sides=(12, 20, 40))
    write_people(strangers, STRANGERS, range(4))
    return gallery, probes, strangers


def embedded(backbone: nn.Module, root: Path, low: int | None = None) -> list[tuple[str, np.ndarray]]:
    found = []
    for path in sorted(root.rglob("*.png")):
        picture = resized(read(path), SIZE)
        picture = picture if low is None else resized(resized(picture, low), SIZE)
        found.append((path.parent.relative_to(root).as_posix(), vector(backbone, picture)))
    return found


def templates_of(backbone: nn.Module, root: Path) -> dict[str, np.ndarray]:
    photos: dict[str, list[np.ndarray]] = {}
    for person, e in embedded(backbone, root):
        photos.setdefault(person, []).append(e)
    means = {person: np.mean(own, axis=0) for person, own in photos.items()}
    return {person: mean / np.linalg.norm(mean) for person, mean in means.items()}


def by_hand(
    backbone: nn.Module, gallery: Path, probes: Path, strangers: Path, low: int | None = None
) -> dict[str, float]:
    templates = templates_of(backbone, gallery)
    mated, unmated, rank_1, passing = [], [], [], []
    alarms = sorted(
        (max(t @ e for t in templates.values()) for _, e in embedded(backbone, strangers, low)), reverse=True
    )
    threshold = alarms[len(alarms) // 10]
    for person, e in embedded(backbone, probes, low):
        true = templates[person] @ e
        others = [t @ e for other, t in templates.items() if other != person]
        mated.append(true)
        unmated += others
        rank_1.append(true > max(others))
        passing.append(true > max(others) and true > threshold)
    at_far = sorted(unmated, reverse=True)[len(unmated) // 100]
    return {
        "rank-1": np.mean(rank_1),
        "TPIR at FPIR 10 %": np.mean(passing),
        "TAR at FAR 1 %": np.mean([score > at_far for score in mated]),
        "AUC": np.mean([(score > other) + (score == other) / 2 for score in mated for other in unmated]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("low", [None, 8])
def test_figures_photo_by_photo(
    folders: tuple[Path, Path, Path], embedder: Embedder, backbone: nn.Module, low: int | None
) -> None:
    outcome = own_people.measure(own_people.read(*folders), embedder, sizes=[8])
    found = figures(outcome)
    prefix = f"{low} px: " if low else ""
    for name, value in by_hand(backbone, *folders, low).items():
        assert found[f"{prefix}{name}"] == pytest.approx(value, abs=1e-9), name
    assert 0.2 < found["rank-1"] < 1, "a test that cannot fail"
    sizes = {f.name: f.n for f in outcome.figures}
    assert (sizes["rank-1"], sizes["TAR at FAR 1 %"], sizes["AUC"]) == (21, 21, 21 * 7)
    assert sum(n for name, n in sizes.items() if name.startswith("rank-1, face")) == 21
    assert not outcome.incomplete
    assert outcome.alignment.kind == "whole"
    assert {mistake.kind.split(",")[0] for mistake in outcome.mistakes} >= {"people who are not in the gallery"}
    assert outcome.counts["people in the gallery"] == 7
    assert outcome.counts["photos of strangers"] == 12


@pytest.mark.slow
def test_rates_that_need_more_comparisons_are_not_measured(
    folders: tuple[Path, Path, Path], embedder: Embedder
) -> None:
    outcome = own_people.measure(own_people.read(*folders), embedder)
    found = {figure.name: figure for figure in outcome.figures}
    assert found["TAR at FAR 1 %"].value >= 0, "126 non-mated comparisons"
    assert np.isnan(found["TAR at FAR 0.1 %"].value)
    assert "at least 1,000 non-mated comparisons, here are 126" in found["TAR at FAR 0.1 %"].note
    assert "fewer than 30" in found["TAR at FAR 1 %"].note
    assert np.isnan(found["TPIR at FPIR 1 %"].value)
    assert "at least 100 photos of strangers, here are 12" in found["TPIR at FPIR 1 %"].note
    assert "TAR at FAR 0.001 %" not in found
    # 3 n (n - 1) comparisons of n people, 10,000 of them.
    assert any("0.01 % 59" in note for note in outcome.notes)


@pytest.mark.slow
def test_probes_of_people_who_are_not_in_the_gallery(folders: tuple[Path, Path, Path], embedder: Embedder) -> None:
    gallery, probes, strangers = folders
    clean = figures(own_people.measure(own_people.read(gallery, probes), embedder))
    write_people(probes, ["nobody", "yara"], range(2))
    outcome = own_people.measure(own_people.read(gallery, probes), embedder)
    np.testing.assert_equal(figures(outcome), clean)
    assert outcome.counts["probes of people who are not in the gallery, not measured"] == 4
    assert any("4 probes show 2 people" in note and "(nobody, yara)" in note for note in outcome.notes)
    with_strangers = own_people.measure(own_people.read(gallery, probes, strangers), embedder)
    assert with_strangers.counts["photos of strangers"] == 14, "yara is a stranger: her probes count, too"
    assert with_strangers.counts["probes of people who are not in the gallery, not measured"] == 2
    assert figures(with_strangers)["rank-1"] == clean["rank-1"]


@pytest.mark.slow
def test_unreadable_and_hidden_photos_are_counted(folders: tuple[Path, Path, Path], embedder: Embedder) -> None:
    gallery, probes, _ = folders
    (gallery / "anna" / "0.png").write_bytes(b"no picture")
    (probes / "berta" / "2.png").write_bytes(b"no picture")
    for name in ("._3.png", "@eaDir/3.png", ".ipynb_checkpoints/3.png"):
        (probes / "berta" / name).parent.mkdir(exist_ok=True)
        (probes / "berta" / name).write_bytes(b"no picture")
    (probes / "loose.png").write_bytes(b"no picture")
    outcome = own_people.measure(own_people.read(gallery, probes), embedder)
    assert dict(outcome.missing).keys() == {"gallery/anna/0.png", "probes/berta/2.png"}
    assert outcome.incomplete
    assert next(figure.n for figure in outcome.figures if figure.name == "rank-1") == 20
    assert any(note.startswith("1 photos lie in no person's folder") for note in outcome.notes)
    # Nobody can find berta where nothing of hers in the gallery can be read.
    for number in range(2):
        (gallery / "berta" / f"{number}.png").write_bytes(b"no picture")
    outcome = own_people.measure(own_people.read(gallery, probes), embedder)
    assert next(figure.n for figure in outcome.figures if figure.name == "rank-1") == 18
    assert outcome.counts["probes left out, for no photo of their person in the gallery can be read"] == 2


def write_list(path: Path, roots: dict[str, Path], without: set[str]) -> None:
    """Write a landmark list in which the face fills the picture."""
    rows = []
    for part, root in roots.items():
        for photo in sorted(root.rglob("*.png")):
            side = read(photo).size[0]
            name = f"{part}/{photo.relative_to(root).as_posix()}"
            points = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]) * side
            rows += [] if name in without else [",".join([name, *map(str, points.ravel())])]
    path.write_text("\n".join(rows))


@pytest.mark.slow
def test_a_face_that_was_not_found_is_an_error(
    folders: tuple[Path, Path, Path], embedder: Embedder, tmp_path: Path
) -> None:
    gallery, probes, _ = folders
    listed = tmp_path / "points.csv"
    parts = {"gallery": gallery, "probes": probes}
    write_list(listed, parts, set())
    source = FaceSource("landmark list", (listed,))
    complete = own_people.measure(own_people.read(gallery, probes, None, source), embedder)
    assert complete.alignment.not_found == 0
    assert not [figure for figure in complete.figures if figure.name.startswith("faces found")]
    write_list(listed, parts, {"probes/anna/2.png", "gallery/dora/0.png", "gallery/dora/1.png"})
    outcome = own_people.measure(own_people.read(gallery, probes, None, source), embedder)
    found = {figure.name: figure for figure in outcome.figures}
    assert (outcome.alignment.not_found, outcome.alignment.pictures) == (3, 35)
    assert not outcome.incomplete, "what was not found is measured: as an error"
    assert (found["rank-1"].n, found["faces found: rank-1"].n) == (21, 17)
    assert found["rank-1"].value * 21 == pytest.approx(found["faces found: rank-1"].value * 17)
    assert found["TAR at FAR 10 %"].n == 21
    assert found["rank-1"].value < found["faces found: rank-1"].value
    whole = own_people.measure(
        own_people.read(gallery, probes, None, FaceSource("landmark list", (listed,), not_found="whole")), embedder
    )
    assert whole.alignment.became == "whole pictures"
    assert {figure.name: figure.n for figure in whole.figures}["rank-1"] == 21


def test_one_name_for_two_pictures_is_refused(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    gallery, probes, _ = folders
    write_photo(probes / "anna" / "0.png", "anna", 9)
    listed = tmp_path / "points.csv"
    write_list(listed, {".": gallery}, set())
    with pytest.raises(UserError, match="a picture of both gallery and probes"):
        own_people.read(gallery, probes, None, FaceSource("landmark list", (listed,)))
    other = tmp_path / "others.csv"
    write_list(other, {".": probes}, set())
    own_people.read(gallery, probes, None, FaceSource("landmark list", (listed, other)))
    with pytest.raises(UserError, match="3 landmark lists for 2 folders"):
        own_people.read(gallery, probes, None, FaceSource("landmark list", (listed, other, other)))


def test_mistakes_of_users(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    gallery, probes, strangers = folders
    empty = tmp_path / "empty"
    with pytest.raises(UserError, match="--gallery: no folder"):
        own_people.read(empty, probes)
    empty.mkdir()
    with pytest.raises(UserError, match=r"--probes: .* holds no photos"):
        own_people.read(gallery, empty)
    write_photo(empty / "1.png", "anna", 1)
    with pytest.raises(UserError, match="holds 1 photos and no folders of people"):
        own_people.read(gallery, empty)
    with pytest.raises(UserError, match="every photo would find itself"):
        own_people.read(gallery, gallery)
    with pytest.raises(UserError, match="none of the 3 people"):
        own_people.read(gallery, strangers)
    with pytest.raises(UserError, match="anna, berta, dora, emil, fritz and 2 more stand in both"):
        own_people.read(gallery, probes, probes)
    write_photo(probes / "Anna" / "1.png", "anna", 1)
    with pytest.raises(UserError, match="Anna and anna differ by upper and lower case"):
        own_people.read(gallery, probes)
