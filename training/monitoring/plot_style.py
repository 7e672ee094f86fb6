"""How all plots of the project look: colours, bare axes, and PNGs that are the same bytes for the same figures."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d5a97", "#c77a12", "#3c4856")
"""Of curves and models; the evaluation's page knows them as --c0 to --c5."""
INK, MUTED, GRID = "#1d2733", "#56616d", "#e3e6ea"


def colour_of(number: int) -> str:
    """Return the colour of the curve or model with a number; they repeat after the last."""
    return COLOURS[number % len(COLOURS)]


def bare(axes: Axes, label_size: float = 9) -> None:
    """Leave a light grid and the line at the bottom; the size of tick labels is in points."""
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelcolor=INK, labelsize=label_size)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)


def png_of(figure: Figure, dpi: int) -> bytes:
    """Return a figure as PNG; without the software's version the same figure gives the same bytes.

    The layout is computed once and kept: matplotlib would compute it again for each file, which takes as long as
    drawing.
    """
    if (engine := figure.get_layout_engine()) is not None:
        figure.set_dpi(dpi)
        engine.execute(figure)
        figure.set_layout_engine(None)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
