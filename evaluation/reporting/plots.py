"""Plots of a report: ROC and DET, CMC, accuracy by resolution, error by discarded share, distributions of scores.

Each is drawn once and kept as PNG and SVG beside report.md, and as SVG whose colours are the page's, light or dark.
"""

import io
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from evaluation.metrics.figures import Curve, CurveKind
from evaluation.reporting.results import Report
from evaluation.reporting.score_plots import draw_scores
from training.monitoring.plot_style import COLOURS, GRID, INK, MUTED, bare, colour_of, png_of

_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_CSS = {colour: f"var(--c{number})" for number, colour in enumerate(COLOURS)} | {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
}
_LABEL_GAP = 0.05
"""Least distance between two labels at the ends of lines, as a share of the axis."""


@dataclass(frozen=True)
class Kind:
    """How curves are drawn: what the plot shows, what its axes are, and whether errors stand in place of successes."""

    title: str
    x: str
    y: str
    of: CurveKind
    errors: bool = False


_FAR, _FPIR = "false accept rate (FAR)", "false positive identification rate (FPIR)"
_KINDS = {
    "roc": Kind("ROC", _FAR, "true accept rate (TAR)", "roc"),
    "det": Kind("DET", _FAR, "false reject rate (1 - TAR)", "roc", errors=True),
    "open-set": Kind("TPIR over FPIR", _FPIR, "true positive identification rate (TPIR)", "open-set"),
    "open-set-det": Kind("DET of identification", _FPIR, "false negative rate (1 - TPIR)", "open-set", errors=True),
    "cmc": Kind("CMC", "rank", "probes identified", "cmc"),
    "resolution": Kind("by resolution", "side of the low-resolution picture in pixels", "", "resolution"),
    "discard": Kind(
        "error against discarded share", "share discarded, the lowest quality first", "error of the rest", "discard"
    ),
}
"""By the name of the plot."""
_ON_A_LOGARITHMIC_AXIS = ("roc", "open-set")
_LEAST_RATE = 1e-5


@dataclass(frozen=True)
class Plot:
    """A picture of curves.

    Attributes:
        protocol: it belongs to.
        name: of its PNG file.
        title: what it shows.
        png: on white.
        paper_svg: the same as SVG, on nothing.
        svg: an element for a page that defines --ink, --muted, --line and --c0 to --c5; its text is text.
    """

    protocol: str
    name: str
    title: str
    png: bytes
    paper_svg: bytes
    svg: str


@dataclass(frozen=True)
class _Line:
    """A curve of a model, with the points that can be shown."""

    model: int
    label: str
    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def draw_plots(report: Report) -> list[Plot]:
    """Draw one plot per protocol and kind of curve, and one of scores per model.

    A curve has its colour, a model its style of line.
    """
    plots = []
    for number, (protocol, outcomes) in enumerate(report.outcomes.items()):
        for name, dress in _KINDS.items():
            lines = [
                line
                for place, (model, outcome) in enumerate(zip(report.models, outcomes, strict=True))
                for curve in outcome.curves
                if curve.kind == dress.of and (line := _line(place, model.label, curve, dress)) is not None
            ]
            if lines:
                title = f"{protocol}: {dress.title}"
                plots.append(_kept(protocol, f"{number:02d}-{name}.png", title, _draw(title, dress, lines)))
        for place, (model, outcome) in enumerate(zip(report.models, outcomes, strict=True)):
            if scores := [curve for curve in outcome.curves if curve.kind == "scores"]:
                of_model = f", {model.label}" if len(report.models) > 1 else ""
                title = f"{protocol}: scores{of_model}"
                suffix = f"-{place}" if len(report.models) > 1 else ""
                plots.append(_kept(protocol, f"{number:02d}-scores{suffix}.png", title, draw_scores(title, scores)))
    return plots


def _kept(protocol: str, name: str, title: str, canvas: Canvas) -> Plot:
    png, svg = png_of(canvas, dpi=140), io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        # Without the date, for the same reason.
        canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Plot(protocol, name, title, png, svg.getvalue().encode(), _for_the_page(svg.getvalue(), title))


def _for_the_page(svg: str, title: str) -> str:
    """Keep the element alone, let it take any width, and give it the page's font and colours."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<g id=\"[^\"]*\">", _without_name, element, flags=re.DOTALL)
    element = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", element)
    for colour, name in _CSS.items():
        element = element.replace(colour, name)
    opening = re.compile(r'<svg[^>]*?viewBox="([^"]+)"[^>]*>', flags=re.DOTALL)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return opening.sub(
        rf'<svg viewBox="\1" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{label}">',
        element,
        count=1,
    )


def _without_name(found: re.Match[str]) -> str:
    return "" if found.group().startswith("<metadata") else "<g>"


def _line(model: int, label: str, curve: Curve, dress: Kind) -> _Line | None:
    """Keep the points that are numbers and that a logarithmic axis can show; None where there are none."""
    y = 1 - curve.y if dress.errors else curve.y
    shown = np.isfinite(y) & ((curve.x > 0) | (curve.kind in ("cmc", "discard"))) & ((y > 0) | (not dress.errors))
    return _Line(model, label, curve.name, curve.x[shown], y[shown]) if shown.any() else None


def _draw(title: str, dress: Kind, lines: list[_Line]) -> Canvas:
    kind = dress.of
    canvas = Canvas(figsize=(7.6, 4.4), layout="constrained")
    axes = canvas.subplots()
    names = list(dict.fromkeys(line.name for line in lines))
    for line in lines:
        axes.plot(
            line.x,
            line.y,
            color=_colour(line, names),
            linestyle=_STYLES[line.model % len(_STYLES)],
            linewidth=1.8 if line.model == 0 else 1.3,
            marker={"resolution": "o", "cmc": "."}.get(kind, ""),
            markersize=5,
            drawstyle="steps-post" if kind in (*_ON_A_LOGARITHMIC_AXIS, "discard") else "default",
        )
    _dress(axes, dress, lines)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, pad=10)
    if kind in (*_ON_A_LOGARITHMIC_AXIS, "discard"):
        _legend(axes, names, lines, dress)
    else:
        _label_ends(axes, names, lines)
    return canvas


def _colour(line: _Line, names: list[str]) -> str:
    """Curves of one model differ by colour; where each model has one curve, models do."""
    return colour_of(names.index(line.name) if len(names) > 1 else line.model)


def _dress(axes: Axes, dress: Kind, lines: list[_Line]) -> None:
    """Set scales, ticks and labels."""
    kind = dress.of
    axes.set_xlabel(dress.x, color=MUTED)
    axes.set_ylabel(dress.y or lines[0].name, color=MUTED)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    xs = np.unique(np.concatenate([line.x for line in lines]))
    if kind in _ON_A_LOGARITHMIC_AXIS:
        axes.set_xscale("log")
        axes.set_xlim(min(max(float(xs[0]), _LEAST_RATE), 0.1), 1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
        axes.xaxis.set_minor_locator(NullLocator())
    elif kind == "discard":
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.05 * max(0.01, *(float(line.y.max()) for line in lines)))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
    elif kind == "resolution":
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [f"{size:g}" for size in xs])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.set_xlim(0.5, float(xs[-1]) + 0.5)
    if dress.errors:
        axes.set_yscale("log")
        axes.set_ylim(max(_LEAST_RATE, min(float(line.y.min()) for line in lines) / 1.2), 1)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
        axes.yaxis.set_minor_locator(NullLocator())
    bare(axes)


def _legend(axes: Axes, names: list[str], lines: list[_Line], dress: Kind) -> None:
    """Explain colours and styles apart, so that ten lines need seven entries, not ten."""
    models = {line.model: line.label for line in lines}
    entries = []
    if len(names) > 1:
        entries += [Line2D([], [], color=colour_of(n), lw=2, label=name) for n, name in enumerate(names)]
    if len(models) > 1:
        entries += [
            Line2D(
                [],
                [],
                color=INK if len(names) > 1 else colour_of(model),
                lw=1.6,
                linestyle=_STYLES[model % len(_STYLES)],
                label=label,
            )
            for model, label in models.items()
        ]
    if entries:
        # A ROC rises to the right: good ones leave the lower corner free, poor ones the upper.
        at_ten_percent = [float(np.interp(0.1, line.x, line.y)) for line in lines]
        corner: Literal["lower left", "lower right", "upper left"]
        if dress.errors or dress.of == "discard":
            corner = "lower left"
        else:
            corner = "lower right" if min(at_ten_percent) > 0.45 else "upper left"
        axes.legend(handles=entries, loc=corner, frameon=False, fontsize=8.5, labelcolor=INK)


def _label_ends(axes: Axes, names: list[str], lines: list[_Line]) -> None:
    """Write each line's name beside its last point, moved up or down so that no two overlap."""
    several_models = len({line.model for line in lines}) > 1
    places = spread_out([float(line.y[-1]) for line in lines], _LABEL_GAP, 1.0)
    for line, place in zip(lines, places, strict=True):
        parts = [line.name] if len(names) > 1 or not several_models else []
        parts += [line.label] if several_models else []
        axes.annotate(
            ", ".join(parts),
            (float(line.x[-1]), place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=_colour(line, names),
            annotation_clip=False,
        )


def spread_out(places: list[float], gap: float, top: float) -> list[float]:
    """Move numbers as little upwards, then downwards, as keeps them a gap apart and below the top.

    >>> spread_out([0.5, 0.5], 0.25, 1.0)
    [0.75, 0.5]
    >>> spread_out([1.0, 1.0], 0.25, 1.0)
    [1.0, 0.75]
    """
    # Of equal ones the first comes highest.
    order = sorted(range(len(places)), key=lambda number: (places[number], -number))
    moved = list(places)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    limit = top
    for number in reversed(order):
        moved[number] = min(moved[number], limit)
        limit = moved[number] - gap
    return moved
