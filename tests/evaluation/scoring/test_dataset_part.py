"""Parts of a data set that are gone: named, and what rests on them is not measured."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from evaluation.models.embedder import Embedder
from evaluation.protocols.selection import survface_openset, tinyface
from tests.evaluation.by_hand import figures


@pytest.mark.parametrize(
    ("protocol", "folder", "part", "left"),
    [
        (tinyface, "TinyFace", "Gallery_Match", set()),
        (tinyface, "TinyFace", "Probe", set()),
        (tinyface, "TinyFace", "Gallery_Distractor", {"rank-1", "rank-5", "rank-10", "rank-20", "mAP"}),
        (survface_openset, "QMUL-SurvFace", "gallery", set()),
        (survface_openset, "QMUL-SurvFace", "mated_probe", set()),
        # Without unmated probes there is no FPIR, but a closed set there is.
        (survface_openset, "QMUL-SurvFace", "unmated_probe", {"rank-1 (closed set)"}),
    ],
)
def test_what_rests_on_a_part_that_is_gone_is_not_measured(
    copy: Path, embedder: Embedder, protocol: ModuleType, folder: str, part: str, left: set[str]
) -> None:
    for path in next((copy / folder).rglob(part)).iterdir():
        path.write_bytes(b"no picture")
    outcome = protocol.measure(protocol.read(copy / folder, []), embedder)
    assert outcome.incomplete
    assert any(f"Nothing of {part} can be used" in note for note in outcome.notes)
    assert all(name.startswith(f"{part}/") for name, _ in outcome.missing)
    measured = {name for name, value in figures(outcome).items() if not np.isnan(value)}
    assert {name for name in measured if "px" not in name} == left
    if not left:
        assert all(figure.n == 0 for figure in outcome.figures)
