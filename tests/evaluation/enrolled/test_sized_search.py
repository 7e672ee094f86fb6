"""Each face meets the embeddings of its size, in search and calibration: against loops over faces."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evaluation.decisions.calibration_trials import trials_of
from evaluation.enrolled.enrolment import enrol_again, enrol_folder
from evaluation.enrolled.face_table import ENROL_SIZES, FaceTable, joined, read_faces, write_faces
from evaluation.enrolled.measuring import Measuring, measure, measuring
from evaluation.enrolled.sized_search import find_at_sizes
from shards.command import UserError
from tests.evaluation.by_hand import read, resized, vector
from training.networks.backbone_file import LoadedBackbone


def table(vectors: np.ndarray, people: list[str], sides: list[float], reduced: np.ndarray | None = None) -> FaceTable:
    count = len(people)
    texts = tuple(map(str, range(count)))
    made = {ENROL_SIZES: [8, 16], "preprocessing size": 64} if reduced is not None else {}
    measures = np.array([[side, side, 1, 0] for side in sides], dtype=np.float64).reshape(-1, 4)
    places = np.zeros((count, 5, 2)), np.zeros((count, 4))
    return FaceTable(made, tuple(people), texts, texts, texts, *places, measures, vectors, reduced)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# Between 8, 16 and 64 pixels, by ratio.
BOUNDS = (8 * 2**0.5, 32)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 6), asked=st.integers(0, 6))
def test_each_face_meets_the_embeddings_nearest_to_its_size(seed: int, count: int, asked: int) -> None:
    generator = np.random.default_rng(seed)
    vectors, probes = (generator.normal(size=(n, 4)).astype(np.float32) for n in (count, asked))
    reduced = generator.normal(size=(count, 2, 4)).astype(np.float32)
    people = sorted(generator.choice(["anna", "berta", "carl"], count).tolist())
    sides = generator.uniform(2, 100, asked).tolist()
    gallery = table(vectors, people, [50] * count, reduced)
    found = find_at_sizes(gallery, gallery.numbered()[1], table(probes, [""] * asked, sides), 2)
    for row, (probe, side) in enumerate(zip(probes, sides, strict=True)):
        place = int(np.searchsorted(BOUNDS, side))
        seen = vectors if place == 2 else reduced[:, place]
        best = {name: max(cosine(probe, seen[i]) for i in range(count) if people[i] == name) for name in set(people)}
        order = sorted(best, key=lambda name: -best[name])[:2]
        names = sorted(set(people))
        assert [names[person] for person in found.people[row] if person >= 0] == order
        assert found.scores[row, : len(order)] == pytest.approx([best[name] for name in order], abs=1e-9)


def test_people_are_enrolled_in_full_and_reduced_and_others_are_not(
    people: Callable[..., Path], how_at_sizes: Measuring, backbone: nn.Module, tmp_path: Path
) -> None:
    folder, file = people("gallery", Anna=2, Bert=1), tmp_path / "g"
    enrolled = enrol_folder(folder, file, how_at_sizes).table
    assert enrolled.enrol_sizes == (8, 16)
    for row, photo in enumerate(enrolled.photos):
        face = resized(read(Path(photo)), 32)
        full = vector(backbone, face)
        for place, size in enumerate((8, 16)):
            both = full + vector(backbone, resized(resized(face, size), 32))
            assert cosine(enrolled.reduced[row, place], both) == pytest.approx(1, abs=1e-5)
    stored = read_faces(file)
    np.testing.assert_array_equal(stored.reduced, enrolled.reduced)
    np.testing.assert_array_equal(enrol_again(file, how_at_sizes).table.reduced, enrolled.reduced)
    np.testing.assert_array_equal(joined([stored.take([2]), stored.take([0])]).reduced, enrolled.reduced[[2, 0]])
    probes, _ = measure([("", Path(enrolled.photos[0]))], how_at_sizes, tmp_path / "work", enrolled=False)
    assert probes.reduced is None
    np.testing.assert_allclose(probes.vectors[0], enrolled.vectors[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_calibration_compares_as_the_search_does(
    people: Callable[..., Path], how_at_sizes: Measuring, backbone: nn.Module, tmp_path: Path
) -> None:
    folder = people("aside", **{letter * 2: 2 for letter in "abcdef"})
    photos = [(path.parent.name, path) for path in sorted(folder.glob("*/*.png"))]
    enrolled = measure(photos, how_at_sizes, tmp_path / "work", enrolled=True)[0].by_person()
    found = trials_of(enrolled, how_at_sizes, folder)
    sizes = set()
    for score, size, probe, gallery in list(zip(found.scores, found.sizes, found.pictures, found.photos, strict=True))[
        ::7
    ]:
        face = resized(read(Path(enrolled.photos[probe])), 32)
        seen = resized(resized(face, int(size)), 32) if size < enrolled.resolutions[probe] else face
        place = int(np.searchsorted((8 * 2**0.5, (16 * 32) ** 0.5), size))
        other = enrolled.vectors[gallery] if place == 2 else enrolled.reduced[gallery, place]
        assert score == pytest.approx(cosine(vector(backbone, seen), other), abs=1e-5)
        sizes.add(place)
    assert sizes == {0, 1, 2}


def test_sizes_that_make_no_sense_and_files_whose_columns_differ_are_refused(
    people: Callable[..., Path], how: Measuring, how_at_sizes: Measuring, backbone: nn.Module, tmp_path: Path
) -> None:
    loaded = LoadedBackbone(backbone, how.embedder.preprocessing, "spherenet4", 1, "x", "0")
    for sizes in ([0, 8], [32], [-1]):
        with pytest.raises(UserError, match="the model takes 32 pixels: give sizes from 1 to below it"):
            measuring("net.pth", how.embedder, loaded, {}, aligned=True, least_score=0.9, sizes=sizes)
    folder, file = people("gallery", Anna=1, Bert=1), tmp_path / "g"
    enrolled = enrol_folder(folder, file, how_at_sizes).table
    with pytest.raises(UserError, match=r"enrol sizes \[8, 16\], this is None; give --re-enrol"):
        enrol_folder(folder, file, replace(how, made={k: v for k, v in enrolled.made.items() if k != ENROL_SIZES}))
    for damaged in (
        replace(enrolled, reduced=None),
        replace(enrolled, reduced=enrolled.reduced[:, :1]),
        replace(enrolled, reduced=enrolled.reduced * np.float32(np.inf)),
        replace(enrolled, made={**enrolled.made, ENROL_SIZES: [16, 8]}),
        replace(enrolled, made={**enrolled.made, ENROL_SIZES: "8"}),
    ):
        write_faces(file, damaged)
        with pytest.raises(UserError, match="cannot be read as enrolled faces"):
            read_faces(file)
