"""How alike embeddings are, against every pair of them; and pictures that are left out."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from evaluation.models.embedder import Embedded, Embedder
from evaluation.models.pictures import Picture
from evaluation.models.preparation import whole
from evaluation.models.watching import LEFT_OUT, Watched
from tests.evaluation.people import write_photo


class Given:
    """Embeddings that are given, picture by picture."""

    hint = ""

    def __init__(self, embedder: Embedder, vectors: np.ndarray) -> None:
        self.preprocessing = embedder.preprocessing
        self._vectors = vectors.astype(np.float32)

    def embed(self, pictures: list[Picture]) -> Embedded:
        return Embedded(self._vectors[[int(picture.name) for picture in pictures]], {})

    def summary(self) -> str:
        return ""


def pictures(embedder: Embedder, count: int) -> list[Picture]:
    return [whole(str(number), Path(str(number)), embedder.preprocessing) for number in range(count)]


def test_mean_cosine_is_that_of_every_pair(embedder: Embedder) -> None:
    vectors = np.random.default_rng(0).normal(0.3, 1, (20, 8))
    watched = Watched(Given(embedder, vectors))
    shown = pictures(embedder, 20)
    watched.embed(shown[:7])
    watched.embed(shown[7:])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert watched.mean_cosine == pytest.approx(np.mean([a @ b for a, b in combinations(unit, 2)]), abs=1e-6)
    assert watched.notes("net") == ()


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (np.ones((9, 4)), "are all alike"),
        (np.zeros((9, 4)), "are all alike"),
        (np.ones((9, 4)) + np.random.default_rng(0).normal(0, 0.1, (9, 4)), "hardly differ"),
    ],
)
def test_collapse_is_told(embedder: Embedder, vectors: np.ndarray, told: str) -> None:
    watched = Watched(Given(embedder, vectors))
    watched.embed(pictures(embedder, 9))
    (note,) = watched.notes("net")
    assert note.startswith(f"The embeddings of net {told}")
    assert "--check-input" in note


def test_pictures_that_are_left_out(embedder: Embedder, tmp_path: Path) -> None:
    for number in range(3):
        write_photo(tmp_path / f"{number}.png", "anna", number)
    shown = [whole(f"{n}.png", tmp_path / f"{n}.png", embedder.preprocessing) for n in range(3)]
    watched = Watched(embedder, {"1.png"})
    found = watched.embed(shown)
    assert found.usable.tolist() == [True, False, True]
    assert found.faults == {"1.png": LEFT_OUT}
    assert "1 pictures that stand in the training shards" in watched.notes("net")[0]
