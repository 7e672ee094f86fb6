"""The experiment on adaptation, from rendered people to tables."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.findings.page import BEGIN, END
from experiments.trials.adaptation_variants import ADAPTATION_CONTRASTS, ADAPTATIONS
from experiments.trials.measure import TITLES
from experiments.trials.settings import HOUR
from experiments.trials.variants import configuration


def test_variants_have_the_same_cost() -> None:
    base = HOUR.parts[0].config
    made = {one.name: configuration(one, base, seed=0) for one in ADAPTATIONS if one.trained}
    assert len({(one.steps, one.batch, one.views, one.size) for one in made.values()}) == 1
    assert {name for pair in ADAPTATION_CONTRASTS for name in pair} == {one.name for one in ADAPTATIONS}
    assert not made["octuplet"].distillation.is_on and made["octuplet"].losses.triplets == "octuplet"
    assert not made["distillation"].losses.triplet_weight and made["distillation"].distillation.reduced
    assert made["fine-tuning"].head.name == "arcface" and not made["fine-tuning"].distillation.is_on


@pytest.mark.soak
def test_a_small_recogniser_is_trained_adapted_and_compared(tmp_path: Path, command: Callable) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN.format('adapt')}\n{END}\n")
    words = ("--rendered", 8, "--folds", 2, "--seeds", 1, "--recogniser-steps", 2, "--steps", 2, "--workers", 1)
    done = command("experiments.adapt", "--out", tmp_path / "out", *words, "--page", page)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "out" / "results.json").read_text())["populations"]
    assert (found["people"], found["folds"], found["sizes"]) == (8, 2, [8, 12, 16, 20, 32])
    values = {(one["variant"], one["size"], one["figure"]): one["value"] for one in found["figures"]}
    assert {name for _, _, name in values} == set(TITLES)
    assert values["before", 12, "old rank-1"] == values["before", 12, "rank-1"], "the old gallery is its own"
    assert values["fresh", 8, "auc"] != values["before", 8, "auc"]
    assert values["compatible", 8, "old auc"] != values["compatible", 8, "auc"]
    assert "| (b) - (a) |" in page.read_text()


def test_mistakes_end_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    line = refused("experiments.adapt", "--out", tmp_path, "--people", 200)
    assert "--people 200, and 90 are left to adapt on where a fold is tested; give 90 at most" in line
    assert "choose from before, fresh, compatible" in refused("experiments.adapt", "--out", tmp_path, "--variants", "x")
    assert "each must hold two people at least" in refused("experiments.adapt", "--out", tmp_path, "--rendered", 7)
