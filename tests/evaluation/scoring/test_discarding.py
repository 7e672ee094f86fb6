"""Curves of error against discarded share of probes and pairs."""

import numpy as np

from evaluation.scoring.discarding import NORM, SIDE, discarded_pairs, discarded_probes, known_sides, norms


def test_lost_faces_go_first_and_unknown_sides_not_at_all() -> None:
    assert norms([[3.0, 4.0]], lost=2).tolist() == [5, -np.inf, -np.inf]
    assert np.isnan(known_sides(np.array([0, 7]))).tolist() == [True, False]
    misses = np.array([False, True, True])
    (curve,) = discarded_probes("8 px", misses, {NORM: norms([[3.0, 4.0]], lost=2), SIDE: np.full(3, 20.0)})
    assert (curve.name, curve.kind) == ("8 px, by norm of the embedding", "discard"), "one size leaves no choice"
    assert curve.x.round(6).tolist() == [0, 0.666667]
    assert curve.y.round(6).tolist() == [0.666667, 0]


def test_a_pair_is_as_good_as_its_worse_picture_and_the_threshold_stays() -> None:
    scores = np.concatenate([[0.9, 0.1, 0.8], np.linspace(-0.5, 0.5, 100)])
    same = np.arange(103) < 3
    first, second = np.full(103, 9.0), np.full(103, 9.0)
    second[1], first[0] = 2.0, 5.0
    (curve,) = discarded_pairs("", scores, same, {NORM: first}, {NORM: second})
    assert curve.name == "by norm of the embedding, FAR 1 %"
    assert curve.x.round(6).tolist() == [0, 0.333333, 0.666667]
    assert curve.y.round(6).tolist() == [0.333333, 0, 0]
    assert discarded_pairs("", scores[:90], same[:90], {NORM: first[:90]}, {NORM: second[:90]}) == [], "87 negatives"
