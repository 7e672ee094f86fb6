"""The plan of a folder: which identities it keeps, in what order, and how evenly it deals them to tars."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.sharding.plan import Plan, Settings
from pipeline.sources.datasets import Source
from shards.command import UserError

COUNTS = {"a": 1, "b": 2, "c": 3, "d": 9, "e": 2, "f": 4, "g": 10, "h": 3, "i": 5, "j": 2, "k": 7, "l": 3}
"""Photos of each identity."""


def plan(root: Path, **settings: int) -> Plan:
    """A plan of photos that nobody has to read: how large their faces would be is then assumed."""
    rows = [(name, f"{name}/{number}.jpg") for name, count in COUNTS.items() for number in range(count)]
    table = pd.DataFrame(rows, columns=["identity", "path"])
    source = Source("made", root, lambda: iter([table]), framing="whole")
    return Plan(source, Settings(size=32, template="whole", **settings))


def order(made: Plan) -> list[str]:
    """The identities in the order in which they stand in the tars."""
    return list(dict.fromkeys(name for number in range(made.tars) for name in made.tar_contents(number).identities))


@pytest.mark.parametrize("least", [1, 2, 3, 10])
def test_identities_with_enough_photos_are_kept(tmp_path: Path, least: int) -> None:
    made = plan(tmp_path, min_photos=least)
    assert made.names == [name for name, count in COUNTS.items() if count >= least]
    assert made.too_few == [name for name, count in COUNTS.items() if count < least]
    assert sorted(order(made)) == made.names
    assert made.photos_per_tar().sum() == sum(count for count in COUNTS.values() if count >= least)


def test_too_many_photos_asked_for_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no identity in .* has 11 usable photos"):
        plan(tmp_path, min_photos=11)


@pytest.mark.slow
def test_the_seed_shuffles_the_identities(tmp_path: Path) -> None:
    orders = [order(plan(tmp_path, min_photos=1, seed=seed)) for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert len({tuple(one) for one in [*orders, list(COUNTS)]}) == 4


@pytest.mark.parametrize("seed", range(5))
def test_tars_are_as_even_as_whole_identities_let_them_be(tmp_path: Path, seed: int) -> None:
    made = plan(tmp_path, min_photos=1, min_tars=4, seed=seed)
    names, tars = order(made), made.tars
    # An identity goes where its first photo would go if photos were dealt singly.
    before = np.cumsum([0, *(COUNTS[name] for name in names)])[:-1]
    dealt = before * 4 // sum(COUNTS.values())
    of_tar = [set(made.tar_contents(number).identities) for number in range(tars)]
    assert of_tar == [{n for n, tar in zip(names, dealt, strict=True) if tar == one} for one in np.unique(dealt)]
