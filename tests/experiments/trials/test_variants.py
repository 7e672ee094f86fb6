"""Variants differ in what they are about, and in nothing else."""

import pytest

from experiments.trials.settings import HOUR
from experiments.trials.variants import CONTRASTS, VARIANTS, chosen, configuration
from shards.command import UserError


def test_variants_share_all_but_views_and_losses() -> None:
    base = HOUR.parts[0].config
    plain = [configuration(variant, base, seed=3).to_dict() for variant in VARIANTS]
    assert len({len(one["views"]["sizes"]) for one in plain}) == 1, "a batch holds as many pictures in every variant"
    for one in plain:
        assert one.pop("views") is not None
        weight = one["losses"].pop("triplet_weight")
        assert weight in (0.0, base.losses.triplet_weight)
    assert all(one == plain[0] for one in plain)
    assert plain[0]["seed"] == 3


def test_variants_are_those_of_the_question() -> None:
    made = {variant.name: configuration(variant, HOUR.parts[0].config, seed=0) for variant in VARIANTS}
    size = HOUR.parts[0].config.size
    assert made["hr-only"].views.sizes == (size,) * 4
    assert set(made["random"].views.ranges) == {(8, size)}
    assert made["four-views"].views.sizes == made["full"].views.sizes == (size, 8, 12, 16)
    assert [made[name].losses.triplet_weight for name in made] == [0, 0, 0, 1, 1]
    assert made["degraded"].views.sizes == made["full"].views.sizes
    assert [name for name in made if made[name].views.degradation.probability] == ["degraded"]
    assert {name for pair in CONTRASTS for name in pair} == set(made)


def test_variants_are_chosen_by_name_and_keep_their_order() -> None:
    assert chosen(None) == VARIANTS
    assert [variant.name for variant in chosen(["full", "hr-only"])] == ["hr-only", "full"]
    with pytest.raises(UserError, match="choose from hr-only, random"):
        chosen(["best"])
