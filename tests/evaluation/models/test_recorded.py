"""The fingerprint of a protocol's pictures: the same for every model, another for every change of a picture."""

from pathlib import Path

import numpy as np

from evaluation.models.preparation import aligned, whole
from evaluation.models.recorded import Recorded
from pipeline.alignment.align import preprocessing
from tests.evaluation.people import write_photo
from tests.evaluation.protocols.test_exactness import Recorder

POINTS = np.array([(9, 10), (20, 10), (15, 16), (10, 23), (19, 23)], dtype=float)


def fingerprint(
    folder: Path, *, size: int = 32, lows: tuple[int | None, ...] = (None,), points: np.ndarray = POINTS
) -> str:
    form = preprocessing("paper", size)
    recorded = Recorded(Recorder())
    for low in lows:
        recorded.embed([whole("b", folder / "b.png", form, low), aligned("a", folder / "a.png", points, form, low)])
    return recorded.take_fingerprint()


def test_what_changes_it(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_photo(tmp_path / f"{name}.png", "anna", number)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path, size=64, lows=(8, None)) == before, "models of any size, reduced or not"
    assert fingerprint(tmp_path, points=POINTS + 0.25) != before
    write_photo(tmp_path / "b.png", "anna", 7)
    assert fingerprint(tmp_path) != before
    (tmp_path / "b.png").unlink()
    assert fingerprint(tmp_path) != before


def test_each_protocol_has_its_own(tmp_path: Path) -> None:
    recorded = Recorded(Recorder())
    recorded.embed([whole("a", tmp_path / "a.png", preprocessing("paper", 32))])
    first = recorded.take_fingerprint()
    assert recorded.take_fingerprint() != first
