"""Plots of scores: how those of one person and of two lie, in a panel for each part of a protocol."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.metrics.figures import Curve
from training.monitoring.plot_style import INK, MUTED, bare, colour_of

_PANELS_ABREAST = 3


def _panels(curves: Sequence[Curve]) -> Iterator[tuple[str, list[tuple[str, Curve]]]]:
    """Yield the panels of distributions: a name, and whose scores with each curve."""
    parts = [(*curve.name.rpartition(": ")[::2], curve) for curve in curves]
    for panel, members in groupby(parts, key=lambda part: part[0]):
        yield panel, [(whose, curve) for _, whose, curve in members]


def draw_scores(title: str, curves: Sequence[Curve]) -> Canvas:
    """Draw distributions of scores, in panels by what comes before ": " in the curves' names."""
    panels = list(_panels(curves))
    abreast = min(len(panels), _PANELS_ABREAST)
    deep = -(-len(panels) // abreast)
    canvas = Canvas(figsize=(7.6, 4.4 if deep == 1 else 0.6 + 2.1 * deep), layout="constrained")
    grid = np.atleast_1d(canvas.subplots(deep, abreast, sharex=True, sharey=True, squeeze=False).ravel())
    whose = list(dict.fromkeys(name for _, members in panels for name, _ in members))
    seen = [curve.x[curve.y > 0] for curve in curves]
    low, high = min(x.min() for x in seen), max(x.max() for x in seen)
    for axes, (panel, members) in zip(grid, panels, strict=False):
        for name, curve in members:
            colour = colour_of(whose.index(name))
            axes.fill_between(curve.x, curve.y, step="mid", color=colour, alpha=0.18, linewidth=0)
            axes.plot(curve.x, curve.y, drawstyle="steps-mid", color=colour, linewidth=1.3)
        bare(axes)
        axes.set_xlim(low - 0.04, high + 0.04)
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        if panel:
            axes.set_title(panel, loc="left", fontsize=9, color=MUTED)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    canvas.supxlabel("cosine", color=MUTED, fontsize=10)
    canvas.supylabel("share of scores", color=MUTED, fontsize=10)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=10.5, color=INK)
    entries = [Line2D([], [], color=colour_of(n), lw=2, label=name) for n, name in enumerate(whose)]
    canvas.legend(handles=entries, loc="outside lower right", ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    return canvas
