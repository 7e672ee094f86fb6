"""The ORL people held out."""

import pytest

from evaluation.models.embedder import Embedder
from evaluation.models.watching import LEFT_OUT, Watched
from evaluation.protocols.selection import orl
from tests.evaluation.by_hand import figures
from tests.evaluation.conftest import SIZE


@pytest.mark.slow
def test_at_full_size_beats_eight_pixels_or_equals(embedder: Embedder) -> None:
    outcome = orl.measure(orl.read(), embedder, sizes=(8,))
    assert {figure.n for figure in outcome.figures if figure.name.endswith("rank-1")} == {15 * 9}
    # Each photo in full with the nine others of its person, reduced.
    assert {figure.n for figure in outcome.figures if "TAR" in figure.name} == {150 * 9}
    found = figures(outcome)
    assert 0 < found["8 px: rank-1"] <= 1
    assert 0.5 < found[f"{SIZE} px: AUC"] <= 1
    assert outcome.counts == {"people": 15, "photos": 150}


@pytest.mark.slow
def test_photos_that_are_left_out(embedder: Embedder) -> None:
    """Of one person a probe, of another the only photo in the gallery, and with it the nine probes."""
    outcome = orl.measure(orl.read(), Watched(embedder, {"s26/2.pgm", "s27/1.pgm"}), sizes=(8,))
    assert {figure.n for figure in outcome.figures if figure.name.endswith("rank-1")} == {15 * 9 - 10}
    assert dict(outcome.missing) == {"s26/2.pgm": LEFT_OUT, "s27/1.pgm": LEFT_OUT}
    assert outcome.incomplete
