"""Galleries reduced as the probes are, and the mean of both: against models that do so themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.figures import Outcome
from evaluation.models.embedder import Embedded, Embedder, PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, WithGalleryOf, gallery_at
from evaluation.models.pictures import Picture
from evaluation.protocols import bin_pairs, own_pairs, own_people
from evaluation.protocols.selection import lfw, orl, scface
from shards.format import Preprocessing
from tests.evaluation.by_hand import figures
from tests.evaluation.protocols.test_gallery_model import _bin, _pairs, _people

Measure = Callable[[PictureEmbedder, MatchGallery | None], Outcome]
PROTOCOLS: dict[str, Callable[[Path, Path], Measure]] = {
    "LFW": lambda sets, mine: (
        lambda model, match: lfw.measure(
            lfw.read(sets / "LFW", [sets / "lists"]), model, sizes=[8], match_gallery=match
        )
    ),
    "SCface": lambda sets, mine: (
        lambda model, match: scface.measure(scface.read(sets / "SCface", [sets / "lists"]), model, match_gallery=match)
    ),
    "ORL": lambda sets, mine: lambda model, match: orl.measure(orl.read(), model, sizes=[8], match_gallery=match),
    "own people": lambda sets, mine: _measured(own_people, own_people.read(*_people(mine))),
    "own pairs": lambda sets, mine: _measured(own_pairs, own_pairs.read(*_pairs(mine))),
    "bin": lambda sets, mine: _measured(bin_pairs, bin_pairs.read([_bin(mine)])[0]),
}


def _measured(protocol: object, data: object) -> Measure:
    return lambda model, match: protocol.measure(data, model, sizes=[8], match_gallery=match)  # type: ignore[attr-defined, no-any-return]


@dataclass(frozen=True)
class Otherwise:
    """A model that embeds other versions of a picture than it is asked for, and returns their mean direction."""

    model: Embedder
    versions: Callable[[Picture], Sequence[Picture]]

    @property
    def preprocessing(self) -> Preprocessing:
        return self.model.preprocessing

    @property
    def hint(self) -> str:
        return self.model.hint

    def summary(self) -> str:
        return self.model.summary()

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        if not pictures:
            return self.model.embed([])
        versions = [self.versions(picture) for picture in pictures]
        found = iter(self.model.embed([one for some in versions for one in some]).vectors.astype(np.float64))
        rows = [sum(one / np.linalg.norm(one) for one in islice(found, len(some))) for some in versions]
        return Embedded(np.array(rows, dtype=np.float32), {})


def at(picture: Picture, low: int | None) -> Picture:
    return replace(picture, preparation=replace(picture.preparation, low=low))


def of_reduced(found: dict[str, float], name: str) -> dict[str, float]:
    """Return the figures with reduced probes; at their own size pairs are measured in both ways with two models."""
    kept = {one: value for one, value in found.items() if "8 px" in one or name == "SCface"}
    assert kept
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS)
def test_both_is_the_mean_of_the_embeddings_in_full_and_reduced(
    name: str, rendered: Path, tmp_path: Path, embedder: Embedder
) -> None:
    measure = PROTOCOLS[name](rendered, tmp_path)
    found = measure(embedder, "both")
    by_hand = Otherwise(embedder, lambda picture: [picture, at(picture, None)])
    expected = figures(measure(WithGalleryOf(embedder, by_hand), "reduced"))
    assert of_reduced(figures(found), name) == pytest.approx(of_reduced(expected, name), abs=1e-6, nan_ok=True)
    assert any("in full and reduced" in note for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "SCface"])
def test_a_reduced_gallery_is_reduced_to_the_size_of_the_probes(
    name: str, rendered: Path, tmp_path: Path, embedder: Embedder
) -> None:
    measure = PROTOCOLS[name](rendered, tmp_path)
    by_hand = Otherwise(embedder, lambda picture: [at(picture, 8)])
    expected = figures(measure(WithGalleryOf(embedder, by_hand), None))
    found = measure(embedder, "reduced")
    assert of_reduced(figures(found), name) == pytest.approx(of_reduced(expected, name), abs=1e-6, nan_ok=True)
    assert any("reduced" in note for note in found.notes)


def test_a_mean_is_as_long_as_its_parts_are_and_missing_where_one_is() -> None:
    full = Embedded(np.array([[3, 0], [0, 2], [1, 1]], dtype=np.float32), {})
    low = Embedded(np.array([[0, 5], [np.nan, np.nan], [2, 2]], dtype=np.float32), {"b": "damaged"})
    assert gallery_at([low, full], [8, None], None)[0] is low
    mean, same = gallery_at([low, full], [8, None], "both")
    assert same is full, "in full there is nothing to reduce"
    np.testing.assert_allclose(mean.vectors, [[4 / 2**0.5] * 2, [np.nan] * 2, [1.5, 1.5]], rtol=1e-6)
    assert mean.faults == {"b": "damaged"}
