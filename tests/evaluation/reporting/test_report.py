"""Report and tables: what a reader must be told, from outcomes written by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.figures import Alignment, Curve, Figure, Mistake, Outcome, Shown
from evaluation.metrics.intervals import Resampled
from evaluation.protocols import survface, tinyface
from evaluation.reporting.best_known import BEST_KNOWN
from evaluation.reporting.differences import difference_table
from evaluation.reporting.report import write_report
from evaluation.reporting.results import Model, Report, Settings
from evaluation.reporting.tables import figure_tables, markdown
from pipeline.alignment.align import preprocessing

LOOKS_AT_PLOTS = True

FORM = preprocessing("paper", 32)
TRAINED = Model("trained", "final.pt", "ab" * 32, "spherenet4", 9, "tiny", FORM)
UNKNOWN = Model("theirs", "0100000_net_backbone.pth", "cd" * 32, "spherenet20", None, None, FORM)
OUTCOME = Outcome(
    survface.PROTOCOL,
    (
        Figure("TAR at FAR 30 %", 0.7654321, 300, (0.7, 0.8), paper=0.7509, rerun=0.7756),
        Figure("8 px: rank-1", 0.5, 1234, None, 0.0123, note="coarse"),
        Figure("nothing", float("nan"), 0),
    ),
    counts={"pictures": 1234},
    missing=(("a/<1>.jpg", "unreadable"),),
    notes=("Told once.",),
    incomplete=True,
    mistakes=(
        Mistake(
            "taken for <someone>", (Shown("probe", "p.jpg", None, b"\xff\xd8"), Shown("true match", "t.jpg", 0.25, b""))
        ),
    ),
    curves=(
        Curve("all", "roc", np.linspace(0, 1, 5_001), np.linspace(0, 1, 5_001) ** 0.25),
        Curve("few", "cmc", np.array([1.0, 2]), np.array([0.5, np.nan])),
    ),
)


@pytest.fixture
def report() -> Report:
    other = replace(OUTCOME, figures=(replace(OUTCOME.figures[0], value=0.1, n=299),))
    settings = Settings("cpu", True, (8,))
    return Report((TRAINED, UNKNOWN), {OUTCOME.protocol: (OUTCOME, other)}, {"LFW": "--lfw"}, settings, {"torch": "2"})


def test_a_row_shows_every_model_and_what_is_published(report: Report) -> None:
    (table,) = figure_tables(report)
    assert table.title == "QMUL-SurvFace verification, whole pictures (incomplete)"
    assert table.columns == ("figure", "n", "trained", "theirs", "paper", "authors' rerun", "best known")
    assert table.lines() == [
        ("TAR at FAR 30 %", "300 / 299", "76.54 (70.0 to 80.0)", "10.00 (70.0 to 80.0)", "75.09", "77.56", "77.56"),
        ("8 px: rank-1", "1,234", "50.00 ± 1.23", "", "", "", ""),
        ("nothing", "0", "not measured", "", "", "", ""),
    ]
    assert markdown(table).splitlines()[2].startswith("| TAR at FAR 30 % | 300 / 299 | 76.54 (70.0 to 80.0) |")


def test_columns_that_nothing_is_published_for_are_left_out(report: Report) -> None:
    own = replace(OUTCOME, protocol="own", figures=OUTCOME.figures[1:])
    (table,) = figure_tables(replace(report, outcomes={"own": (own, own)}))
    assert table.columns == ("figure", "n", "trained", "theirs")


@pytest.mark.slow
def test_every_file_tells_what_a_reader_must_know(report: Report, tmp_path: Path) -> None:
    page = write_report(tmp_path / "new" / "folder", report)
    html, text = page.read_text(), page.with_name("report.md").read_text()
    for told in (html, text):
        for word in ("76.54", "not measured", "incomplete", "Told once.", "coarse", "mirror image", "unreadable"):
            assert word in told
        for word in ("ab" * 32, "cd" * 32, "final.pt", "spherenet20", "recipe", "--lfw", "pictures: 1,234"):
            assert word in told
    assert "a/&lt;1&gt;.jpg" in html, "names of files are no markup"
    assert html.count("Told once.") == 1
    assert "taken for &lt;someone&gt;" in html
    assert html.count('src="data:image/jpeg;base64,/9g="') == 2, "one a model"
    assert "probe `p.jpg`; true match `t.jpg` 0.250" in text
    assert html.count("<svg") == 3, "ROC, DET and CMC"


@pytest.mark.slow
def test_differences_are_marked_where_they_exclude_zero(report: Report, tmp_path: Path) -> None:
    draws = np.linspace(0.6, 0.9, 1000)
    some = [Figure("rank-1", 0.75, 40, Resampled((0.61, 0.89), draws, "a"))]
    some += [Figure(f"{name}: rank-1", 0.5, 40, Resampled((0.3, 0.7), draws - by, "a")) for name, by in (("b", 0.25),)]
    others = [Figure("rank-1", 0.5, 40, Resampled((0.3, 0.7), draws - 0.25, "a"))]
    others += [Figure("b: rank-1", 0.25, 40, Resampled((0.0, 0.5), draws[::-1] - 0.25, "a"))]
    outcomes = tuple(replace(OUTCOME, figures=tuple(figures)) for figures in (others, some))
    compared = replace(report, outcomes={OUTCOME.protocol: outcomes})
    table = difference_table(compared, OUTCOME.protocol)
    assert table.columns == ("figure", "theirs - trained")
    assert table.lines() == [("rank-1", "+25.00 (+25.0 to +25.0) *"), ("b: rank-1", "+25.00 (-28.5 to +28.5)")]
    page = write_report(tmp_path, compared)
    for told in (page.read_text(), page.with_name("report.md").read_text()):
        assert "+25.00 (+25.0 to +25.0) *" in told
        assert "the same people drawn for both models" in told
    assert difference_table(replace(report, pairs=()), OUTCOME.protocol) is None


@pytest.mark.slow
def test_results_keep_every_digit(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["settings"] == {
        "device": "cpu",
        "flip": True,
        "sizes": [8],
        "match_gallery": None,
        "precision": "float32",
    }
    assert data["versions"] == {"torch": "2"}
    first, second, third = data["protocols"][0]["results"][0]["figures"]
    assert first["value"] == 0.7654321
    assert (first["best"], first["best_source"]) == (0.7756, "Lai and Lam, the authors' rerun")
    assert first["interval"] == [0.7, 0.8]
    assert second["best"] is None
    assert third["value"] is None
    result = data["protocols"][0]["results"][0]
    assert result["mistakes"] == [
        {
            "kind": "taken for <someone>",
            "pictures": [
                {"role": "probe", "picture": "p.jpg", "score": None},
                {"role": "true match", "picture": "t.jpg", "score": 0.25},
            ],
        }
    ]
    dense, few = result["curves"]
    assert len(dense["x"]) == len(dense["y"]) <= 300
    assert (dense["x"][-1], dense["y"][-1]) == (1, 1)
    assert all(y == pytest.approx(x**0.25) for x, y in zip(dense["x"], dense["y"], strict=True))
    assert few == {"name": "few", "kind": "cmc", "x": [1, 2], "y": [0.5, None]}


def test_best_known_figures_are_shares() -> None:
    for figures in BEST_KNOWN.values():
        for best in figures.values():
            assert 0 < best.value <= 1
            assert best.source


@pytest.mark.slow
def test_a_best_figure_stands_only_beside_faces_aligned_as_its_own(report: Report, tmp_path: Path) -> None:
    tiny = replace(OUTCOME, protocol=tinyface.PROTOCOL, figures=(Figure("rank-1", 0.5, 10),))
    aligned = replace(tiny, alignment=Alignment("detection", "MTCNN 1", 0.9, 20, 3, "errors"))
    found = {}
    for outcome in (tiny, aligned, replace(aligned, as_published=False)):
        write_report(tmp_path, replace(report, outcomes={tiny.protocol: (outcome, outcome)}))
        result = json.loads((tmp_path / "results.json").read_text())["protocols"][0]["results"][0]
        found[outcome.alignment.kind, outcome.as_published] = result["figures"][0]["best"]
        told = outcome.alignment.sentence
        assert told in (tmp_path / "report.md").read_text()
        assert told in (tmp_path / "report.html").read_text()
    assert found == {("whole", True): None, ("detection", True): 0.761, ("detection", False): None}
    assert result["alignment"] == {
        "kind": "detection",
        "source": "MTCNN 1",
        "threshold": 0.9,
        "pictures": 20,
        "not_found": 3,
        "became": "errors",
    }
    assert aligned.alignment.sentence == (
        "Faces: aligned by detection (MTCNN 1, score 0.9 or more); 3 of 20 not found, which became errors."
    )
