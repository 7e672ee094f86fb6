"""Plots of a report: ROC on a logarithmic FAR, CMC, accuracy against resolution."""

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from evaluation.figures import Curve
from evaluation.results import Report

_COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#8d5a97", "#e08e1d", "#3c4856"]
_STYLES = ["-", "--", ":", "-."]
_AXES = {
    "roc": ("false accept rate", "true accept rate"),
    "cmc": ("rank", "share of probes identified"),
    "resolution": ("size of the low-resolution picture in pixels", "share right"),
}


@dataclass(frozen=True)
class Plot:
    """A picture of curves: file name, what it shows, and its PNG bytes."""

    name: str
    title: str
    png: bytes


def draw_plots(report: Report) -> list[Plot]:
    """Draw one plot per protocol and kind of curve; a model has its line style, a curve its colour."""
    plots = []
    for number, (protocol, outcomes) in enumerate(report.outcomes.items()):
        for kind in _AXES:
            lines = [
                (model.label, model_number, curve)
                for model_number, (model, outcome) in enumerate(zip(report.models, outcomes, strict=True))
                for curve in outcome.curves
                if curve.kind == kind
            ]
            if lines:
                title = f"{protocol}: {_AXES[kind][1]}"
                plots.append(Plot(f"{number:02d}-{kind}.png", title, _draw(title, kind, lines)))
    return plots


def _draw(title: str, kind: str, lines: list[tuple[str, int, Curve]]) -> bytes:
    canvas = Canvas(figsize=(7.2, 4.6), layout="constrained")
    axes = canvas.subplots()
    names = list(dict.fromkeys(curve.name for _, _, curve in lines))
    several_models = len({label for label, _, _ in lines}) > 1
    for label, model, curve in lines:
        parts = [curve.name] if len(names) > 1 or not several_models else []
        axes.plot(
            *_points(curve),
            color=_COLOURS[(names.index(curve.name) if len(names) > 1 else model) % len(_COLOURS)],
            linestyle=_STYLES[model % len(_STYLES)],
            marker="o" if kind == "resolution" else "",
            drawstyle="steps-post" if kind == "roc" else "default",
            label=", ".join([*parts, *([label] if several_models else [])]),
        )
    _dress(axes, kind, lines)
    axes.set_title(title, loc="left", fontsize=10)
    buffer = io.BytesIO()
    # Without the software's version the same figures give the same bytes.
    canvas.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Drop the points that a logarithmic axis cannot show."""
    shown = curve.x > 0 if curve.kind == "roc" else np.ones(len(curve.x), dtype=bool)
    return curve.x[shown], curve.y[shown]


def _dress(axes: Axes, kind: str, lines: list[tuple[str, int, Curve]]) -> None:
    x_label, y_label = _AXES[kind]
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_ylim(0, 1.02)
    if kind == "roc":
        axes.set_xscale("log")
        smallest = min(curve.x[curve.x > 0].min() for _, _, curve in lines)
        axes.set_xlim(max(smallest, 1e-5), 1)
    if kind == "resolution":
        sizes = sorted({float(size) for _, _, curve in lines for size in curve.x})
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
    axes.grid(True, color="#e3e6ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
