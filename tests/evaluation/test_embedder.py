"""Embedding: each picture once, faults named, the batch without influence."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.embedder import Embedder
from evaluation.pictures import Picture, PictureError, read_picture
from pipeline.align import align, native_size, preprocessing
from shards.command import UserError
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

    with pytest.raises(UserError, match=r"none of 2 pictures can be used, such as a \(missing\)"):
        embedder.embed([Picture("a", fail), Picture("b", fail)])


def test_an_output_that_is_no_number_is_refused(loaded: LoadedBackbone) -> None:
    class Overflow(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return faces.flatten(1)[:, :4] / (faces.flatten(1).amax(1, keepdim=True) > -1)

    faces = [pictures(1)[0], Picture("black", lambda: np.zeros((32, 32, 3), np.uint8))]
    with pytest.raises(UserError, match=r"spherenet4 of step 1 .* first for black; its training diverged"):
        Embedder(replace(loaded, backbone=Overflow()), device="cpu").embed(faces)


def test_a_face_that_no_memory_holds_is_a_fault(loaded: LoadedBackbone) -> None:
    points = np.array([[0, 0], [1e5, 0], [5e4, 5e4], [0, 1e5], [1e5, 1e5]], dtype=float)
    photo = np.zeros((9, 9, 3), np.uint8)
    huge = Picture("huge", lambda: align(photo, points, native_size(points)))
    assert Embedder(loaded, device="cpu").embed([huge, *pictures(1)]).faults == {"huge": "cannot be aligned"}


def test_the_next_batch_is_read_while_one_is_embedded_and_no_more(loaded: LoadedBackbone) -> None:
    reads: list[int] = []
    read_at_forward: list[int] = []

    class Watched(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            read_at_forward.append(len(reads))
            return faces.flatten(1)[:, :4]

    def load(number: int) -> np.ndarray:
        reads.append(number)
        return np.zeros((32, 32, 3), np.uint8)

    many = [Picture(str(n), lambda n=n: load(n)) for n in range(40)]  # type: ignore[misc]
    embedded = Embedder(replace(loaded, backbone=Watched()), device="cpu", batch=4).embed(many)
    assert embedded.usable.all()
    for step, read in enumerate(read_at_forward):
        assert 4 * (step + 1) <= read <= 4 * (step + 2)


def test_pictures_are_read_as_rgb(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), colour)
    Image.fromarray(colour[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), np.repeat(colour[..., :1], 3, axis=2))
    Image.fromarray(np.dstack([colour, colour[..., :1]])).save(tmp_path / "transparent.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "transparent.png"), colour)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in (("none.png", "missing"), ("empty.png", "unreadable"), ("text.png", "unreadable")):
        with pytest.raises(PictureError, match=reason):
            read_picture(tmp_path / name)
    with pytest.raises(PictureError, match="unreadable"):
        read_picture(tmp_path)
