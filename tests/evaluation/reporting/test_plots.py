"""Plots: every curve becomes a picture, labels do not overlap, and equal figures give equal bytes."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluation.metrics.figures import Curve, Outcome
from evaluation.reporting.plots import draw_plots, spread_out
from evaluation.reporting.results import Model, Report, Settings
from pipeline.alignment.align import preprocessing

MODELS = tuple(Model(label, f"{label}.pt", "0", "spherenet4", 1, "x", preprocessing("paper", 32)) for label in "ab")
RATES = np.array([0.0, 0.01, 0.1, 1.0])


def report(*curves: Curve) -> Report:
    outcome = Outcome("P", (), curves)
    return Report(MODELS, {"P": (outcome, outcome)}, {}, Settings("cpu", False, (8,)), {})


@pytest.mark.slow
def test_one_plot_a_kind_of_curve() -> None:
    ranks = np.arange(1.0, 21)
    curves = [
        Curve("8 px", "roc", RATES, np.array([0.1, 0.5, 0.8, 1.0])),
        Curve("12 px", "roc", RATES, np.array([0.2, 0.6, 0.9, 1.0])),
        Curve("d1", "cmc", ranks, ranks / 20),
        Curve("rank-1", "resolution", np.array([8.0, 16, 32]), np.array([0.5, 0.7, 0.8])),
    ]
    plots = draw_plots(report(*curves))
    assert [plot.name for plot in plots] == ["00-roc.png", "00-det.png", "00-cmc.png", "00-resolution.png"]
    assert [plot.title for plot in plots] == ["P: ROC", "P: DET", "P: CMC", "P: by resolution"]
    for plot in plots:
        picture = Image.open(io.BytesIO(plot.png))
        assert min(picture.size) >= 400
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10, "nothing is drawn"


@pytest.mark.slow
def test_equal_figures_give_equal_bytes() -> None:
    curve = Curve("8 px", "roc", RATES, RATES)
    assert draw_plots(report(curve)) == draw_plots(report(curve))


@pytest.mark.slow
def test_svg_takes_the_colours_of_the_page() -> None:
    curve = Curve("8 px & <more>", "roc", RATES, RATES)
    plot, _ = draw_plots(report(curve))
    ElementTree.fromstring(plot.svg)
    assert "#1b6ca8" in plot.paper_svg.decode(), "for a paper the colours stay"
    ElementTree.fromstring(plot.paper_svg)
    assert plot.svg.startswith("<svg viewBox=")
    assert 'aria-label="P: ROC"' in plot.svg
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg))
    assert {"var(--ink)", "var(--muted)", "var(--line)", "var(--c0)", "var(--c1)"} <= colours
    assert not re.findall(r"#[0-9a-f]{6}", plot.svg), "a colour that would not turn with the page"


@pytest.mark.slow
def test_scores_are_drawn_a_model_at_a_time_and_a_panel_a_size() -> None:
    middles = np.linspace(-0.99, 0.99, 100)
    share = np.full(100, 0.01)
    curves = [Curve(f"{size} px: {who} people", "scores", middles, share) for size in (8, 16) for who in ("one", "two")]
    plots = draw_plots(report(*curves))
    assert [plot.name for plot in plots] == ["00-scores-0.png", "00-scores-1.png"]
    assert [plot.title for plot in plots] == ["P: scores, a", "P: scores, b"]
    for word in ("8 px", "16 px", "one people", "two people", "cosine"):
        assert word in plots[0].svg


@pytest.mark.slow
def test_open_set_curves_name_their_own_rates() -> None:
    assert draw_plots(report(Curve("TPIR20 over FPIR", "open-set", RATES, RATES)))[0].title == "P: TPIR over FPIR"


@pytest.mark.slow
def test_errors_stand_beside_successes_and_against_what_is_discarded() -> None:
    discard = Curve("by face size", "discard", np.array([0.0, 0.5]), np.array([0.3, 0.0]))
    plots = draw_plots(report(Curve("8 px", "open-set", RATES, RATES / 2), discard))
    assert [plot.name for plot in plots] == ["00-open-set.png", "00-open-set-det.png", "00-discard.png"]
    assert "false negative rate (1 - TPIR)" in plots[1].svg
    assert "share discarded, the lowest quality first" in plots[2].svg
    perfect = Curve("8 px", "roc", RATES, np.ones(4))
    assert [plot.name for plot in draw_plots(report(perfect))] == ["00-roc.png"], "a logarithm shows no zero"


@pytest.mark.slow
def test_what_was_not_measured_is_not_drawn() -> None:
    none = np.full(4, np.nan)
    assert draw_plots(report(Curve("8 px", "roc", RATES, none))) == []
    assert draw_plots(report(Curve("8 px", "roc", np.zeros(2), np.zeros(2)))) == []
    assert draw_plots(report(Curve("8 px", "roc", np.empty(0), np.empty(0)))) == []
    partly = Curve("d1", "cmc", np.arange(1.0, 5), np.array([0.1, np.nan, 0.3, np.nan]))
    assert len(draw_plots(report(partly))) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 0.05))
def test_labels_keep_their_distance(places: list[float], gap: float) -> None:
    moved = spread_out(places, gap, 1.0)
    assert max(moved) <= 1
    assert all(b - a >= gap - 1e-9 for a, b in zip(sorted(moved), sorted(moved)[1:], strict=False))
    order = sorted(range(len(places)), key=lambda number: (places[number], -number))
    assert [moved[number] for number in order] == sorted(moved), "lines and labels stand in one order"


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread_out([0.9, 0.1, 0.5], 0.05, 1.0) == [0.9, 0.1, 0.5]
