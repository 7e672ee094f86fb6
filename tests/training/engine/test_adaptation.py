"""Adaptation of a trained network: held to a frozen teacher, resumed, and equal on any number of processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pipeline.loading.batch import Batch
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from shards.command import UserError
from tests.training.worlds import on_world
from training.checkpoints.checkpoint import load_checkpoint
from training.engine.loop import train
from training.engine.run import Run
from training.engine.step import Trained, _targets, build_learner, for_training, losses_and_gradients
from training.networks.backbone_file import load_backbone
from training.networks.export_formats import onnx_bytes
from training.networks.exported_file import load_trainable
from training.networks.initial_weights import following
from training.networks.input_adapter import adapt_input
from training.ranks.world import ALONE, World
from training.settings.config import Config, Distillation, Head
from training.settings.recipes import MODES, TINY, recipe


def small(mode: str, steps: int = 4) -> Config:
    """An adaptation of seconds for the network of the recipe tiny."""
    chosen = MODES[mode]
    return replace(
        chosen,
        model=TINY.model,
        size=32,
        views=replace(chosen.views, sizes=(32, 32, "8..12", "8..12")),
        optimizer=replace(chosen.optimizer, warmup_steps=0, milestones=()),
        batch=6,
        steps=steps,
        checkpoint_every=2,
        log_every=1,
    )


@pytest.fixture(scope="module")
def teacher(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("teacher") / "run"
    train(Run(replace(TINY, steps=2), "tiny", (shards,), run_dir, False), ALONE)
    return run_dir / "final.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "changed"), [("fresh", {}), ("compatible", {}), ("fresh", {"name": "lora", "rank": 2})]
)
def test_it_begins_as_the_teacher_and_resumes_bit_identically(
    mode: str, changed: dict[str, Any], shards: Path, teacher: Path, tmp_path: Path
) -> None:
    config = replace(small(mode), optimizer=replace(small(mode).optimizer, **changed))
    job = Run(config, "adapt", (shards,), tmp_path / "whole", False, teacher=teacher)
    train(job, ALONE)
    first = load_checkpoint(job.run_dir / "checkpoints" / "step-0000000.pt")
    for name, value in load_backbone(teacher).backbone.state_dict().items():
        assert torch.equal(first.backbone[name], value)
    parted = replace(job, run_dir=tmp_path / "parted", config=replace(config, steps=2))
    train(parted, ALONE)
    train(replace(parted, config=config, resume=True), ALONE)
    last, again = (load_checkpoint(run.run_dir / "checkpoints" / "step-0000004.pt") for run in (job, parted))
    assert last.teacher == again.teacher
    for name, value in last.backbone.items():
        assert torch.equal(value, again.backbone[name])
    final = load_checkpoint(job.run_dir / "final.pt")
    for name, value in last.backbone.items():
        expected = torch.lerp(first.backbone[name], value, config.trained_share)
        assert torch.equal(final.backbone[name], expected)
    assert load_backbone(job.run_dir / "final.pt").name == TINY.model.backbone


@pytest.mark.slow
def test_a_network_from_an_onnx_file_is_adapted_and_goes_out_in_its_layout(
    shards: Path, rendered: Path, train_list: Path, tmp_path: Path
) -> None:
    """The run takes everything from the file, resumes without it being built by name, and leaves its names."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8 * 4 * 4, 12)
    )
    theirs = tmp_path / "theirs.onnx"
    names = {"input_names": ["data"], "output_names": ["fc1"]}
    torch.onnx.export(network, (torch.zeros(1, 3, 32, 32),), theirs, dynamo=False, **names)  # type: ignore[arg-type]
    begun = small("fresh", steps=2)
    config = following(replace(begun, model=replace(begun.model, embedding_size=512)), theirs)
    assert (config.model.backbone, config.model.embedding_size, config.size) == ("onnx", 12, 32)
    job = Run(config, "adapt", (shards,), tmp_path / "run", False, teacher=theirs)
    # The shards are aligned by the paper's template, a file that does not say it is taken as centred.
    with pytest.raises(UserError, match="differ in template"):
        train(job, ALONE)
    centred = tmp_path / "centred"
    plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=32, template="centred"))
    shard(plan, centred, workers=1)
    train(replace(job, shards=(centred,)), ALONE)
    train(replace(job, shards=(centred,), config=replace(config, steps=4), resume=True), ALONE)
    loaded = load_trainable(job.run_dir / "final.pt")
    assert loaded.name == "onnx"
    adapt_input(loaded.backbone, None)
    (tmp_path / "ours.onnx").write_bytes(onnx_bytes(loaded))
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    session = onnxruntime.InferenceSession(tmp_path / "ours.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in (*session.get_inputs(), *session.get_outputs())] == ["data", "fc1"]
    with torch.no_grad():
        expected = loaded.backbone(pictures)
        assert not torch.allclose(expected, network(pictures))
    for number, picture in enumerate(pictures):
        (found,) = session.run(None, {"data": picture[None].numpy()})
        torch.testing.assert_close(torch.from_numpy(found[0]), expected[number], atol=1e-5, rtol=1e-4)


def test_small_pictures_are_held_to_all_photos_of_their_person() -> None:
    config = small("compatible")
    frozen = build_learner(replace(config, seed=5), 6).backbone.eval().requires_grad_(False)
    batch = share_of_batch(ALONE)
    pictures, trained = batch.network_input(), Trained(nn.Identity(), nn.Identity(), frozen)
    found = _targets(trained, (pictures, None, None), batch.photos, config, ALONE)
    assert found is not None
    with torch.no_grad():
        full = [frozen(pictures[6 * view : 6 * view + 6]) for view in (0, 1)]
    for view in range(4):
        for row in range(6):
            expected = full[view % 2][row]
            if (row, view) in {(1, 2), (4, 3)}:
                expected = (full[0][row] / full[0][row].norm() + full[1][row] / full[1][row].norm()) / 2
            torch.testing.assert_close(found[6 * view + row], expected)


@pytest.mark.soak
def test_a_run_with_small_pictures_resumes_bit_identically(
    shards: Path, crops: Path, teacher: Path, tmp_path: Path
) -> None:
    config = small("compatible")
    whole = Run(config, "adapt", (shards,), tmp_path / "whole", False, teacher=teacher, crops=crops)
    train(whole, ALONE)
    parted = replace(whole, run_dir=tmp_path / "parted", config=small("compatible", steps=2))
    train(parted, ALONE)
    with pytest.raises(UserError, match="started on other shards"):
        train(replace(parted, config=config, resume=True, crops=None), ALONE)
    with pytest.raises(UserError, match=r"started with crop_share 0\.5"):
        train(replace(parted, config=replace(config, crop_share=1.0), resume=True), ALONE)
    train(replace(parted, config=config, resume=True), ALONE)
    without = replace(whole, run_dir=tmp_path / "without", crops=None)
    train(without, ALONE)
    one, again, other = (load_checkpoint(run.run_dir / "final.pt").backbone for run in (whole, parted, without))
    for name, value in one.items():
        assert torch.equal(value, again[name])
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_another_teacher_is_refused_on_resumption(shards: Path, teacher: Path, tmp_path: Path) -> None:
    job = Run(small("fresh", steps=2), "adapt", (shards,), tmp_path / "run", False, teacher=teacher)
    train(job, ALONE)
    other = tmp_path / "run" / "final.pt"
    with pytest.raises(UserError, match="is another file"):
        train(replace(job, resume=True, teacher=other, config=small("fresh", steps=4)), ALONE)


def test_a_teacher_and_its_weights_come_together(teacher: Path, shards: Path, tmp_path: Path) -> None:
    def job(config: Config, path: Path | None) -> Run:
        return Run(config, "adapt", (shards,), tmp_path / "run", False, teacher=path)

    with pytest.raises(UserError, match="name its checkpoint with --teacher"):
        train(job(small("fresh"), None), ALONE)
    with pytest.raises(UserError, match="all distillation weights 0"):
        train(job(replace(small("fresh"), distillation=Distillation()), teacher), ALONE)
    unpaired = replace(small("fresh"), views=replace(small("fresh").views, photos="different"))
    with pytest.raises(UserError, match="in full"):
        train(job(unpaired, teacher), ALONE)
    with pytest.raises(UserError, match="no mode"):
        recipe("tiny", "fresh")


def share_of_batch(world: World) -> Batch:
    """Six people in two photos each, in full and reduced; this rank's share."""
    generator = torch.Generator().manual_seed(3)
    share = slice(world.rank * 6 // world.size, (world.rank + 1) * 6 // world.size)
    views = tuple(
        torch.randint(0, 256, (6, side, side, 3), generator=generator, dtype=torch.uint8)[share]
        for side in (32, 32, 8, 8)
    )
    photos = torch.arange(12).view(6, 2).repeat(1, 2)
    # Two small pictures stand in.
    photos[1, 2], photos[4, 3] = 20, 21
    return Batch(0, torch.arange(6)[share], views, photos[share], 32)


def step_of(world: World) -> dict[str, Tensor]:
    config = small("compatible")
    learner = build_learner(config, 6, world)
    frozen = build_learner(replace(config, seed=5), 6, world).backbone.eval().requires_grad_(False)
    trained = for_training(learner, config, world, teacher=frozen)
    losses = losses_and_gradients(trained, share_of_batch(world), config, world)
    found = {name: one.grad for name, one in learner.named_parameters() if one.grad is not None}
    return {**found, "losses": losses.values()}


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    expected = step_of(ALONE)
    parts = on_world(2, step_of, tmp_path)
    for name, value in expected.items():
        found = torch.stack([part[name] for part in parts]).mean(dim=0) if name == "losses" else parts[0][name]
        rows = slice(0, 1) if name == "losses" else slice(None)
        assert torch.allclose(found[rows], value[rows], rtol=1e-4, atol=1e-6), name


@pytest.mark.slow
def test_adamw_with_a_sharded_head_resumes_bit_identically(shards: Path, tmp_path: Path) -> None:
    optimizer = replace(TINY.optimizer, name="adamw", learning_rate=1e-3, milestones=())
    config = replace(TINY, optimizer=optimizer, head=Head(sharded=True), steps=4, checkpoint_every=2)
    whole = Run(config, "tiny", (shards,), tmp_path / "whole", False)
    train(whole, ALONE)
    parted = replace(whole, run_dir=tmp_path / "parted", config=replace(config, steps=2))
    train(parted, ALONE)
    train(replace(parted, config=config, resume=True), ALONE)
    one, other = (load_checkpoint(run.run_dir / "final.pt") for run in (whole, parted))
    for name, value in {**one.backbone, **one.head}.items():
        assert torch.equal(value, {**other.backbone, **other.head}[name]), name
    for place, moments in one.optimizer["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, other.optimizer["state"][place][name])
