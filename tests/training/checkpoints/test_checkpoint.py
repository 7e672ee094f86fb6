"""Checkpoints: whole, harmless, checked; ours and the authors'."""

import pickle
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.alignment.align import preprocessing
from shards.command import UserError
from training.checkpoints.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from training.checkpoints.run_folder import checkpoint_path, numbered_checkpoints
from training.engine.step import build_learner
from training.networks.backbone_file import load_backbone
from training.networks.backbones import build_backbone
from training.settings.config import Config
from training.settings.recipes import TINY


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    learner = build_learner(TINY, 10)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9)
    return Checkpoint(
        step=7,
        config=TINY.to_dict(),
        recipe="tiny",
        preprocessing=preprocessing("paper", 32),
        identities=10,
        shards_sha256="0" * 64,
        backbone=learner.backbone.state_dict(),
        head=learner.head.state_dict(),
        optimizer=optimizer.state_dict(),
    )


def test_a_checkpoint_survives_a_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (loaded.step, loaded.config, loaded.preprocessing) == (7, checkpoint.config, checkpoint.preprocessing)
    for name, value in checkpoint.backbone.items():
        assert torch.equal(loaded.backbone[name], value)


def test_a_backbone_carries_its_preprocessing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    loaded = load_backbone(tmp_path / "a.pt")
    assert (loaded.preprocessing, loaded.step, loaded.recipe) == (preprocessing("paper", 32), 7, "tiny")
    pictures = torch.rand(2, 3, 32, 32)
    network = build_backbone("spherenet4", 32)
    network.load_state_dict(checkpoint.backbone)
    torch.testing.assert_close(loaded.backbone(pictures), network.eval()(pictures))


def test_the_authors_state_dicts_load_without_a_flag(tmp_path: Path) -> None:
    network = build_backbone("spherenet10", 64).eval()
    path = tmp_path / "0100000_net_backbone.pth"
    torch.save(network.state_dict(), path)
    loaded = load_backbone(path)
    assert (loaded.name, loaded.preprocessing, loaded.step) == ("spherenet10", preprocessing("paper", 64), None)
    pictures = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(loaded.backbone(pictures), network(pictures), atol=1e-6, rtol=0)


class Mischief:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("/tmp/this-must-not-run"),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"0.weight": Mischief()}, tmp_path / "bad.pth")
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Mischief()))
    for name in ("bad.pth", "bad.pkl"):
        with pytest.raises(UserError, match="would run code"):
            load_backbone(tmp_path / name)
    assert not Path("/tmp/this-must-not-run").exists()


@pytest.mark.slow
def test_any_damage_is_refused_in_one_line(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, checkpoint)
    sound = path.read_bytes()
    generator = random.Random(0)
    for _ in range(40):
        damaged = bytearray(sound)
        if generator.random() < 0.3:
            damaged = damaged[: generator.randrange(len(damaged))]
        else:
            for _ in range(generator.randrange(1, 5)):
                damaged[generator.randrange(len(damaged))] ^= generator.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:  # the flip fell into bytes that carry nothing, such as padding
            assert all(torch.equal(loaded.backbone[k], v) for k, v in checkpoint.backbone.items())


def test_a_changed_byte_that_carries_nothing_is_refused_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """PyTorch fills up to whole lines of memory, outside of what the CRC-32 of a zip archive covers."""
    path = tmp_path / "a.pt"
    save_checkpoint(path, checkpoint)
    data = bytearray(path.read_bytes())
    data[data.index(b"ZZZZZZZZ")] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="another SHA-256 than was written"):
        load_checkpoint(path)


def test_a_damaged_newest_checkpoint_is_passed_over(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    for step in (0, 10, 20):
        save_checkpoint(checkpoint_path(tmp_path, step), replace(checkpoint, step=step))
    newest = checkpoint_path(tmp_path, 20)
    newest.write_bytes(newest.read_bytes()[:1000])
    found = latest_checkpoint(tmp_path)
    assert found == checkpoint_path(tmp_path, 10)
    assert "skipped" in capsys.readouterr().err


def test_the_first_and_the_newest_are_kept(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for step in range(0, 60, 10):
        checkpoint_path(tmp_path, step).touch()
    remove_old_checkpoints(tmp_path, 2)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-0000000.pt", "step-0000040.pt", "step-0000050.pt"]
    # Where the first is gone, no other stays in its place.
    checkpoint_path(tmp_path, 0).unlink()
    remove_old_checkpoints(tmp_path, 1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000050.pt"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        load_backbone(tmp_path / "nothing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list"):
        load_backbone(tmp_path / "list.pt")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="of no network that is known here"):
        load_backbone(tmp_path / "other.pt")


def test_a_file_does_not_choose_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a_network_of_mine:build"
    imported = tmp_path / "imported"
    (tmp_path / "a_network_of_mine.py").write_text(
        f"from pathlib import Path\nfrom torch import nn\nPath({str(imported)!r}).touch()\n"
        "def build(size, embedding_size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, embedding_size))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32**2, 16))
    config = replace(TINY, model=replace(TINY.model, backbone=name, embedding_size=16))
    save_checkpoint(tmp_path / "a.pt", checkpoint_of(config, network.state_dict()))
    with pytest.raises(UserError, match=f"set TRUSTED_BACKBONES={name} if you trust it"):
        load_backbone(tmp_path / "a.pt")
    assert not imported.exists()
    monkeypatch.setenv("TRUSTED_BACKBONES", f"other:thing,{name}")
    pictures = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        load_backbone(tmp_path / "a.pt").backbone(pictures), network(pictures), atol=1e-6, rtol=1e-5
    )


def checkpoint_of(config: Config, backbone: dict[str, torch.Tensor]) -> Checkpoint:
    return Checkpoint(
        step=1,
        config=config.to_dict(),
        recipe="tiny",
        preprocessing=preprocessing("paper", 32),
        identities=10,
        shards_sha256="0" * 64,
        backbone=backbone,
        head={},
        optimizer={},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adaface-irse18"])
def test_a_backbone_with_batch_norm_comes_back_with_its_statistics(name: str, tmp_path: Path) -> None:
    config = replace(TINY, model=replace(TINY.model, backbone=name, embedding_size=16))
    learner = build_learner(config, 10)
    learner.backbone(torch.randn(4, 3, 32, 32))
    saved = checkpoint_of(config, learner.backbone.state_dict())
    save_checkpoint(tmp_path / "a.pt", saved)
    pictures = torch.randn(2, 3, 32, 32)
    found, expected = load_backbone(tmp_path / "a.pt").backbone(pictures), learner.backbone.eval()(pictures)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    other = replace(saved, config=replace(config, model=replace(config.model, embedding_size=8)).to_dict())
    save_checkpoint(tmp_path / "b.pt", other)
    with pytest.raises(UserError, match=f"does not fit the backbone {name}"):
        load_backbone(tmp_path / "b.pt")


def test_steps_of_eight_digits_come_after_those_of_seven(tmp_path: Path) -> None:
    steps = [10_000_000, 9_999_999, 0]
    for step in steps:
        path = checkpoint_path(tmp_path, step)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert numbered_checkpoints(tmp_path) == [checkpoint_path(tmp_path, step) for step in sorted(steps)]
    remove_old_checkpoints(tmp_path, 1)
    assert numbered_checkpoints(tmp_path) == [checkpoint_path(tmp_path, step) for step in (0, 10_000_000)]
