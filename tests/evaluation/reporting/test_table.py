"""Reports of different days in one table: what stands side by side, and what is named instead."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.figures import Alignment, Curve, Figure, Outcome
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.metrics.paired import difference_of
from evaluation.reporting.differences import difference_table
from evaluation.reporting.joined import joined
from evaluation.reporting.paper_tables import figures_csv, latex
from evaluation.reporting.read_results import read_report
from evaluation.reporting.report import write_report
from evaluation.reporting.results import Model, Report, Settings
from evaluation.reporting.tables import figure_tables
from pipeline.alignment.align import preprocessing
from shards.command import UserError

LOOKS_AT_PLOTS = True

Command = Callable[..., subprocess.CompletedProcess[str]]
RANDOM = np.random.default_rng(0)
HITS = {name: (RANDOM.random(60) < share).astype(float) for name, share in (("a", 0.5), ("b", 0.8))}
PEOPLE = np.repeat(np.arange(20), 3)
FORM = preprocessing("paper", 32)


def report(name: str, *, protocol: str = "P_1", **changes: object) -> Report:
    hits = HITS[name]
    figures = (
        Figure("rank-1", float(hits.mean()), 60, bootstrap_over_people(hits, PEOPLE)),
        Figure("TAR at FAR 1 %", float("nan"), 60, note="too few"),
    )
    curve = Curve("all", "roc", np.array([0.0, 0.1, 1]), np.array([0.1, 0.5, 1]))
    outcome = Outcome(protocol, figures, (curve,), {"people": 20}, notes=("Said once.",), fingerprint="ab" * 32)
    model = Model(name, f"{name}.pt", name * 8, "spherenet4", 3, None, FORM)
    return Report(
        (model,), {protocol: (replace(outcome, **changes),)}, {}, Settings("cpu", False, (8,)), {"torch": "2"}
    )


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    for name in "ab":
        write_report(folder / name, report(name))
    return folder


@pytest.fixture
def written(reports: Path, tmp_path: Path) -> dict[str, Path]:
    """Two reports, to be changed."""
    for name in "ab":
        shutil.copytree(reports / name, tmp_path / name)
    return {name: tmp_path / name / "results.json" for name in "ab"}


@pytest.mark.parametrize(("written_as", "means"), [(False, None), (True, "reduced"), ("both", "both"), (None, None)])
def test_how_a_gallery_was_matched_is_read_from_files_of_any_age(
    written_as: object, means: str | None, written: dict[str, Path]
) -> None:
    file = written["a"]
    data = json.loads(file.read_text())
    data["settings"]["match_gallery"] = written_as
    file.write_text(json.dumps(data))
    assert read_report(file).settings.match_gallery == means


@pytest.mark.slow
def test_a_report_reads_back_as_it_was_written(written: dict[str, Path]) -> None:
    found, expected = read_report(written["a"]), report("a")
    assert found.models == expected.models
    assert found.settings == expected.settings
    (one,), (other,) = found.outcomes["P_1"], expected.outcomes["P_1"]
    assert (one.alignment, one.fingerprint, one.counts, one.notes) == (
        other.alignment,
        other.fingerprint,
        other.counts,
        other.notes,
    )
    assert one.figures[0] == other.figures[0]
    assert one.figures[0].interval.draws.tolist() == other.figures[0].interval.draws.tolist()
    assert np.isnan(one.figures[1].value)
    assert one.curves[0].y.tolist() == other.curves[0].y.tolist()
    assert found.compared == expected.compared == ()
    with pytest.raises(UserError, match="no file"):
        read_report(written["a"].parent / "none.json")


@pytest.mark.slow
def test_the_difference_is_that_of_one_evaluation(written: dict[str, Path], command: Command, tmp_path: Path) -> None:
    done = command("evaluation.table", *written.values(), "--out", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    expected = difference_of(report("b").outcomes["P_1"][0].figures[0], report("a").outcomes["P_1"][0].figures[0])
    assert expected.excludes_zero
    assert "b - a" in done.stdout
    assert read_report(tmp_path / "both" / "results.json").compared == ((1, 0),)
    data = json.loads((tmp_path / "both" / "results.json").read_text())
    (difference,) = data["protocols"][0]["differences"]
    assert (difference["model"], difference["minus"]) == ("b", "a")
    assert difference["figures"][0] == {
        "figure": "rank-1",
        "value": expected.value,
        "interval": list(expected.interval),
        "excludes_zero": True,
    }
    with (tmp_path / "both" / "tables" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (float(rows[0]["difference"]), rows[0]["excludes_zero"]) == (expected.value, "1")
    assert [rows[1][column] for column in ("difference", "low", "high")] == ["", "", ""]
    assert {path.suffix for path in (tmp_path / "both" / "plots").iterdir()} == {".png", ".svg"}


@pytest.mark.slow
def test_without_the_draws_there_is_no_interval(written: dict[str, Path], command: Command) -> None:
    (written["b"].parent / "draws.npz").unlink()
    both = joined({name: read_report(path) for name, path in written.items()}).reports[0]
    assert difference_table(both, "P_1").rows[0][1][0].interval is None
    shutil.copy(written["a"].parent / "draws.npz", written["b"].parent / "draws.npz")
    (written["a"].parent / "draws.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"draws\.npz beside it is of another evaluation"):
        read_report(written["a"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fingerprint": "cd" * 32}, "other pictures, names or landmarks (fingerprints cdcdcdcd, abababab)"),
        ({"fingerprint": ""}, "b carries no fingerprint of its pictures; evaluate again"),
        (
            {"alignment": Alignment("detection", "MTCNN", 0.9, 60, 2, "errors")},
            "faces are aligned otherwise. b: Faces: ",
        ),
        ({"protocol": "Q"}, "not in b"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], told: str) -> None:
    other = report("b", **changes)
    found = joined({"a": report("a"), "b": other, "c": report("b")})
    (both,) = (one for one in found.reports if "P_1" in one.outcomes)
    assert [model.label for model in both.models] == ["a", "b (c)"]
    assert any(told in sentence for sentence in found.apart), found.apart
    alone = joined({"a": report("a"), "b": other})
    assert not alone.reports
    assert alone.apart


@pytest.mark.slow
def test_nothing_that_fits_is_a_mistake(written: dict[str, Path], refused: Callable[..., str], tmp_path: Path) -> None:
    write_report(tmp_path / "c", report("b", fingerprint="cd" * 32))
    told = refused("evaluation.table", written["a"], tmp_path / "c" / "results.json")
    assert "nothing stands side by side. P_1: c stands apart from a: other pictures" in told
    assert "is named twice" in refused("evaluation.table", written["a"], written["a"].parent)
    written["b"].write_text('{"schema": 1, "models": [3]}')
    assert "is no results.json of an evaluation" in refused("evaluation.table", written["b"])


@pytest.mark.slow
def test_one_file_becomes_tables(written: dict[str, Path], command: Command, tmp_path: Path) -> None:
    done = command("evaluation.table", written["a"], "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert "rank-1" in done.stdout
    assert not (tmp_path / "one" / "tables" / "differences.csv").exists()


@pytest.mark.slow
def test_latex_shows_every_cell(written: dict[str, Path]) -> None:
    both = joined({name: read_report(path) for name, path in written.items()}).reports[0]
    (table,) = figure_tables(both)
    lines = latex(table).splitlines()
    assert lines[0] == "% P_1, whole pictures"
    assert lines[2:4] == [r"\begin{tabular}{lrrr}", r"\toprule"]
    assert lines[4] == r"figure & n & a & b \\"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    body = lines[6:-2]
    assert len(body) == len(table.rows)
    assert body[1] == r"TAR at FAR 1 \% & 60 & not measured & not measured \\"
    assert all(line.count("&") == 3 for line in body)
    differences = latex(difference_table(both, "P_1"))
    assert differences.startswith("% P_1, differences\n% Differences in points")


@pytest.mark.slow
def test_csv_keeps_every_digit(written: dict[str, Path]) -> None:
    found = read_report(written["a"])
    rows = list(csv.DictReader(figures_csv(found).splitlines()))
    figure = found.outcomes["P_1"][0].figures[0]
    assert float(rows[0]["value"]) == figure.value
    assert (float(rows[0]["low"]), float(rows[0]["high"])) == figure.interval
    assert (rows[1]["figure"], rows[1]["value"], rows[1]["low"]) == ("TAR at FAR 1 %", "", "")
    assert rows[0]["faces"] == "whole pictures"
