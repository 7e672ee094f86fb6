"""Results of trials to figures with intervals, and to differences between variants on the same people."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.intervals import Interval, bootstrap_over_people
from experiments.trials.campaign import Result


@dataclass(frozen=True)
class Value:
    """A figure, or the difference of one between two variants.

    Attributes:
        value: mean over people and seeds.
        interval: of 95 %, when people are drawn with replacement, all their photos, folds and seeds together.
        spread: standard deviation of the seeds' means, 0 for one seed.
    """

    value: float
    interval: Interval
    spread: float


@dataclass(frozen=True)
class Summary:
    """The figures of a population.

    Attributes:
        population: name.
        people: number tested, each once a seed.
        folds: number of folds.
        seeds: seeds that all trials were done for.
        sizes: sides in pixels of the probes, rising; the last is in full.
        figures: (variant, size, figure) -> value.
        differences: (first variant, second variant, size, figure) -> value of the first less that of the second.
        losses: (variant) -> mean loss at the last step, over folds and seeds, of those that are trained.
    """

    population: str
    people: int
    folds: int
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    figures: dict[tuple[str, int, str], Value]
    differences: dict[tuple[str, str, int, str], Value]
    losses: dict[str, float]


def summarise(results: Sequence[Result], contrasts: Sequence[tuple[str, str]]) -> Summary:
    """Summarise the complete results of one population.

    Args:
        results: of every variant, fold and seed.
        contrasts: pairs of variants of which the first is compared with the second.
    """
    tables = _by_person_and_seed(results)
    variants = list(dict.fromkeys(result.trial.variant for result in results))
    sizes = tuple(sorted(results[0].figures))
    figures = {key: value_of(table) for key, table in tables.items()}
    differences = {
        (first, second, size, name): difference_of(tables[first, size, name], tables[second, size, name])
        for first, second in contrasts
        if {first, second} <= set(variants)
        for size in sizes
        for name in results[0].figures[sizes[0]]
    }
    losses = {
        variant: float(np.mean([one.training[-1]["loss"] for one in results if one.trial.variant == variant]))
        for variant in variants
        if all(one.training for one in results if one.trial.variant == variant)
    }
    trials = [result.trial for result in results]
    return Summary(
        population=trials[0].population,
        people=len(next(iter(tables.values()))),
        folds=len({trial.fold for trial in trials}),
        seeds=tuple(sorted({trial.seed for trial in trials})),
        sizes=sizes,
        figures=figures,
        differences=differences,
        losses=losses,
    )


def value_of(table: NDArray[np.float64]) -> Value:
    """Return the mean of a figure, 0..1, with its interval.

    >>> value_of(np.array([[0.5, 0.7], [0.5, 0.7]]))
    Value(value=0.6, interval=(0.6, 0.6), spread=0.1)

    Args:
        table: (people, seeds).
    """
    of_people = table.mean(axis=1)
    interval = bootstrap_over_people(of_people, np.arange(len(of_people)))
    assert interval is not None
    spread = float(table.mean(axis=0).std())
    return Value(_rounded(float(of_people.mean())), (_rounded(interval[0]), _rounded(interval[1])), _rounded(spread))


def difference_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> Value:
    """Return the mean difference of a figure between two variants, person by person, with its interval.

    Args:
        first: (people, seeds), 0..1.
        second: of the same people and seeds; it is subtracted.
    """
    # The interval takes figures of 0..1 and knows what to do at their limits, so differences are brought there.
    middle = value_of((1 + first - second) / 2)
    low, high = (_rounded(2 * end - 1) for end in middle.interval)
    return Value(_rounded(2 * middle.value - 1), (low, high), _rounded(2 * middle.spread))


def _rounded(value: float) -> float:
    """Leave out what only the order of additions decides."""
    return round(value, 10)


def _by_person_and_seed(results: Sequence[Result]) -> dict[tuple[str, int, str], NDArray[np.float64]]:
    """Return (variant, size, figure) -> (people, seeds), everyone from the fold that tested them."""
    people = {person: row for row, person in enumerate(sorted({name for one in results for name in one.people}))}
    seeds = {seed: column for column, seed in enumerate(sorted({one.trial.seed for one in results}))}
    tables: dict[tuple[str, int, str], NDArray[np.float64]] = defaultdict(
        lambda: np.full((len(people), len(seeds)), np.nan)
    )
    for one in results:
        rows = [people[person] for person in one.people]
        for size, named in one.figures.items():
            for name, values in named.items():
                tables[one.trial.variant, size, name][rows, seeds[one.trial.seed]] = values
    assert all(np.isfinite(table).all() for table in tables.values()), "someone was not tested"
    return dict(tables)
