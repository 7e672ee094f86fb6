"""What a run wrote to metrics.jsonl, as curves and as pictures of them."""

import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from training.checkpoints.run_folder import VALIDATION
from training.monitoring.metrics_file import read_lines
from training.monitoring.plot_style import INK, MUTED, bare, colour_of, png_of

_VIEW = "classification/"


@dataclass(frozen=True)
class Curve:
    """Values over steps, by the name they have in metrics.jsonl."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Plot:
    """A picture of curves: its file name, what it shows, and its PNG bytes."""

    name: str
    title: str
    png: bytes


def read_curves(path: Path) -> dict[str, Curve]:
    """Read metrics.jsonl as `training.monitoring.metrics_file` does, and put each figure's values together."""
    points: dict[str, dict[int, float]] = {}
    for line in read_lines(path):
        for name, value in line.figures.items():
            points.setdefault(name, {})[line.step] = value
    return {name: Curve(name, tuple(found), tuple(found.values())) for name, found in points.items()}


def draw_curves(curves: dict[str, Curve], best_step: int | None) -> list[Plot]:
    """Draw what a run wrote: losses, losses of the views, hard distances, validation, rate, speed and waiting.

    Args:
        curves: by name.
        best_step: by validation, or None.
    """

    def named(*names: str) -> list[Curve]:
        return [curves[name] for name in names if name in curves]

    def under(prefix: str) -> list[Curve]:
        return [curve for name, curve in curves.items() if name.startswith(prefix)]

    losses = named("loss", "triplet", "penalty")
    validations: dict[str, list[Curve]] = {}
    for curve in under(VALIDATION):
        # "rank-1/8px" and "rank-1, mean over low resolutions" are drawn together.
        kind = curve.name.removeprefix(VALIDATION).split("/")[0].split(",")[0]
        validations.setdefault(kind, []).append(curve)
    plots = [
        _plot("losses", "Loss", [curve for curve in losses if any(curve.values)]),
        _plot("views", "Classification loss of each view", under(_VIEW)),
        _plot(
            "distances", "Mean distance of the hardest pairs, 1 - cosine", named("hardest_positive", "hardest_negative")
        ),
        *(
            _plot(f"validation-{number}", f"Held-out people: {kind}", found, share=True, mark=best_step)
            for number, (kind, found) in enumerate(validations.items())
        ),
        _plot("learning-rate", "Learning rate", named("learning_rate")),
        _plot("speed", "Pictures per second", named("pictures_per_second"), from_zero=True),
        _plot("waiting", "Share of the time that waits for data", named("share_waiting_for_data"), share=True),
    ]
    return [plot for plot in plots if plot is not None]


def _plot(
    name: str, title: str, curves: list[Curve], *, share: bool = False, from_zero: bool = False, mark: int | None = None
) -> Plot | None:
    """Draw curves over steps; None if there are none."""
    if not curves:
        return None
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        axes.plot(
            curve.steps,
            curve.values,
            color=colour_of(number),
            linewidth=1.4,
            marker="o" if len(curve.steps) < 40 else "",
            markersize=2.5,
            label=_label(curve.name),
        )
    if mark is not None:
        axes.axvline(mark, color=MUTED, linewidth=1, linestyle=":", label=f"best step {mark:,}")
    _dress(axes, title, share, from_zero)
    if len(curves) > 1 or mark is not None:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return Plot(f"{name}.png", title, png_of(figure, dpi=130))


def readable(name: str) -> str:
    """Return a name of metrics.jsonl as a reader would write it.

    >>> readable("rank-1/8px")
    'rank-1, 8 px'
    """
    return re.sub(r"(?<=\d)px\b", " px", name).replace("_", " ").replace("/", ", ")


def _label(name: str) -> str:
    last = name.removeprefix(VALIDATION).removeprefix(_VIEW)
    return readable(last)


def _dress(axes: Axes, title: str, share: bool, from_zero: bool) -> None:
    axes.set_xlim(left=0)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("step", color=MUTED, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    if share or from_zero:
        axes.set_ylim(bottom=0)
    bare(axes, label_size=8.5)
