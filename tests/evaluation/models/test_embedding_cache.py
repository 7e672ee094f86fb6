"""Kept embeddings: taken again where everything is the same, and never where anything is not."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.models import embedding_cache as cache_module
from evaluation.models.embedder import Embedder
from evaluation.models.embedding_cache import EmbeddingCache, usable_folder
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, whole
from pipeline.alignment.align import preprocessing
from shards.command import UserError
from training.networks.backbone_file import LoadedBackbone, load_backbone
from training.networks.backbones import build_backbone

POINTS = np.array([[10, 12], [22, 12], [16, 18], [11, 24], [21, 24]], dtype=float)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def loaded(checkpoint: Path) -> LoadedBackbone:
    return load_backbone(checkpoint)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    paths = [tmp_path / f"{number:02d}.bmp" for number in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def shown(photos: list[Path], form: object = None, points: np.ndarray = POINTS) -> list[Picture]:
    form = form or preprocessing("paper", 32)
    return [aligned(path.name, path, points, form) for path in photos]  # type: ignore[arg-type]


def run(
    loaded: LoadedBackbone, pictures: list[Picture], cache: Path | None, **settings: bool | str
) -> tuple[np.ndarray, int]:
    """Embed, and return the vectors and how many were computed."""
    embedder = Embedder(loaded, device="cpu", cache=cache, **settings)  # type: ignore[arg-type]
    vectors = embedder.embed(pictures).vectors
    assert embedder.computed + embedder.reused == len(pictures)
    return vectors, embedder.computed


def test_the_second_time_nothing_is_computed_and_nothing_differs(
    loaded: LoadedBackbone, photos: list[Path], tmp_path: Path
) -> None:
    first, computed = run(loaded, shown(photos), tmp_path / "cache")
    assert computed == 12
    again, computed = run(loaded, shown(photos), tmp_path / "cache")
    assert computed == 0
    np.testing.assert_array_equal(first, again)
    # Another name of the same content is the same picture.
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / path.name) for path in photos]
    assert run(loaded, shown(moved), tmp_path / "cache")[1] == 0


def test_a_changed_picture_is_embedded_anew_whatever_its_size_and_time_say(
    loaded: LoadedBackbone, photos: list[Path], tmp_path: Path
) -> None:
    run(loaded, shown(photos), tmp_path / "cache")
    before = photos[3].stat()
    data = bytearray(photos[3].read_bytes())
    data[-1500] ^= 0xFF
    photos[3].write_bytes(data)
    os.utime(photos[3], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = photos[3].stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    cached, computed = run(loaded, shown(photos), tmp_path / "cache")
    assert computed == 1
    np.testing.assert_array_equal(cached[3], run(loaded, shown(photos[3:4]), None)[0][0])
    photos[4].write_bytes(b"no picture any more")
    assert Embedder(loaded, device="cpu", cache=tmp_path / "cache").embed(shown(photos)).faults == {
        "04.bmp": "unreadable"
    }


@pytest.mark.slow
def test_every_other_change_is_seen(loaded: LoadedBackbone, photos: list[Path], tmp_path: Path) -> None:
    form, cache = loaded.preprocessing, tmp_path / "cache"
    run(loaded, shown(photos), cache)
    moved = POINTS.copy()
    moved[2, 1] = np.nextafter(moved[2, 1], 99)
    changed = {
        "landmark": shown(photos, points=moved),
        "template": shown(photos, preprocessing("centred", 32)),
        "warp": shown(photos, preprocessing("paper", 32, "antialiased")),
        "reduced": [aligned(path.name, path, POINTS, form, 8) for path in photos],
        "reduced less": [aligned(path.name, path, POINTS, form, 12) for path in photos],
        "native": [aligned(path.name, path, POINTS, form, native=True) for path in photos],
        "whole": [whole(path.name, path, form) for path in photos],
    }
    for name, pictures in changed.items():
        vectors, computed = run(loaded, pictures, cache)
        assert computed == len(photos), name
        np.testing.assert_array_equal(vectors, run(loaded, pictures, None)[0], err_msg=name)
    flipped, computed = run(loaded, shown(photos), cache, flip=True)
    assert computed == len(photos)
    np.testing.assert_array_equal(flipped, run(loaded, shown(photos), None, flip=True)[0])
    assert run(loaded, shown(photos), cache, precision="bfloat16")[1] == computed


def test_another_checkpoint_under_the_same_name_is_another_model(
    checkpoint: Path, photos: list[Path], tmp_path: Path
) -> None:
    before = checkpoint.stat()
    old, _ = run(load_backbone(checkpoint), shown(photos), tmp_path / "cache")
    state = torch.load(checkpoint, weights_only=True)
    state["0.bias"][0] += 0.1
    torch.save(state, checkpoint)
    os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns))
    new, computed = run(load_backbone(checkpoint), shown(photos), tmp_path / "cache")
    assert computed == len(photos)
    assert not np.array_equal(old, new)


def test_a_changed_program_or_library_is_another_model(
    loaded: LoadedBackbone, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(loaded, shown(photos), tmp_path / "cache")
    monkeypatch.setattr(cache_module, "_program", lambda: "changed")
    assert run(loaded, shown(photos), tmp_path / "cache")[1] == len(photos)
    monkeypatch.setattr(np, "__version__", "0")
    assert run(loaded, shown(photos), tmp_path / "cache")[1] == len(photos)


def test_a_model_from_code_is_never_kept(loaded: LoadedBackbone, photos: list[Path], tmp_path: Path) -> None:
    for unsure in (replace(loaded, sha256=""), replace(loaded, name="package.module:build")):
        for _ in range(2):
            assert run(unsure, shown(photos), tmp_path / "cache")[1] == len(photos)
    assert not (tmp_path / "cache").exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_content(path: Path) -> None:
    np.save(path, np.zeros((3, 4)))


def broken_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"'descr'", b"'de\x00cr'"))


@pytest.mark.parametrize("damage", [truncated, empty, other_content, broken_header])
def test_a_damaged_file_is_passed_over(
    loaded: LoadedBackbone,
    photos: list[Path],
    tmp_path: Path,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sound, _ = run(loaded, shown(photos), tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("*.npy")
    damage(file)
    vectors, computed = run(loaded, shown(photos), tmp_path / "cache")
    assert computed == len(photos)
    np.testing.assert_array_equal(vectors, sound)
    assert f"skipped: {file}" in capsys.readouterr().err
    assert run(loaded, shown(photos), tmp_path / "cache")[1] == 0


@pytest.mark.parametrize("place", [1, 64 + 2, 12 * 100])
def test_a_flipped_bit_costs_one_embedding(
    loaded: LoadedBackbone, photos: list[Path], tmp_path: Path, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row is a key of 32 bytes, a checksum of 4 and 64 of the vector; counted from the end."""
    sound, _ = run(loaded, shown(photos), tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("*.npy")
    data = bytearray(file.read_bytes())
    data[-place] ^= 4
    file.write_bytes(data)
    vectors, computed = run(loaded, shown(photos), tmp_path / "cache")
    assert computed == 1
    assert "1 damaged embeddings" in capsys.readouterr().err, "in the key, too"
    # Alone in its batch it may differ by a rounding.
    np.testing.assert_allclose(vectors, sound, atol=1e-6)


def test_a_full_disk_ends_the_keeping_and_nothing_else(
    loaded: LoadedBackbone,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "write_atomically", full)
    embedder = Embedder(loaded, device="cpu", cache=tmp_path / "cache")
    for _ in range(2):
        assert embedder.embed(shown(photos)).usable.all()
    assert capsys.readouterr().err.count("no longer kept") == 1


def test_the_longest_unused_models_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "embeddings.npy").write_text("the user's own")
    for number in range(4):
        one = EmbeddingCache(tmp_path, {"model": number}, limit=1 << 20)
        for picture in range(100):
            one.put(one.key(b"%d" % picture, b"", None), np.full(512, number, np.float32))
        one.flush()
        (newest,) = [path for path in tmp_path.iterdir() if path.name != "notes" and path.stat().st_mtime > 1e9]
        os.utime(newest, (number, number))
    # Four models of 210 kB; the oldest two do not fit beside the others.
    last = EmbeddingCache(tmp_path, {"model": 3}, limit=500_000)
    assert last.get(last.key(b"7", b"", None)) is not None
    kept = [path for path in tmp_path.iterdir() if path.name != "notes"]
    assert len(kept) == 2
    assert (tmp_path / "notes" / "embeddings.npy").exists()
    assert EmbeddingCache(tmp_path, {"model": 0}).get(last.key(b"7", b"", None)) is None
    assert EmbeddingCache(tmp_path, {"model": 2}).get(last.key(b"7", b"", None)) is not None


def test_many_embeddings_are_written_before_the_end(tmp_path: Path) -> None:
    one = EmbeddingCache(tmp_path, {})
    for picture in range(5000):
        one.put(one.key(b"%d" % picture, b"", None), np.full(4, picture, np.float32))
    # As if killed here: what was written by then is there.
    other = EmbeddingCache(tmp_path, {})
    found = [other.get(other.key(b"%d" % picture, b"", None)) for picture in range(5000)]
    assert sum(vector is not None for vector in found) == 4096
    assert all(vector is None or vector[0] == picture for picture, vector in enumerate(found))


def test_the_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert usable_folder(None) == tmp_path / "xdg" / "low-resolution-face-recognition" / "embeddings"
    assert usable_folder(tmp_path / "named") == tmp_path / "named"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        usable_folder(tmp_path / "file" / "inside")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert usable_folder(None) is None
