"""Who is trained on and who is tested."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.trials.campaign import prepare
from experiments.trials.populations import rendered_population, test_people
from experiments.trials.settings import SIZES, ablation_of_size
from experiments.trials.variants import VARIANTS
from shards.command import UserError
from shards.index import ShardIndex

test_people.__test__ = False  # type: ignore[attr-defined]


@given(st.integers(2, 60), st.integers(2, 6))
def test_everyone_is_tested_once_and_folds_are_even(people: int, folds: int) -> None:
    names = [f"p{number}" for number in range(people)]
    divided = test_people(names, folds)
    assert len(divided) == folds
    assert sorted(name for fold in divided for name in fold) == sorted(names)
    sizes = [len(fold) for fold in divided]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.slow
def test_shards_hold_everyone_but_the_people_tested(tmp_path: Path) -> None:
    trials = prepare(ablation_of_size("tiny", parts=["orl"]), VARIANTS, tmp_path, workers=1)
    assert [trial.seed for trial in trials] == sorted(trial.seed for trial in trials)
    assert [trial.fold for trial in trials] == [0] * len(VARIANTS) + [1] * len(VARIANTS)
    everyone: set[str] = set()
    for trial in trials[:: len(VARIANTS)]:
        trained = set((trial.shards / "identities.txt").read_text().split())
        tested = {person for person, _, _ in trial.photos}
        assert not trained & tested
        assert len(trained | tested) == 40
        assert ShardIndex.open(trial.shards).identities == len(trained)
        everyone |= tested
    assert len(everyone) == 40


def test_people_are_rendered_once(tmp_path: Path) -> None:
    first = rendered_population(tmp_path / "people", identities=3, photos=2, seed=0, workers=1)
    second = rendered_population(tmp_path / "people", identities=3, photos=2, seed=0, workers=1)
    assert len(first.people) == 3
    assert len(first.photos) == 6
    for (person, path, points), (_, _, again) in zip(first.photos, second.photos, strict=True):
        assert path.is_file()
        assert path.parent.name == person
        np.testing.assert_array_equal(points, again)
    # What an interrupted rendering left is rendered again.
    (tmp_path / "people").rename(tmp_path / ".other")
    assert len(rendered_population(tmp_path / "other", identities=3, photos=2, seed=0, workers=1).photos) == 6


def test_a_size_is_known_by_name() -> None:
    assert ablation_of_size("hour").seeds >= 3
    assert ablation_of_size("hour", 5).seeds == 5
    with pytest.raises(UserError, match="choose one of hour, tiny"):
        ablation_of_size("day")
    assert [part.name for part in ablation_of_size("hour", parts=["few", "orl"]).parts] == ["orl", "few"]
    with pytest.raises(UserError, match="choose from orl, rendered, few"):
        ablation_of_size("hour", parts=["everyone"])
    with pytest.raises(UserError, match="at least 1"):
        ablation_of_size("hour", 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_people_of_every_training_fill_its_batch(size: str) -> None:
    for part in SIZES[size].parts:
        people = part.identities or 40
        assert people - -(-people // part.folds) >= part.config.batch, part.name
