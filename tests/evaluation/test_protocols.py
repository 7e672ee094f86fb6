"""Whole protocols on rendered data sets, against straightforward evaluations written here."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch import nn

from evaluation import lfw, orl, scface, survface, survface_openset, tinyface
from evaluation.embedder import Embedder
from evaluation.figures import Outcome
from evaluation.pictures import read_picture
from evaluation.prepare import picture_names
from pipeline.align import preprocessing, similarity, template_points
from pipeline.disk import PICTURE_SUFFIXES
from shards.command import UserError
from training.checkpoint import LoadedBackbone
from training.model import build_backbone

SIZE = 32


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("spherenet4", SIZE, 64).eval()


@pytest.fixture(scope="module")
def embedder(backbone: nn.Module) -> Embedder:
    return Embedder(LoadedBackbone(backbone, preprocessing("paper", SIZE), "spherenet4", 1, "x", "0"), device="cpu")


def figures(outcome: Outcome) -> dict[str, float]:
    return {figure.name: figure.value for figure in outcome.figures}


def landmarks(path: Path) -> dict[str, np.ndarray]:
    with path.open() as file:
        return {row[0]: np.array(row[1:], dtype=float).reshape(5, 2) for row in csv.reader(file)}


def face(path: Path, points: np.ndarray, size: int) -> Image.Image:
    """Align with OpenCV and go on in Pillow."""
    matrix = cv2.invertAffineTransform(similarity(template_points("paper", size), points))
    warped = cv2.warpAffine(cv2.imread(str(path)), matrix, (size, size), flags=cv2.INTER_CUBIC)
    return Image.fromarray(cv2.cvtColor(warped, cv2.COLOR_BGR2RGB))


def vector(backbone: nn.Module, picture: Image.Image) -> np.ndarray:
    """Embed one picture, alone, and scale it to length one."""
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        e = backbone(pixels / 127.5 - 1)[0].double().numpy()
    return e / np.linalg.norm(e)


def resized(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def test_lfw_pair_by_pair(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
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


def test_scface_probe_by_probe(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
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


def test_survface_pair_by_pair(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
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


def test_survface_openset_probe_by_probe(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
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


def test_tinyface_probe_by_probe(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
    outcome = tinyface.measure(tinyface.read(rendered / "TinyFace", []), embedder)
    folder = rendered / "TinyFace" / "Testing_Set"
    gallery = [
        (path.name.split("_")[0] if part == "Gallery_Match" else None, vector(backbone, resized(read(path), SIZE)))
        for part in ("Gallery_Match", "Gallery_Distractor")
        for path in (folder / part).iterdir()
    ]
    hits = []
    for path in (folder / "Probe").iterdir():
        e = vector(backbone, resized(read(path), SIZE))
        best = max(gallery, key=lambda entry: entry[1] @ e)
        hits.append(best[0] == path.name.split("_")[0])
    assert figures(outcome)["rank-1"] == pytest.approx(np.mean(hits))
    sides = np.array([min(read(path).size) for path in (folder / "Probe").iterdir()])
    small = np.array(hits)[sides < 16]
    assert 0 < len(small) < len(hits)
    assert figures(outcome)["rank-1, smaller side under 16 px"] == pytest.approx(small.mean())
    assert sum(figure.n for figure in outcome.figures if "px" in figure.name) == len(hits)
    assert outcome.counts == {"probes": 24, "mated gallery": 36, "distractors": 60}


def read(path: Path) -> Image.Image:
    return Image.fromarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def test_orl_at_full_size_beats_eight_pixels_or_equals(embedder: Embedder) -> None:
    outcome = orl.measure(orl.read(), embedder, sizes=(8,))
    assert {figure.n for figure in outcome.figures if figure.name.endswith("rank-1")} == {15 * 9}
    found = figures(outcome)
    assert 0 < found["8 px: rank-1"] <= 1
    assert 0.5 < found[f"{SIZE} px: AUC"] <= 1
    assert outcome.counts == {"people": 15, "photos": 150}


@pytest.fixture
def copy(rendered: Path, tmp_path: Path) -> Path:
    for name in ("LFW", "SCface", "QMUL-SurvFace", "lists"):
        shutil.copytree(rendered / name, tmp_path / name)
    return tmp_path


def test_missing_and_unreadable_pictures_are_counted_and_named(copy: Path, embedder: Embedder) -> None:
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
    mugshot = copy / "SCface" / "SCface_database" / "mugshot_frontal_original_all" / "001_frontal.jpg"
    mugshot.write_bytes(b"")
    (copy / "SCface" / "SCface_database" / "surveillance_cameras_all" / "001_cam8.jpg").write_bytes(b"infrared")
    outcome = scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder)
    assert outcome.incomplete
    assert outcome.figures[0].n == 20, "the five probes of subject 1 are left out"
    assert outcome.counts["pictures beside that no list names (other cameras)"] == 1
    images = copy / "QMUL-SurvFace" / "QMUL-SurvFace" / "Face_Verification_Test_Set" / "verification_images"
    next(images.iterdir()).unlink()
    assert survface.measure(survface.read(copy / "QMUL-SurvFace", []), embedder).incomplete


def test_inner_folders_are_accepted(rendered: Path, embedder: Embedder) -> None:
    outer = survface.measure(survface.read(rendered / "QMUL-SurvFace", []), embedder)
    inner = survface.measure(survface.read(rendered / "QMUL-SurvFace" / "QMUL-SurvFace", []), embedder)
    assert figures(outer) == figures(inner)


def test_missing_folders_and_lists_are_named(rendered: Path, tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(UserError, match="no folder"):
        lfw.measure(lfw.read(tmp_path / "nowhere", []), embedder)
    with pytest.raises(UserError, match=r"no LFW.csv in .*LFW.*data"):
        lfw.measure(lfw.read(rendered / "LFW", []), embedder)
    with pytest.raises(UserError, match="holds none of"):
        survface.measure(survface.read(tmp_path, []), embedder)


def removed(tree: Path, part: str) -> Path:
    """Copy a data set, and leave nothing but rubbish in one of its folders."""
    for path in next(tree.rglob(part)).iterdir():
        path.write_bytes(b"no picture")
    return tree


@pytest.mark.parametrize("part", ["Gallery_Match", "Gallery_Distractor", "Probe"])
def test_a_part_of_tinyface_that_is_gone_is_named(
    rendered: Path, tmp_path: Path, embedder: Embedder, part: str
) -> None:
    root = removed(Path(shutil.copytree(rendered / "TinyFace", tmp_path / "TinyFace")), part)
    outcome = tinyface.measure(tinyface.read(root, []), embedder)
    whole = figures(tinyface.measure(tinyface.read(rendered / "TinyFace", []), embedder))
    assert outcome.incomplete
    assert any(f"Nothing of {part} can be used" in note for note in outcome.notes)
    assert all(name.startswith(f"{part}/") for name, _ in outcome.missing)
    if part == "Gallery_Distractor":
        assert [figure.n for figure in outcome.figures if "px" not in figure.name] == [24] * 5
        assert figures(outcome)["rank-1"] >= whole["rank-1"] > 0
    else:
        assert all(figure.n == 0 and np.isnan(figure.value) for figure in outcome.figures)


@pytest.mark.parametrize("part", ["gallery", "mated_probe", "unmated_probe"])
def test_a_part_of_survface_that_is_gone_is_named(
    rendered: Path, tmp_path: Path, embedder: Embedder, part: str
) -> None:
    root = removed(Path(shutil.copytree(rendered / "QMUL-SurvFace", tmp_path / "QMUL-SurvFace")), part)
    outcome = survface_openset.measure(survface_openset.read(root, []), embedder)
    assert outcome.incomplete
    assert any(f"Nothing of {part} can be used" in note for note in outcome.notes)
    measured = {name for name, value in figures(outcome).items() if not np.isnan(value)}
    # Without unmated probes there is no FPIR, but a closed set there is.
    assert measured == ({"rank-1 (closed set)"} if part == "unmated_probe" else set())
    if part == "unmated_probe":
        shutil.rmtree(next(root.rglob(part)))
        again = survface_openset.measure(survface_openset.read(root, []), embedder)
        assert again.incomplete
        np.testing.assert_equal(figures(again), figures(outcome))


def test_a_distance_of_scface_that_is_gone_is_named(copy: Path, embedder: Embedder) -> None:
    whole = figures(scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder))
    for path in (copy / "SCface" / "SCface_database" / "surveillance_cameras_all").glob("*_2.jpg"):
        path.unlink()
    outcome = scface.measure(scface.read(copy / "SCface", [copy / "lists"]), embedder)
    assert any("Nothing of the probes at d2 can be used" in note for note in outcome.notes)
    found = figures(outcome)
    assert np.isnan(found["d2 (2.6 m): rank-1"])
    assert found["d1 (4.2 m): rank-1"] == whole["d1 (4.2 m): rank-1"]


def test_a_protocol_without_any_picture_has_no_figures(rendered: Path, tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "LFW" / "lfw").mkdir(parents=True)
    outcome = lfw.measure(lfw.read(tmp_path / "LFW", [rendered / "lists"]), embedder)
    assert outcome.incomplete
    assert all(figure.n == 0 and np.isnan(figure.value) for figure in outcome.figures)
    root = removed(Path(shutil.copytree(rendered / "QMUL-SurvFace", tmp_path / "Q")), "verification_images")
    outcome = survface.measure(survface.read(root, []), embedder)
    assert outcome.incomplete
    assert all(figure.n == 0 and np.isnan(figure.value) for figure in outcome.figures)


def test_a_truncated_jpeg_is_no_picture(copy: Path, embedder: Embedder) -> None:
    images = copy / "QMUL-SurvFace" / "QMUL-SurvFace" / "Face_Verification_Test_Set" / "verification_images"
    cut = sorted(images.iterdir())[0]
    cut.write_bytes(cut.read_bytes()[:-200])
    assert cv2.imread(str(cut)) is not None, "the decoder itself fills it with grey"
    outcome = survface.measure(survface.read(copy / "QMUL-SurvFace", []), embedder)
    assert outcome.missing == ((cut.name, "unreadable (truncated)"),)


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_distractors_of_every_kind_of_file_are_found(rendered: Path, tmp_path: Path, suffix: str) -> None:
    (path,) = sorted((rendered / "TinyFace" / "Testing_Set" / "Probe").iterdir())[:1]
    Image.open(path).convert("RGB").save(tmp_path / f"a{suffix.upper()}")
    (tmp_path / "a.txt").touch()
    assert picture_names(tmp_path) == [f"a{suffix.upper()}"]
    assert read_picture(tmp_path / f"a{suffix.upper()}").shape == (*cv2.imread(str(path)).shape[:2], 3)


def test_a_checkpoint_with_another_template_is_refused(rendered: Path, backbone: nn.Module) -> None:
    from shards.format import Preprocessing

    for form, says in (
        (Preprocessing("whole", (), SIZE, "x"), "template 'whole'"),
        (Preprocessing("paper", ((1.0, 2.0),), SIZE, "x"), "has points"),
    ):
        other = Embedder(LoadedBackbone(backbone, form, "spherenet4", 1, "x", "0"), device="cpu")
        with pytest.raises(UserError, match=says):
            lfw.measure(lfw.read(rendered / "LFW", [rendered / "lists"]), other)
