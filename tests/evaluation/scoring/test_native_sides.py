"""Bands of the sizes of pictures, and figures by them."""

import numpy as np

from evaluation.scoring.native_sides import bands, by_side


def test_a_band_begins_with_its_lower_side() -> None:
    found = [(name, rows.tolist()) for name, rows in bands(np.array([40, 16, 0, 7, 23, 24, 31, 32, 15]))]
    assert found == [
        ("under 16 px", [3, 8]),
        ("16 to 23 px", [1, 4]),
        ("24 to 31 px", [5, 6]),
        ("32 px and more", [0, 7]),
    ]


def test_figures_are_means_of_their_bands_at_the_median_side() -> None:
    sides = np.array([40, 16, 0, 8, 20, 23])
    hits = np.array([True, True, False, False, False, True])
    figures, (line,) = by_side("rank-1", hits, sides, lambda rows: (float(rows.min()), float(rows.max())))
    assert [figure.name.rpartition("side ")[2] for figure in figures] == [
        "under 16 px",
        "16 to 23 px",
        "32 px and more",
    ]
    assert [(figure.value, figure.n, figure.interval) for figure in figures] == [
        (0.0, 1, (3, 3)),
        (2 / 3, 3, (1, 5)),
        (1.0, 1, (0, 0)),
    ]
    assert (line.x.tolist(), line.y.tolist()) == ([8, 20, 40], [0, 2 / 3, 1])
    assert by_side("rank-1", hits[:1], sides[:1], lambda rows: None)[1] == []
