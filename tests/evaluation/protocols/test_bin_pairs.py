"""`.bin` sets against arcface_torch's verification written out from its definition."""

import pickle
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.model_selection import KFold
from torch import nn

from evaluation.metrics.verification import distance_decisions, fold_accuracies, folds_in_order
from evaluation.models.embedder import Embedder
from evaluation.protocols import bin_pairs
from tests.evaluation.by_hand import raw_vector, resized
from tests.evaluation.conftest import SIZE
from tests.evaluation.people import write_people

PAIRS = 25


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-five pairs of pictures, the truths in no order; the first fold of ten holds three, the last two."""
    folder = tmp_path_factory.mktemp("bin")
    write_people(folder, ["anna", "berta", "carl", "dora", "emil"], range(8))
    photos = sorted(folder.rglob("*.png"))
    rng = np.random.default_rng(0)
    pictures, same = [], []
    for number in range(PAIRS):
        first = photos[rng.integers(len(photos))]
        mates = [p for p in photos if (p.parent == first.parent) == (number % 3 > 0) and p != first]
        pictures += [first.read_bytes(), mates[rng.integers(len(mates))].read_bytes()]
        same.append(number % 3 > 0)
    (folder / "some.bin").write_bytes(pickle.dumps((pictures, same), protocol=2))
    return folder / "some.bin"


def accuracy_by_definition(left: np.ndarray, right: np.ndarray, same: np.ndarray) -> np.ndarray:
    """The accuracy of each fold, threshold by threshold and pair by pair."""
    thresholds = np.arange(0, 4, 0.01)
    distances = np.sum(np.square(left - right), axis=1)
    found = []
    for train, test in KFold(n_splits=10, shuffle=False).split(np.arange(len(same))):
        best = np.argmax([np.mean((distances[train] < threshold) == same[train]) for threshold in thresholds])
        found.append(np.mean((distances[test] < thresholds[best]) == same[test]))
    return np.array(found)


def normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("low", [None, 8])
def test_figures_by_definition(path: Path, embedder: Embedder, backbone: nn.Module, low: int | None) -> None:
    (data,) = bin_pairs.read([path])
    outcome = bin_pairs.measure(data, embedder, sizes=[8])
    found = {figure.name: figure for figure in outcome.figures}
    prefix = f"second at {low} px: " if low else ""
    encoded, same = pickle.loads(path.read_bytes())
    alone, summed = [], []
    for number, one in enumerate(encoded):
        pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        if low and number % 2:
            pixels = resized(resized(pixels, low), SIZE)
        embedding, mirror = raw_vector(backbone, np.asarray(pixels)), raw_vector(backbone, np.asarray(pixels)[:, ::-1])
        alone.append(embedding)
        summed.append(embedding + mirror)
    for name, vectors in (("with", summed), ("without", alone)):
        rows = normalised(np.array(vectors))
        expected = accuracy_by_definition(rows[::2], rows[1::2], np.array(same))
        figure = found[f"{prefix}accuracy {name} mirror images"]
        assert figure.value == expected.mean()
        assert figure.spread == expected.std()
        assert figure.n == PAIRS
    assert outcome.alignment.kind == "aligned already"
    assert outcome.protocol == "some.bin"


def test_decisions_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    for count in (10, 11, 37, 60):
        same = rng.random(count) < 0.5
        left = normalised(rng.normal(size=(count, 4)))
        right = normalised(np.where(same[:, None], left, 0) + rng.normal(size=(count, 4)) * 0.7)
        # Some fall on a threshold itself.
        distances = np.sum(np.square(left - right), axis=1)
        folds = folds_in_order(count)
        decided = distance_decisions(distances, same, folds)
        np.testing.assert_array_equal(fold_accuracies(decided, folds), accuracy_by_definition(left, right, same))
        expected = [len(test) for _, test in KFold(n_splits=10).split(np.arange(count))]
        assert np.bincount(folds).tolist() == expected
        assert all(a <= b for a, b in pairwise(folds))


def test_an_unreadable_picture_leaves_out_its_pair(path: Path, embedder: Embedder, tmp_path: Path) -> None:
    pictures, same = pickle.loads(path.read_bytes())
    pictures[3] = b"no picture"
    (tmp_path / "some.bin").write_bytes(pickle.dumps((pictures, same)))
    first, second = bin_pairs.read([path, tmp_path / "some.bin"])
    assert (first.protocol, second.protocol) == (str(path), str(tmp_path / "some.bin"))
    outcome = bin_pairs.measure(second, embedder)
    assert outcome.missing == (("some/3", "unreadable"),)
    assert outcome.counts == {"pairs": PAIRS, "pairs left out": 1, "pictures": 2 * PAIRS}
    assert outcome.incomplete
    assert outcome.figures[0].n == PAIRS - 1


def test_fewer_pairs_than_folds_are_not_measured(path: Path, embedder: Embedder, tmp_path: Path) -> None:
    pictures, same = pickle.loads(path.read_bytes())
    (tmp_path / "few.bin").write_bytes(pickle.dumps((pictures[:8], same[:4])))
    (data,) = bin_pairs.read([tmp_path / "few.bin"])
    assert np.isnan(bin_pairs.measure(data, embedder).figures[0].value)
