"""Embedding: each picture once, faults named, the batch without influence."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.embed import Embedder, Picture, PictureError, read_picture
from pipeline.align import preprocessing
from training.checkpoint import LoadedBackbone
from training.model import build_backbone


@pytest.fixture(scope="module")
def loaded() -> LoadedBackbone:
    torch.manual_seed(0)
    return LoadedBackbone(
        build_backbone("spherenet4", 32, 16).eval(), preprocessing("paper", 32), "spherenet4", 1, "x", "0"
    )


def pictures(count: int) -> list[Picture]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return [Picture(f"{number}", lambda number=number: pixels[number]) for number in range(count)]  # type: ignore[misc]


def test_the_batch_has_no_influence(loaded: LoadedBackbone) -> None:
    one = Embedder(loaded, device="cpu", batch=1).embed(pictures(7)).vectors
    many = Embedder(loaded, device="cpu", batch=4).embed(pictures(7)).vectors
    np.testing.assert_allclose(one, many, atol=1e-6)
    assert one.shape == (7, 16)


def test_every_picture_is_read_once_and_faults_are_named(loaded: LoadedBackbone) -> None:
    reads: Counter[str] = Counter()

    def load(name: str) -> np.ndarray:
        reads[name] += 1
        if name == "2":
            raise PictureError("unreadable")
        return np.zeros((32, 32, 3), np.uint8)

    embedded = Embedder(loaded, device="cpu", batch=3).embed(
        [Picture(str(n), lambda n=n: load(str(n))) for n in range(5)]  # type: ignore[misc]
    )
    assert set(reads.values()) == {1}
    assert embedded.faults == {"2": "unreadable"}
    assert embedded.usable.tolist() == [True, True, False, True, True]


def test_flipping_averages_with_the_mirror_image(loaded: LoadedBackbone) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    both = [Picture("a", lambda: pixels), Picture("b", pixels[:, ::-1].copy)]
    plain = Embedder(loaded, device="cpu").embed(both).vectors
    flipped = Embedder(loaded, device="cpu", flip=True).embed(both).vectors
    np.testing.assert_allclose(flipped[0], plain.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(flipped[0], flipped[1], atol=1e-6)


def test_no_pictures_and_only_faults(loaded: LoadedBackbone) -> None:
    embedder = Embedder(loaded, device="cpu")
    assert len(embedder.embed([]).vectors) == 0

    def fail() -> np.ndarray:
        raise PictureError("missing")

    assert embedder.embed([Picture("a", fail)]).faults == {"a": "missing"}


def test_pictures_are_read_as_rgb(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), colour)
    Image.fromarray(colour[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), np.repeat(colour[..., :1], 3, axis=2))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in (("none.png", "missing"), ("empty.png", "unreadable"), ("text.png", "unreadable")):
        with pytest.raises(PictureError, match=reason):
            read_picture(tmp_path / name)
    with pytest.raises(PictureError, match="unreadable"):
        read_picture(tmp_path)
