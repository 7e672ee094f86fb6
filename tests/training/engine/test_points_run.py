"""A network that takes the face's five points: trained, validated, embedded; refused where there are none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from evaluation.models.embedder import Embedder
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, whole
from pipeline.alignment.align import preprocessing, template_points
from pipeline.loading.loader import Loader
from pipeline.pixels.face_points import mirrored_points
from shards.command import UserError
from tests.pipeline.loading.test_points import as_version_1
from training.engine.step import build_learner, for_training, losses_and_gradients
from training.engine.step_losses import LossInputs, losses_of
from training.networks.backbone_file import LoadedBackbone, load_backbone
from training.objectives.head_loss import HeadLoss
from training.peers.keypoint_transformer import KEYPOINT_TRANSFORMERS
from training.peers.vision_transformer import Shape
from training.ranks.world import ALONE
from training.settings.config import Head, Model
from training.settings.recipes import TINY

NAME = "vit_kprpe_small"
CONFIG = replace(TINY, model=Model(NAME, embedding_size=8), head=Head(scale=10), size=32)
FORM = preprocessing("centred", 32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEYPOINT_TRANSFORMERS, NAME, Shape(16, 2, heads=2, widening=2, patch=8))


def test_the_step_gives_each_view_its_own_points(shards: Path) -> None:
    loader = Loader(shards, CONFIG.views, seed=0, global_batch=8, points=True)
    batch = next(loader)
    loader.close()
    learner = build_learner(CONFIG, 12)
    torch.nn.init.normal_(learner.backbone.keypoint_linear.weight)  # type: ignore[union-attr,arg-type]
    losses_and_gradients(for_training(learner, CONFIG, ALONE), batch, CONFIG, ALONE)
    found = learner.backbone.keypoint_linear.weight.grad.clone()  # type: ignore[union-attr,operator]
    learner.zero_grad()
    points = batch.network_points()
    assert points is not None
    embeddings = learner.backbone(batch.network_input(), points)
    inputs = LossInputs.of(batch, CONFIG, ALONE, None)
    losses_of(embeddings, inputs, HeadLoss(learner.head, CONFIG.losses), CONFIG).total.backward()
    torch.testing.assert_close(learner.backbone.keypoint_linear.weight.grad, found)  # type: ignore[union-attr]
    assert found.abs().sum() > 0


@pytest.mark.slow
def test_a_run_trains_and_its_checkpoint_embeds_faces_with_their_points(
    shards: Path, rendered: Path, tmp_path: Path, command: Callable, refused: Callable[..., str]
) -> None:
    settings = ["--recipe", "tiny", "--model.backbone", NAME, "--model.embedding_size", 8, "--steps", 3, "--batch", 8]
    run = tmp_path / "run"
    done = command("training/main.py", *settings, "--shards", shards, "--run-dir", run)
    assert done.returncode == 0, done.stderr
    loaded = load_backbone(run / "final.pt")
    assert loaded.name == NAME
    adapted, others = tmp_path / "adapted", tmp_path / "others"
    lfw = ("--dataset", "folder", "--root", rendered / "LFW" / "lfw", "--landmarks", rendered / "lists" / "LFW.csv")
    done = command("pipeline.shard", *lfw, "--size", 32, "--min-photos", 2, "--out", others)
    assert done.returncode == 0, done.stderr
    done = command(
        *("training/main.py", "--recipe", "adapt", "--teacher", run / "final.pt", "--shards", shards),
        *("--run-dir", adapted, "--steps", 2, "--batch", 4, "--validate_every", 1, "--validation-shards", others),
    )
    assert done.returncode == 0, done.stderr
    assert load_backbone(adapted / "final.pt").name == NAME
    assert sum("validation" in line for line in (adapted / "metrics.jsonl").read_text().splitlines()) == 2
    old = as_version_1(shards, tmp_path / "old")
    told = refused("training/main.py", *settings, "--shards", old, "--run-dir", tmp_path / "other")
    assert "format version 1" in told
    assert "python -m pipeline.shard" in told


def pictures(tmp_path: Path, number: int) -> list[Picture]:
    found = []
    for row in range(number):
        path = tmp_path / f"{row}.png"
        draw = np.random.default_rng(row)
        cv2.imwrite(str(path), draw.integers(0, 256, (60, 60, 3), dtype=np.uint8))
        landmarks = template_points("centred", 50) + draw.normal(0, 1, (5, 2)) + 4
        found.append(aligned(f"{row}", path, landmarks, FORM))
    return found


def test_the_embedder_gives_points_and_mirrors_them_and_refuses_whole_pictures(tmp_path: Path) -> None:
    learner = build_learner(CONFIG, 3)
    torch.nn.init.normal_(learner.backbone.keypoint_linear.weight)  # type: ignore[union-attr,arg-type]
    network = learner.backbone.eval()
    loaded = LoadedBackbone(network, FORM, NAME, 1, None, "")
    shown = pictures(tmp_path, 5)
    found = Embedder(loaded, device="cpu", flip=True, batch=2).embed(shown).vectors
    for picture, vector in zip(shown, found, strict=True):
        face, points = picture.load(), picture.preparation.points()
        assert points is not None
        both = []
        for pixels, of_face in ((face, points), (face[:, ::-1].copy(), mirrored_points(points))):
            given = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
            with torch.no_grad():
                both.append(network(given, torch.from_numpy(of_face)[None])[0])
        np.testing.assert_allclose((both[0] + both[1]) / 2, vector, atol=1e-4)
    came_aligned = [whole(one.name, one.path, FORM, on_template=True) for one in shown]
    assert Embedder(loaded, device="cpu").embed(came_aligned).usable.all()
    taken_whole = [whole(one.name, one.path, FORM) for one in shown]
    with pytest.raises(UserError, match=r"five points of every face, and 0 is taken whole, as are 4 more"):
        Embedder(loaded, device="cpu").embed(taken_whole)
