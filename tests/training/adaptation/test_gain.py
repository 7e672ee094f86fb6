"""The figures before and after, as the report of an evaluation holds them."""

from pathlib import Path

import pytest

from shards.command import UserError
from training.adaptation.gain import Gain, gains, read_gains


def figures(shift: float) -> dict[str, dict[str, float | int | None]]:
    names = (
        "rank-1",
        "16 px: rank-1",
        "8 px: rank-1",
        "8 px: AUC",
        "8 px: TPIR at FPIR 1 %",
        "16 px: TPIR at FPIR 1 %",
    )
    found: dict[str, dict[str, float | int | None]] = {
        name: {"value": number / 10 + shift, "n": 7} for number, name in enumerate(names)
    }
    found["16 px: TPIR at FPIR 1 %"]["value"] = None
    return found


def test_smallest_probes_come_first_and_what_was_not_measured_is_left_out() -> None:
    assert gains([figures(0), figures(0.5)]) == [
        Gain("8", "rank-1", (20.0, 70.0), 7),
        Gain("16", "rank-1", (10.0, 60.0), 7),
        Gain("full", "rank-1", (0.0, 50.0), 7),
        Gain("8", "TPIR at FPIR 1 %", (40.0, 90.0), 7),
    ]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"protocols": []}', '{"protocols": [{"results": [{}]}]}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no results of an evaluation"):
        read_gains(path)
