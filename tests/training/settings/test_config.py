"""Recipes and the command line."""

import json
from dataclasses import replace

import pytest

from pipeline.sampling.views import Views
from shards.command import UserError
from training.engine.optimizer import learning_rate
from training.main import read_command_line
from training.settings.config import Config, Decoding, refuse_changes
from training.settings.recipes import PAPER, RECIPES, recipe

WHERE = ["--shards", "a", "--run-dir", "b"]


def test_the_paper_recipe_is_the_published_method() -> None:
    assert PAPER.model.backbone == "spherenet20"
    assert (PAPER.size, PAPER.views.sizes, PAPER.views.mirror) == (128, (128, 8, 12, 16), 0.5)
    assert (PAPER.head.name, PAPER.head.scale, PAPER.head.margin) == ("am-softmax", 30, 0.35)
    assert (PAPER.losses.triplet_weight, PAPER.losses.triplet_margin) == (1, 1)
    assert (PAPER.batch, PAPER.steps) == (128, 100_000)
    optimizer = PAPER.optimizer
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 5e-4)
    schedule = {"base": optimizer.learning_rate, "milestones": optimizer.milestones, "factor": optimizer.factor}
    rates = [learning_rate(step, **schedule) for step in (0, 39_999, 40_000, 60_000, 80_000, 99_999)]  # type: ignore[arg-type]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001, 0.0001])


def test_degradation_is_off_but_in_surveillance_and_settable() -> None:
    assert [name for name, one in RECIPES.items() if one.views.degradation.probability] == ["surveillance"]
    words = ["--views.degradation.first.quality", "[10,30]", "--views.degradation.probability", "0.5"]
    _, config = read_command_line(["--recipe", "paper", *WHERE, *words])
    assert config.views.degradation.first.quality == (10, 30)
    assert config.views.degradation.probability == 0.5
    assert config.views.degradation.second == PAPER.views.degradation.second


def test_the_recipes_of_others_have_their_published_values() -> None:
    adaface, arcface = RECIPES["adaface"], RECIPES["arcface"]
    for one in (adaface, arcface):
        assert (one.size, one.views.sizes, one.views.mirror, one.sampling) == (112, (112,), 0.5, "photo")
        assert (one.head.scale, one.losses.triplet_weight, one.steps) == (64, 0, 0)
        assert (one.optimizer.learning_rate, one.optimizer.momentum, one.optimizer.weight_decay) == (0.1, 0.9, 5e-4)
    head, optimizer = adaface.head, adaface.optimizer
    assert (head.name, head.margin, head.concentration, head.norm_rate) == ("adaface", 0.4, 0.333, 0.01)
    assert (adaface.batch, adaface.epochs, optimizer.milestone_epochs, optimizer.factor) == (512, 26, (12, 20, 24), 0.1)
    assert optimizer.undecayed == "norms"
    head, optimizer = arcface.head, arcface.optimizer
    assert (head.name, head.m1, head.m2, head.m3, head.sampling) == ("combined", 1, 0.5, 0, 1)
    assert (arcface.batch, arcface.epochs, optimizer.schedule, optimizer.power) == (1024, 20, "polynomial", 1)
    assert (optimizer.largest_norm, optimizer.clipped, optimizer.warmup_epochs) == (5, "backbone", 0)


@pytest.mark.parametrize("setting", [{"prefetch": 0}, {"hardware_load": 1.5}])
def test_impossible_decoding_is_refused(setting: dict) -> None:
    with pytest.raises(UserError, match=next(iter(setting))):
        Decoding(**setting)


def test_warm_up_rises_to_the_base() -> None:
    rates = [learning_rate(s, base=1.0, milestones=(), factor=0.1, warmup_steps=4) for s in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_passes_through_the_command_line_unchanged(name: str) -> None:
    options, config = read_command_line(["--recipe", name, *WHERE])
    assert config == RECIPES[name]
    assert options.recipe == name


def test_settings_can_be_given_anew() -> None:
    _, config = read_command_line(
        ["--recipe", "tiny", *WHERE, "--optimizer.learning_rate", "0.5", "--views.sizes", "[32,9]", "--steps", "3"]
    )
    assert (config.optimizer.learning_rate, config.views.sizes, config.steps) == (0.5, (32, 9), 3)
    assert config.head == RECIPES["tiny"].head


def test_unknown_recipes_list_the_known() -> None:
    with pytest.raises(UserError, match="choose one of paper, quickstart, tiny, surveillance"):
        recipe("nothing")


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--views.mirror", "2"], ["--steps", "x"], ["--nothing", "1"]])
def test_impossible_settings_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((UserError, SystemExit)) as raised:
        read_command_line(["--recipe", "tiny", *WHERE, *arguments])
    message = str(raised.value) if isinstance(raised.value, UserError) else capsys.readouterr().err
    assert len(message.strip().splitlines()) == 1


def test_changes_that_matter_are_refused_with_both_values() -> None:
    begun = json.loads(json.dumps(Config().to_dict()))
    refuse_changes(begun, Config(steps=5, log_every=1).to_dict())
    with pytest.raises(UserError, match="batch 128, now 64"):
        refuse_changes(begun, Config(batch=64).to_dict())


def test_a_run_begun_before_a_setting_existed_continues_with_its_default() -> None:
    begun = json.loads(json.dumps(Config().to_dict()))
    del begun["views"]["photos"]
    refuse_changes(begun, Config().to_dict())
    with pytest.raises(UserError, match=r"views.photos different, now same"):
        refuse_changes(begun, Config(views=Views(photos="same")).to_dict())


@pytest.mark.slow
def test_ranges_of_sizes_pass_through_the_command_line() -> None:
    _, config = read_command_line(["--recipe", "tiny", *WHERE, "--views.sizes", "[32, 8..24]", "--views.mirror", "0"])
    assert config.views.ranges == ((32, 32), (8, 24))
    _, config = read_command_line(["--recipe", "tiny", *WHERE, "--views.mirror", "[0, 1, 0.5, 0.5]"])
    assert config.views.mirrors == (0, 1, 0.5, 0.5)


def test_sampling_and_mix_belong_to_the_run() -> None:
    words = ["--recipe", "tiny", "--run-dir", "b", "--shards", "a", "c", "--mix", "0.7", "0.3", "--sampling", "photo"]
    options, config = read_command_line(words)
    assert (len(options.shards), config.mix, config.sampling) == (2, (0.7, 0.3), "photo")
    for name, other in (("mix", (1.0, 1.0)), ("sampling", "identity")):
        with pytest.raises(UserError, match=f"started with {name} "):
            refuse_changes(config.to_dict(), replace(config, **{name: other}).to_dict())  # type: ignore[arg-type]
