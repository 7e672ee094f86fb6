"""Galleries by another model than probes, in every protocol: against one model, and against loops over photos."""

import pickle
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.lists.ijb_lists import read_ijb_lists, read_search_lists
from evaluation.metrics.figures import Outcome
from evaluation.models.embedder import Embedder, PictureEmbedder
from evaluation.models.gallery_model import WithGalleryOf, with_gallery_of
from evaluation.protocols import bin_pairs, ijb, ijb_search, own_pairs, own_people
from evaluation.protocols.selection import lfw, orl, scface, survface, survface_openset, tinyface
from evaluation.scoring.both_ways import NOTE
from pipeline.alignment.align import preprocessing
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from tests.evaluation.by_hand import figures, read, resized, vector
from tests.evaluation.conftest import SIZE
from tests.evaluation.people import write_people
from tests.evaluation.protocols.test_exactness import Recorder
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import build_backbone

PEOPLE = ["anna", "berta", "carl", "dora"]


def _search(root: Path, model: PictureEmbedder) -> Outcome:
    write_dataset(root / "mine", "ijbc", identities=8, photos=4, seed=0)
    lists = read_ijb_lists(root / "mine" / "IJBC")
    search = read_search_lists(root / "mine" / "IJBC", lists)
    assert search is not None
    return ijb_search.measure(lists, search, model, sizes=[8])


PROTOCOLS = {
    "LFW": lambda root, model: lfw.measure(lfw.read(root / "LFW", [root / "lists"]), model, sizes=[8]),
    "SCface": lambda root, model: scface.measure(scface.read(root / "SCface", [root / "lists"]), model),
    "SurvFace": lambda root, model: survface.measure(survface.read(root / "QMUL-SurvFace", []), model),
    "open set": lambda root, model: survface_openset.measure(survface_openset.read(root / "QMUL-SurvFace", []), model),
    "TinyFace": lambda root, model: tinyface.measure(tinyface.read(root / "TinyFace", []), model),
    "ORL": lambda root, model: orl.measure(orl.read(), model, sizes=[8]),
    "own people": lambda root, model: own_people.measure(own_people.read(*_people(root)), model, sizes=[8]),
    "own pairs": lambda root, model: own_pairs.measure(own_pairs.read(*_pairs(root)), model, sizes=[8]),
    "bin": lambda root, model: bin_pairs.measure(bin_pairs.read([_bin(root)])[0], model, sizes=[8]),
    "IJB": lambda root, model: ijb.measure(read_ijb_lists(_ijb(root)), model, sizes=[8]),
    "IJB search": _search,
}
PAIRS = {"LFW", "SurvFace", "own pairs", "bin", "IJB"}
"""Protocols of pairs in which both pictures may be in full."""


def _people(root: Path) -> tuple[Path, Path]:
    write_people(root / "mine" / "known", PEOPLE, range(2))
    write_people(root / "mine" / "seen", PEOPLE, range(2, 5))
    return root / "mine" / "known", root / "mine" / "seen"


def _pairs(root: Path) -> tuple[Path, Path]:
    write_people(root / "mine" / "photos", PEOPLE, range(3), sides=(12, 24, 48))
    names = sorted(path.relative_to(root / "mine" / "photos").as_posix() for path in (root / "mine").rglob("*.png"))
    rows = [f"{a} {b} {int(a.split('/')[0] == b.split('/')[0])}" for a, b in combinations(names, 2)]
    (root / "mine" / "pairs.txt").write_text("\n".join(rows))
    return root / "mine" / "pairs.txt", root / "mine" / "photos"


def _bin(root: Path) -> Path:
    write_people(root / "mine" / "bin", PEOPLE, range(5))
    photos = sorted((root / "mine" / "bin").rglob("*.png"))
    pairs = [*combinations(photos, 2)][::6]
    pictures = [path.read_bytes() for pair in pairs for path in pair]
    (root / "mine" / "some.bin").write_bytes(pickle.dumps((pictures, [a.parent == b.parent for a, b in pairs])))
    return root / "mine" / "some.bin"


def _ijb(root: Path) -> Path:
    folder = root / "mine" / "IJBC"
    (folder / "meta").mkdir(parents=True)
    write_people(folder / "loose_crop", PEOPLE, range(4))
    names = sorted(path.relative_to(folder / "loose_crop").as_posix() for path in folder.rglob("*.png"))
    faces = [f"{name} {row // 2 + 1} {row}" for row, name in enumerate(names)]
    points = [f"{name} 9 10 20 10 15 16 10 23 19 23 0.9" for name in names]
    pairs = [f"{a} {b} {int((a - 1) // 2 == (b - 1) // 2)}" for a, b in combinations(range(1, 9), 2)]
    for kind, rows in (("face_tid_mid", faces), ("name_5pts_score", points), ("template_pair_label", pairs)):
        (folder / "meta" / f"ijbc_{kind}.txt").write_text("\n".join(rows))
    return folder


@pytest.fixture
def root(rendered: Path, tmp_path: Path) -> Path:
    """The rendered data sets, and a folder beside them for those that a test writes."""
    for path in rendered.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def loaded(backbone: nn.Module, size: int = SIZE) -> LoadedBackbone:
    return LoadedBackbone(backbone, preprocessing("paper", size), "spherenet4", 1, "x", "0")


@pytest.fixture(scope="module")
def old_backbone() -> nn.Module:
    torch.manual_seed(1)
    return build_backbone("spherenet4", SIZE, 64).eval()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_with_the_same_weights_every_figure_is_that_of_one_model(
    name: str, root: Path, embedder: Embedder, backbone: nn.Module
) -> None:
    measure: Callable[[Path, PictureEmbedder], Outcome] = PROTOCOLS[name]
    alone = figures(measure(root, embedder))
    shutil.rmtree(root / "mine", ignore_errors=True)
    outcome = measure(root, WithGalleryOf(embedder, Embedder(loaded(backbone), device="cpu")))
    found = figures(outcome)
    # The order of batches differs, and with it the last bits.
    assert {name: found[name] for name in alone} == pytest.approx(alone, abs=1e-9, nan_ok=True)
    assert (NOTE in outcome.notes) == (name in PAIRS)
    ways = [way for way in found if way.startswith("first of the gallery: ")]
    assert bool(ways) == (name in PAIRS)
    assert not any("8 px" in way and "second" in way.split(": ", 1)[1] for way in ways), "with one reduced it is told"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_gallery_model_sees_the_gallery_alone_and_in_its_own_size(name: str, root: Path) -> None:
    probes, gallery = Recorder(), Recorder()
    gallery.preprocessing = preprocessing("paper", 64)
    PROTOCOLS[name](root, WithGalleryOf(probes, gallery))
    assert gallery.pictures
    assert {picture.preparation.size for picture in gallery.pictures} == {64}
    assert {picture.preparation.size for picture in probes.pictures} == {128}
    assert all(picture.preparation.low is None for picture in gallery.pictures), "probes alone are reduced"
    if name not in PAIRS and name != "ORL":
        assert not {picture.path for picture in gallery.pictures} & {picture.path for picture in probes.pictures}


def test_ranks_photo_by_photo(root: Path, embedder: Embedder, backbone: nn.Module, old_backbone: nn.Module) -> None:
    known, seen = _people(root)
    model = WithGalleryOf(embedder, Embedder(loaded(old_backbone), device="cpu"))
    outcome = own_people.measure(own_people.read(known, seen), model, sizes=[8])
    templates = {}
    for person in PEOPLE:
        photos = [vector(old_backbone, resized(read(known / person / f"{k}.png"), SIZE)) for k in range(2)]
        templates[person] = sum(photos) / np.linalg.norm(sum(photos))
    for low, prefix in ((None, ""), (8, "8 px: ")):
        hits = []
        for person in PEOPLE:
            for number in range(2, 5):
                photo = resized(read(seen / person / f"{number}.png"), SIZE)
                probe = vector(backbone, photo if low is None else resized(resized(photo, low), SIZE))
                scores = {name: probe @ template for name, template in templates.items()}
                hits.append(max(scores, key=scores.__getitem__) == person)
        assert figures(outcome)[f"{prefix}rank-1"] == pytest.approx(np.mean(hits))


def test_pairs_in_full_are_scored_both_ways(
    root: Path, embedder: Embedder, backbone: nn.Module, old_backbone: nn.Module
) -> None:
    pairs, photos = _pairs(root)
    model = WithGalleryOf(embedder, Embedder(loaded(old_backbone), device="cpu"))
    found = figures(own_pairs.measure(own_pairs.read(pairs, photos), model, sizes=[8]))
    areas = {}
    for way, (one, two) in {"first": (old_backbone, backbone), "second": (backbone, old_backbone)}.items():
        scores: dict[str, list[float]] = {"0": [], "1": []}
        for line in pairs.read_text().splitlines():
            a, b, same = line.split()
            left, right = (resized(read(photos / name), SIZE) for name in (a, b))
            scores[same].append(float(vector(one, left) @ vector(two, right)))
        areas[way] = np.mean([(a > b) + (a == b) / 2 for a in scores["1"] for b in scores["0"]])
        assert found[f"{way} of the gallery: AUC"] == pytest.approx(areas[way])
    assert areas["first"] != areas["second"]
    assert found["AUC"] == pytest.approx((areas["first"] + areas["second"]) / 2)


def test_two_lengths_of_embeddings_are_refused(embedder: Embedder) -> None:
    other = Embedder(loaded(build_backbone("spherenet4", SIZE, 16).eval()), device="cpu")
    with pytest.raises(UserError, match=r"new gives embeddings of 64 numbers, --gallery-model old\.onnx of 16; they"):
        with_gallery_of("new", embedder, "old.onnx", other)
