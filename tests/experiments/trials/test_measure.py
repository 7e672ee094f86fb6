"""Figures of each person, against slow loops; their means are the metrics of the evaluation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import experiments.trials.measure
from evaluation.metrics.verification import auc, tar_at_far
from experiments.trials.measure import FAR, FPIR, open_set_figures, person_figures


def drawn(seed: int, people: int, photos: int, dims: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    # Few values, so that scores tie.
    full = generator.integers(-2, 3, (people * photos, dims)).astype(float)
    reduced = generator.integers(-2, 3, (people * photos, dims)).astype(float)
    return full, reduced, np.repeat([f"p{number:02d}" for number in range(people)], photos)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return round(float(a @ b) / lengths, 9) if lengths else 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 4))
def test_figures_are_those_of_slow_loops(seed: int, people: int, photos: int) -> None:
    generator = np.random.default_rng(seed)
    _, _, names = drawn(seed, people, photos)
    full, reduced = generator.normal(size=(len(names), 3)), generator.normal(size=(len(names), 3))
    found = person_figures(full, reduced, names)
    count = len(names)
    negatives = [cosine(full[i], reduced[j]) for i in range(count) for j in range(count) if names[i] != names[j]]
    threshold = sorted(negatives, reverse=True)[int(FAR * len(negatives))]
    firsts = [i for i in range(count) if i == 0 or names[i] != names[i - 1]]
    for place, person in enumerate(sorted(set(names))):
        own = [i for i in range(count) if names[i] == person]
        scores = [cosine(full[i], reduced[j]) for i in own for j in own if i != j]
        assert np.isclose(found["tar"][place], np.mean([score > threshold for score in scores]))
        assert np.isclose(found["auc"][place], auc(scores, negatives))
        hits = []
        for probe in own[1:]:
            best = cosine(full[own[0]], reduced[probe])
            hits.append(all(cosine(full[i], reduced[probe]) < best for i in firsts if names[i] != person))
        assert np.isclose(found["rank-1"][place], np.mean(hits))


def test_means_over_people_are_the_usual_metrics_also_with_ties() -> None:
    full, reduced, names = drawn(4, people=6, photos=4)
    found = person_figures(full, reduced, names)
    scores = (full / np.maximum(np.linalg.norm(full, axis=1, keepdims=True), 1e-12)) @ (
        reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)
    ).T
    same = names[:, None] == names[None, :]
    positives, negatives = scores[same & ~np.eye(len(names), dtype=bool)], scores[~same]
    assert np.isclose(found["tar"].mean(), tar_at_far(positives, negatives, FAR), atol=0.02)
    assert np.isclose(found["auc"].mean(), auc(positives, negatives), atol=0.02)


def test_blocks_make_no_difference(monkeypatch: object) -> None:
    _, _, names = drawn(5, people=5, photos=3)
    # Without ties, which rounding may break either way.
    full, reduced = np.random.default_rng(5).normal(size=(2, len(names), 8))
    whole = person_figures(full, reduced, names)
    monkeypatch.setattr(experiments.trials.measure, "_BLOCK", 20)  # type: ignore[attr-defined]
    for name, values in person_figures(full, reduced, names).items():
        np.testing.assert_array_equal(values, whole[name])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 5), st.integers(4, 5))
def test_open_set_figures_are_those_of_galleries_without_the_stranger(seed: int, people: int, photos: int) -> None:
    generator = np.random.default_rng(seed)
    names = np.repeat([f"p{number}" for number in range(people)], photos)
    full, reduced, small = generator.normal(size=(3, len(names), 3))
    found = open_set_figures(full, reduced, small, names)
    everyone = sorted(set(names))
    firsts = {person: int(np.flatnonzero(names == person)[0]) for person in everyone}
    asked = [i for i in range(len(names)) if i not in firsts.values()]

    def best(probe: int, gallery: list[tuple[str, np.ndarray]]) -> tuple[float, str]:
        return max((cosine(vector, reduced[probe]), person) for person, vector in gallery)

    without = {
        i: best(i, [(person, full[first]) for person, first in firsts.items() if person != names[i]]) for i in asked
    }
    threshold = sorted((score for score, _ in without.values()), reverse=True)[int(FPIR * len(asked))]
    for place, person in enumerate(everyone):
        own = [i for i in asked if names[i] == person]
        scores = [cosine(full[firsts[person]], reduced[i]) for i in own]
        hits = [score > max(threshold, without[i][0]) for i, score in zip(own, scores, strict=True)]
        assert np.isclose(found["tpir"][place], np.mean(hits))
        for name, added in (("drawn", small), ("drawn in full", full)):
            drawn = []
            for host in (other for other in everyone if other != person):
                enrolled = [(other, full[first]) for other, first in firsts.items() if other != person]
                enrolled += [(host, added[i]) for i in np.flatnonzero(names == host)[1:4]]
                drawn += [best(i, enrolled)[1] == host for i in own]
            assert np.isclose(found[name][place], np.mean(drawn))
