"""AdaFace's augmentation: each operator against Pillow or a slow loop, and drawn by arithmetic."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from pipeline.loading.augmentation_draw import Change, draw_augmentation, rectangles
from pipeline.loading.dali_graph import build_graph
from pipeline.loading.loader import Loader
from pipeline.sampling.augmentation import Augmentation
from pipeline.sampling.degradation import Degradation
from pipeline.sampling.views import Views
from shards.command import UserError

SIZE, BATCH = 40, 24
ALL = Augmentation(crop=0.6, low_resolution=0.6, photometric=0.6)


def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (BATCH, 7, 7, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(face).resize((SIZE, SIZE))) for face in coarse])


FACES = faces()


def drawn(augmentation: Augmentation, *, step: int = 0, first_row: int = 0, rows: int = BATCH) -> np.ndarray:
    return draw_augmentation(
        augmentation, [0], size=SIZE, seed=1, step=step, first_row=first_row, rows=rows, global_batch=BATCH
    )


def augmented(augmentation: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    """Run the graph on the pictures; return what it makes of them, and what was drawn."""
    return graph_of(augmentation), drawn(augmentation)


def graph_of(
    augmentation: Augmentation, affine: np.ndarray | None = None, pictures: Sequence[np.ndarray] = FACES
) -> np.ndarray:
    """Return what the graph makes of pictures."""
    count = len(pictures)
    changes = draw_augmentation(
        augmentation, [0], size=SIZE, seed=1, step=0, first_row=0, rows=count, global_batch=count, affine=affine
    )
    encoded = [np.frombuffer(cv2.imencode(".png", face[:, :, ::-1])[1].tobytes(), np.uint8) for face in pictures]
    graph = build_graph(
        lambda: (encoded, changes),
        most=count,
        device="cpu",
        device_id=None,
        threads=1,
        prefetch=1,
        augmented_size=SIZE,
    )
    (found,) = graph.run()
    return np.stack([np.asarray(found.at(row)) for row in range(count)])


@pytest.mark.slow
def test_nothing_changes_where_no_coin_falls() -> None:
    found, changes = augmented(Augmentation(crop=1e-9))
    assert not changes[:, [Change.CROP, Change.REDUCED, Change.PHOTOMETRIC]].any()
    assert (found == FACES).all()


def test_all_but_the_rectangle_is_black() -> None:
    found, changes = augmented(Augmentation(crop=0.8))
    assert 0 < changes[:, Change.CROP].sum() < BATCH
    for face, picture, row in zip(FACES, found, changes, strict=True):
        expected = face.copy()
        if row[Change.CROP]:
            top, left, height, width = row[Change.TOP : Change.WIDTH + 1].astype(int)
            expected = np.zeros_like(face)
            expected[top : top + height, left : left + width] = face[top : top + height, left : left + width]
        assert (picture == expected).all()


def test_light_is_changed_as_pillow_does() -> None:
    found, changes = augmented(Augmentation(photometric=0.9))
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    seen = set()
    for face, picture, row in zip(FACES, found, changes, strict=True):
        expected = Image.fromarray(face)
        if row[Change.PHOTOMETRIC]:
            order = row[Change.FIRST : Change.THIRD + 1].astype(int)
            seen.add(tuple(order))
            for which in order:
                expected = enhancers[which](expected).enhance(float(row[Change.BRIGHTNESS + which]))
        # DALI's luma rounds otherwise than Pillow's, now and then.
        assert np.abs(picture.astype(int) - np.asarray(expected).astype(int)).max() <= 2
        assert (picture == np.asarray(expected)).mean() > 0.9
    assert len(seen) > 2


def resized(picture: np.ndarray, side: int, code: int) -> np.ndarray:
    """Nearest by Pillow, whose pixels have their centres where DALI has them, and linear by OpenCV."""
    if code == 0:
        return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST))
    return cv2.resize(picture, (int(side), int(side)), interpolation=cv2.INTER_LINEAR)


def test_low_resolution_reduces_by_the_kernel_drawn() -> None:
    found, changes = augmented(Augmentation(low_resolution=0.9, side=(0.41, 0.41)))
    seen = 0
    for face, picture, row in zip(FACES, found, changes, strict=True):
        side, down, up = row[[Change.SIDE, Change.DOWN, Change.UP]].astype(int)
        if not row[Change.REDUCED]:
            assert (picture == face).all()
            continue
        assert side == 16
        assert not (picture == face).all()
        if max(down, up) < 2:
            close = np.abs(picture.astype(int) - resized(resized(face, side, down), SIZE, up).astype(int)) <= 2
            seen += 1
            # Enlarged from 16 to 40 pixels, one centre in five is halfway between two, of which either is the nearest.
            assert close.mean() > (0.85 if up == 0 else 0.98)
    assert seen >= 1


def test_rectangles_are_those_of_the_slow_loop() -> None:
    """As torchvision's RandomResizedCrop.get_params, from the same numbers."""
    settings = Augmentation(area=(0.3, 1.0), aspect=(0.3, 3.0))
    numbers = np.random.default_rng(3).random((400, 40))
    found, whole = rectangles(settings, SIZE, numbers), 0
    for row, rectangle in zip(numbers, found, strict=True):
        expected = (0, 0, SIZE, SIZE)
        for k in range(10):
            area = (0.3 + 0.7 * row[k]) * SIZE * SIZE
            ratio = math.exp(math.log(0.3) + (math.log(3.0) - math.log(0.3)) * row[10 + k])
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= SIZE and 0 < height <= SIZE:
                expected = (
                    int(row[20 + k] * (SIZE - height + 1)),
                    int(row[30 + k] * (SIZE - width + 1)),
                    height,
                    width,
                )
                break
        whole += expected == (0, 0, SIZE, SIZE)
        assert tuple(rectangle) == expected
    assert whole < 20


def test_draws_are_a_function_of_seed_step_and_row() -> None:
    whole = drawn(ALL)
    assert (np.concatenate([drawn(ALL, rows=9), drawn(ALL, first_row=9, rows=BATCH - 9)]) == whole).all()
    assert (drawn(ALL, step=1) != whole).any()
    many = draw_augmentation(ALL, [0, 1, 0], size=8, seed=0, step=0, first_row=0, rows=4000, global_batch=4000)
    first, second, again = np.split(many, 3)
    assert (first == again).all()
    assert (first != second).any()
    for event in (Change.CROP, Change.REDUCED, Change.PHOTOMETRIC):
        assert abs(many[:, event].mean() - 0.6) < 0.03
    for factor in (Change.BRIGHTNESS, Change.CONTRAST, Change.SATURATION):
        assert (many[:, factor].min() > 0.5) and (many[:, factor].max() < 1.5)


def test_batches_do_not_depend_on_the_ranks_or_on_where_they_begin(shards: Path) -> None:
    for views in (
        Views((32, 8), 0.0, "same", augmentation=ALL),
        Views((32, 8), 0.0, augmentation=ALL, degradation=Degradation(probability=0.5)),
    ):
        with_two = [Loader(shards, views, seed=3, global_batch=4, rank=rank, world=2, start_step=1) for rank in (0, 1)]
        alone = Loader(shards, views, seed=3, global_batch=4)
        plain = Loader(shards, replace(views, augmentation=Augmentation()), seed=3, global_batch=4, start_step=1)
        next(alone)
        batch, parts, untouched = next(alone), [next(loader) for loader in with_two], next(plain)
        assert torch.equal(batch.network_input()[:4], torch.cat([part.network_input()[:2] for part in parts]))
        assert torch.equal(batch.network_input()[4:], torch.cat([part.network_input()[2:] for part in parts]))
        assert torch.equal(batch.photos, untouched.photos)
        assert not torch.equal(batch.network_input(), untouched.network_input())
        for loader in (alone, plain, *with_two):
            loader.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Augmentation(crop=1.5),
        lambda: Augmentation(strength=-0.1),
        lambda: Augmentation(area=(0.0, 1.0)),
        lambda: Augmentation(side=(0.5, 1.5)),
        lambda: Augmentation(aspect=(2.0, 1.0)),
    ],
)
def test_impossible_settings_are_refused_in_one_line(make: Callable[[], object]) -> None:
    with pytest.raises(UserError, match="of an augmentation; give") as told:
        make()
    assert "\n" not in str(told.value)
