"""Figures over resolution, one line a variant, with intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from experiments.findings.aggregate import Summary
from experiments.trials.measure import TITLES
from experiments.trials.variants import Variant
from training.monitoring.plot_style import GRID, colour_of, png_of

_SHOWN = ("rank-1", "tar")
_WITH_OTHER_GALLERIES = ("rank-1", "both rank-1", "old rank-1")


def draw(summary: Summary, title: str, variants: Sequence[Variant]) -> bytes:
    """Draw rank-1 and TAR, or rank-1 with each gallery, over the resolution of the probes; return a PNG."""
    measured = {name for _, _, name in summary.figures}
    shown = _WITH_OTHER_GALLERIES if measured >= set(_WITH_OTHER_GALLERIES) else _SHOWN
    canvas = Canvas(figsize=(5.2 * len(shown), 4.2), layout="constrained")
    for axes, name in zip(canvas.subplots(1, len(shown), sharey=True), shown, strict=True):
        _panel(axes, summary, name, variants)
    canvas.suptitle(f"{title}: high-resolution gallery, reduced probes", x=0.01, ha="left", fontsize=11)
    return png_of(canvas, dpi=120)


def _panel(axes: Axes, summary: Summary, name: str, variants: Sequence[Variant]) -> None:
    for number, variant in enumerate(variants):
        values = [summary.figures[variant.name, size, name] for size in summary.sizes]
        # Beside each other, so that their bars can be told apart.
        places = [place + (number - (len(variants) - 1) / 2) * 0.09 for place in range(len(summary.sizes))]
        errors = [
            [value.value - value.interval[0] for value in values],
            [value.interval[1] - value.value for value in values],
        ]
        axes.errorbar(
            places,
            [value.value for value in values],
            yerr=errors,
            color=colour_of(number),
            marker="o",
            markersize=4,
            linewidth=1.5,
            elinewidth=0.9,
            label=variant.title,
        )
    axes.set_xticks(range(len(summary.sizes)), [f"{size}" for size in summary.sizes])
    axes.set_xlabel("side of the probe in pixels; the last is in full")
    axes.set_title(TITLES[name], loc="left", fontsize=10)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
