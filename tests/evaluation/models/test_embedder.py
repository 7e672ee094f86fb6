"""Embedding: each picture once, faults named, the batch without influence."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.models import pictures as pictures_module
from evaluation.models.embedder import Embedder
from evaluation.models.pictures import Picture, PictureError, Preparation, read_picture
from evaluation.models.preparation import aligned, whole
from pipeline.alignment.align import preprocessing
from shards.command import UserError
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import build_backbone

WHOLE = Preparation("whole", 32)
POINTS = np.array([[10, 12], [22, 12], [16, 18], [11, 24], [21, 24]], dtype=float)


@pytest.fixture(scope="module")
def loaded() -> LoadedBackbone:
    torch.manual_seed(0)
    return LoadedBackbone(
        build_backbone("spherenet4", 32, 16).eval(), preprocessing("paper", 32), "spherenet4", 1, "x", "0"
    )


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    """Forty pictures of noise, in files of their own."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    return [Picture(f"{number}", tmp_path / f"{number}.png", WHOLE) for number in range(len(pixels))]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the reads of every file."""
    counted: Counter[str] = Counter()
    lock, read = threading.Lock(), pictures_module.read_bytes

    def counting(path: Path) -> bytes:
        with lock:
            counted[path.name] += 1
        return read(path)

    monkeypatch.setattr(pictures_module, "read_bytes", counting)
    return counted


def test_the_batch_has_no_influence(loaded: LoadedBackbone, pictures: list[Picture]) -> None:
    one = Embedder(loaded, device="cpu", batch=1).embed(pictures[:7]).vectors
    many = Embedder(loaded, device="cpu", batch=4).embed(pictures[:7]).vectors
    np.testing.assert_allclose(one, many, atol=1e-6)
    assert one.shape == (7, 16)


def test_every_picture_is_read_once_and_faults_are_named(
    loaded: LoadedBackbone, pictures: list[Picture], reads: Counter[str]
) -> None:
    pictures[2].path.write_bytes(b"no picture")
    embedded = Embedder(loaded, device="cpu", batch=3).embed(pictures[:5])
    assert reads == {f"{number}.png": 1 for number in range(5)}
    assert embedded.faults == {"2": "unreadable"}
    assert embedded.usable.tolist() == [True, True, False, True, True]


def test_one_photo_in_many_sizes_is_read_and_aligned_once(
    loaded: LoadedBackbone, pictures: list[Picture], reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    form = loaded.preprocessing
    aligned_faces: Counter[str] = Counter()
    framed = Preparation.framed

    def counting(self: Preparation, photo: np.ndarray) -> np.ndarray:
        aligned_faces[self.framing] += 1
        return framed(self, photo)

    monkeypatch.setattr(Preparation, "framed", counting)
    sizes = (8, None, 12, 8)
    shown = [aligned(p.name, p.path, POINTS, form, low) for low in sizes for p in pictures[:6]]
    embedded = Embedder(loaded, device="cpu", batch=4).embed(shown)
    assert reads == {f"{number}.png": 1 for number in range(6)}
    assert aligned_faces == {"aligned": 6}
    alone = np.concatenate([Embedder(loaded, device="cpu").embed([one]).vectors for one in shown])
    np.testing.assert_allclose(embedded.vectors, alone, atol=1e-6)
    np.testing.assert_array_equal(embedded[0:6].vectors, embedded[18:24].vectors)
    assert not np.allclose(embedded[0:6].vectors, embedded[6:12].vectors)


def test_one_file_in_another_framing_is_another_picture(loaded: LoadedBackbone, pictures: list[Picture]) -> None:
    one, form = pictures[0], loaded.preprocessing
    shown = [
        whole("a", one.path, form),
        aligned("b", one.path, POINTS, form),
        aligned("c", one.path, POINTS + [[1e-9, 0]] * 5, form),
        aligned("d", one.path, POINTS + 1, form),
        aligned("e", one.path, POINTS, preprocessing("centred", 32)),
        aligned("f", one.path, POINTS, preprocessing("paper", 32, "antialiased")),
        aligned("g", one.path, POINTS, form, native=True),
    ]
    assert len({picture.preparation.framing_key() for picture in shown}) == len(shown)
    vectors = Embedder(loaded, device="cpu").embed(shown).vectors
    for row, picture in enumerate(shown):
        np.testing.assert_allclose(vectors[row], Embedder(loaded, device="cpu").embed([picture]).vectors[0], atol=1e-6)


def test_flipping_averages_with_the_mirror_image(loaded: LoadedBackbone, pictures: list[Picture]) -> None:
    pixels = pictures[0].load()
    Image.fromarray(pixels[:, ::-1]).save(pictures[1].path)
    plain = Embedder(loaded, device="cpu").embed(pictures[:2]).vectors
    flipped = Embedder(loaded, device="cpu", flip=True).embed(pictures[:2]).vectors
    np.testing.assert_allclose(flipped[0], plain.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(flipped[0], flipped[1], atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_bfloat16_moves_embeddings_a_little(loaded: LoadedBackbone, pictures: list[Picture], flip: bool) -> None:
    exact = Embedder(loaded, device="cpu", flip=flip).embed(pictures[:4]).vectors
    quick = Embedder(loaded, device="cpu", flip=flip, precision="bfloat16").embed(pictures[:4]).vectors
    assert quick.dtype == np.float32
    assert (quick != exact).any()
    cosines = (quick * exact).sum(1) / np.linalg.norm(quick, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999


def test_no_pictures_and_only_faults(loaded: LoadedBackbone, tmp_path: Path) -> None:
    embedder = Embedder(loaded, device="cpu")
    none = embedder.embed([])
    faulty = embedder.embed([Picture("a", tmp_path / "a", WHOLE), Picture("b", tmp_path / "b", WHOLE)])
    assert (len(none.vectors), len(faulty.vectors)) == (0, 2)
    assert none.vectors.shape[1] == faulty.vectors.shape[1] > 0
    assert not faulty.usable.any()
    assert faulty.faults == {"a": "missing", "b": "missing"}


def test_an_output_that_is_no_number_is_refused(loaded: LoadedBackbone, pictures: list[Picture]) -> None:
    class Overflow(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return faces.flatten(1)[:, :4] / (faces.flatten(1).amax(1, keepdim=True) > -1)

    Image.new("RGB", (32, 32)).save(pictures[1].path)
    with pytest.raises(UserError, match=r"spherenet4 of step 1 .* first for 1; its training diverged"):
        Embedder(replace(loaded, backbone=Overflow()), device="cpu").embed(pictures[:3])


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.array([[0, 0], [1e5, 0], [5e4, 5e4], [0, 1e5], [1e5, 1e5]]), "cannot be aligned"),
        (np.full((5, 2), 3.0), "landmarks degenerate"),
        (np.full((5, 2), np.nan), "landmarks are not numbers"),
    ],
)
def test_landmarks_that_make_no_face_are_a_fault(
    loaded: LoadedBackbone, pictures: list[Picture], points: np.ndarray, says: str
) -> None:
    odd = aligned("odd", pictures[0].path, points, loaded.preprocessing, native=True)
    assert Embedder(loaded, device="cpu").embed([odd, pictures[1]]).faults == {"odd": says}


def test_the_next_batch_is_read_while_one_is_embedded_and_no_more(
    loaded: LoadedBackbone, pictures: list[Picture], reads: Counter[str]
) -> None:
    read_at_forward: list[int] = []

    class Watched(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            read_at_forward.append(reads.total())
            return faces.flatten(1)[:, :4]

    embedded = Embedder(replace(loaded, backbone=Watched()), device="cpu", batch=4).embed(pictures)
    assert embedded.usable.all()
    assert len(read_at_forward) == 10
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
