"""From results of trials to figures, intervals and differences."""

from pathlib import Path

import numpy as np
import pytest

from experiments.findings.aggregate import difference_of, summarise, value_of
from experiments.findings.page import BEGIN, END, insert_tables, tables
from experiments.trials.campaign import Result
from experiments.trials.measure import FIGURES
from experiments.trials.settings import TINY
from experiments.trials.trial import Trial
from experiments.trials.variants import CONTRASTS, VARIANTS
from shards.command import UserError

PEOPLE = [f"p{number}" for number in range(6)]


def results(better: float = 0.0) -> list[Result]:
    """Two folds, two seeds, all variants; the full method is better by an amount for everyone."""
    generator = np.random.default_rng(0)
    base = {(person, seed, size): generator.random() / 2 for person in PEOPLE for seed in (0, 1) for size in (8, 32)}
    made = []
    for seed in (1, 0):
        for fold in (1, 0):
            tested = tuple(PEOPLE[fold::2])
            for variant in VARIANTS:
                gain = better if variant.name == "full" else 0.0
                trial = Trial("orl", variant.name, fold, seed, TINY.parts[0].config, Path(), (), (8,))
                figures = {
                    size: {name: [base[person, seed, size] + gain for person in tested] for name in FIGURES}
                    for size in (32, 8)
                }
                made.append(Result(trial, tested, figures, [{"step": 2.0, "loss": 1.5, "triplet": 0.0}]))
    return made


@pytest.mark.slow
def test_means_are_over_people_and_seeds() -> None:
    summary = summarise(results(), CONTRASTS)
    assert (summary.people, summary.folds, summary.seeds, summary.sizes) == (6, 2, (0, 1), (8, 32))
    slow = []
    for result in results():
        if result.trial.variant == "full":
            slow += result.figures[8]["rank-1"]
    assert summary.figures["full", 8, "rank-1"].value == pytest.approx(np.mean(slow))
    assert summary.losses == dict.fromkeys([variant.name for variant in VARIANTS], 1.5)


@pytest.mark.slow
def test_differences_are_paired_so_that_a_gain_of_everyone_is_certain() -> None:
    value = summarise(results(better=0.1), CONTRASTS).differences["full", "four-views", 8, "tar"]
    assert value.value == pytest.approx(0.1)
    assert value.interval == pytest.approx((0.1, 0.1))
    nothing = summarise(results(), CONTRASTS).differences["full", "four-views", 8, "tar"]
    assert (nothing.value, nothing.interval) == (0, (0, 0))


@pytest.mark.slow
def test_the_interval_is_that_of_a_slow_bootstrap_over_people() -> None:
    table = np.random.default_rng(1).random((40, 3))
    value = value_of(table)
    generator = np.random.default_rng(2)
    slow = [np.mean([table[person].mean() for person in generator.integers(0, 40, 40)]) for _ in range(4000)]
    np.testing.assert_allclose(value.interval, np.quantile(slow, [0.025, 0.975]), atol=0.01)
    assert value.spread == pytest.approx(np.std([table[:, seed].mean() for seed in range(3)]))


def test_the_interval_of_a_difference_is_that_of_a_slow_bootstrap() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 30, 2))
    value = difference_of(first, second)
    assert value.value == pytest.approx((first - second).mean())
    slow = [(first - second)[generator.integers(0, 30, 30)].mean() for _ in range(4000)]
    np.testing.assert_allclose(value.interval, np.quantile(slow, [0.025, 0.975]), atol=0.015)


def test_someone_not_tested_is_noticed() -> None:
    with pytest.raises(AssertionError, match="not tested"):
        summarise(results()[1:], CONTRASTS)


@pytest.mark.slow
def test_tables_say_what_is_certain_and_go_between_the_marks() -> None:
    text = tables(summarise(results(better=0.1), CONTRASTS), "ORL faces", VARIANTS, "plot.png")
    assert "| (d) - (c) | **+10.0 (+10.0 to +10.0)** |" in text
    assert "| (c) - (b) | +0.0 (+0.0 to +0.0) |" in text
    begin = BEGIN.format("ablation")
    page = f"before\n{begin}\nold\n{END}\nafter\n"
    assert insert_tables(page, text, "page", "ablation") == f"before\n{begin}\n\n{text}\n{END}\nafter\n"
    assert insert_tables(insert_tables(page, "x", "page", "ablation"), text, "page", "ablation") == insert_tables(
        page, text, "page", "ablation"
    )
    with pytest.raises(UserError, match="lacks the lines"):
        insert_tables("no marks", text, "page", "ablation")
