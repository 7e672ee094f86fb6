"""Every operator of the degradation against a slow reference, on the graph that training runs."""

import io
import sys
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate

from pipeline.loading.batch import Batch
from pipeline.loading.dali_graph import build_graph, define_graph, degraded_samples
from pipeline.loading.degradation_draw import DegradationDraw, RoundSetting, Setting, draw_degradation
from pipeline.loading.loader import Loader
from pipeline.sampling.degradation import Degradation, Reduction, Round
from pipeline.sampling.views import Views

DEVICES = [
    "cpu",
    pytest.param(
        "gpu",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]
SIZE, BATCH = 48, 12
OFF = Round(blur=0, noise=0, jpeg=0)
# Everything off but the switch: each test turns one step on.
NOTHING = Degradation(1.0, True, light=0, grey=0, first=OFF, second=OFF, camera=(128, 128), reductions=("bicubic",))


def smooth_faces() -> np.ndarray:
    """Pictures with gradients, edges and a little noise: (BATCH, SIZE, SIZE, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (BATCH, 6, 6, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(face).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for face in coarse]
    noisy = np.stack(large).astype(np.float64) + rng.normal(0, 4, (BATCH, SIZE, SIZE, 3))
    return noisy.clip(0, 255).round().astype(np.uint8)


FACES = smooth_faces()


def full_views(
    degradation: Degradation, device: str, pictures: np.ndarray = FACES
) -> tuple[np.ndarray, DegradationDraw]:
    """Return the views of the stored size, from wherever the graph leaves them, and what was drawn."""
    faces, views, draw = degraded(degradation, device=device, pictures=pictures)
    return np.where(draw.exact[:, None, None, None], faces, views), draw


def degraded(
    degradation: Degradation, *, side: int = SIZE, device: str = "cpu", pictures: np.ndarray = FACES
) -> tuple[np.ndarray, np.ndarray, DegradationDraw]:
    """Run the graph on pictures; return its faces, its views and what was drawn."""
    sides = np.full(BATCH, side)
    place = {"stored": SIZE, "seed": 1, "step": 2, "view": 1, "first_row": 0, "global_batch": BATCH}
    draw = draw_degradation(degradation, sides, **place)
    encoded = []
    for face in pictures:
        file = io.BytesIO()
        Image.fromarray(face).save(file, "PNG")
        encoded.append(np.frombuffer(file.getvalue(), np.uint8))
    graph = build_graph(
        lambda: degraded_samples(encoded, draw),
        most=BATCH,
        device=device,
        device_id=0 if device == "gpu" else None,
        threads=1,
        prefetch=1,
        degraded_side=side,
    )
    faces, views = (output.as_cpu().as_array() for output in graph.run())
    return faces, views, draw


def levels(picture: np.ndarray) -> np.ndarray:
    return picture.clip(0, 255).round()


def assert_close(found: np.ndarray, expected: np.ndarray, most: int = 1, share: float = 0.02) -> None:
    """Equal to a level, and nearly everywhere exactly: halves may round either way."""
    difference = np.abs(found.astype(np.float64) - expected)
    assert difference.max() <= most
    assert (difference > 0.5).mean() <= share


@pytest.mark.slow
def test_a_graph_leaves_no_generated_code_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    degraded(NOTHING)
    degraded(Degradation())
    assert list(tmp_path.iterdir()) == []
    assert any(name.startswith("__autograph_generated_file") for name in sys.modules), "DALI names its code otherwise"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("degradation", [Degradation(), replace(Degradation(), full_view=True), NOTHING])
def test_what_no_coin_falls_for_is_untouched_bit_by_bit(degradation: Degradation, device: str) -> None:
    faces, _, draw = degraded(degradation, device=device)
    assert draw.exact.all()
    np.testing.assert_array_equal(faces, FACES)


@pytest.mark.parametrize("device", DEVICES)
def test_light_is_its_formula(device: str) -> None:
    views, draw = full_views(replace(NOTHING, light=1), device)
    for face, view, row in zip(FACES, views, draw.settings, strict=True):
        expected = row[Setting.BRIGHTNESS] * (128 + row[Setting.CONTRAST] * (face.astype(np.float64) - 128))
        assert_close(view, levels(expected))
        assert not np.array_equal(view, face)


@pytest.mark.parametrize("device", DEVICES)
def test_grey_is_luma(device: str) -> None:
    views, _ = full_views(replace(NOTHING, grey=1), device)
    luma = levels(FACES @ np.array([0.299, 0.587, 0.114]))
    for channel in range(3):
        assert_close(views[..., channel], luma)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("motion", [0, 1])
@pytest.mark.parametrize("number", [1, 2])
def test_blur_is_a_correlation(number: int, motion: int, device: str) -> None:
    rounds = {"first": OFF, "second": OFF, ("first", "second")[number - 1]: replace(OFF, blur=1, motion=motion)}
    views, draw = full_views(replace(NOTHING, **rounds), device)
    kernels = (draw.first, draw.second)[number - 1].kernels
    for face, view, kernel in zip(FACES, views, kernels, strict=True):
        expected = [correlate(face[..., c].astype(np.float64), kernel, mode="mirror") for c in range(3)]
        assert_close(view, levels(np.stack(expected, axis=-1)))


@pytest.mark.parametrize("device", DEVICES)
def test_noise_has_the_variance_of_a_sensor(device: str) -> None:
    noisy = replace(OFF, noise=1, read_noise=(5, 10), shot_noise=(0.2, 1.0))
    views, draw = full_views(replace(NOTHING, second=noisy), device)
    columns = draw.settings[:, Setting.SECOND_ROUND :]
    for face, view, row, normals in zip(FACES, views, columns, draw.second.normals, strict=True):
        level = face.astype(np.float64)
        variance = row[RoundSetting.SHOT_GAIN] * level + row[RoundSetting.READ_VARIANCE]
        assert_close(view, levels(level + normals * np.sqrt(variance)))
        inside = (level > 60) & (level < 195)
        spread = ((view - level) / np.sqrt(variance))[inside].std()
        assert spread == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("device", "coloured", "more"),
    [
        ("cpu", True, 0.01),
        pytest.param(*DEVICES[1].values, False, 0.15, marks=DEVICES[1].marks),
        # Where a codec smooths the halved colours, the simulation of a GPU repeats them.
        pytest.param(*DEVICES[1].values, True, 0.6, marks=DEVICES[1].marks),
    ],
)
def test_jpeg_loses_what_pillows_loses(device: str, coloured: bool, more: float) -> None:
    pictures = FACES if coloured else np.repeat(FACES[..., :1], 3, axis=-1)
    compressed = replace(NOTHING, second=replace(OFF, jpeg=1, quality=(20, 90)))
    views, draw = full_views(compressed, device, pictures)
    qualities = draw.settings[:, Setting.SECOND_ROUND + RoundSetting.QUALITY]
    for face, view, quality in zip(pictures, views, qualities, strict=True):
        file = io.BytesIO()
        Image.fromarray(face).save(file, "JPEG", quality=int(quality))
        expected = np.asarray(Image.open(file)).astype(np.float64)
        theirs, ours = np.abs(expected - face).mean(), np.abs(view.astype(np.float64) - face).mean()
        assert ours == pytest.approx(theirs, rel=more)
        if not coloured or device == "cpu":
            assert np.abs(view - expected).mean() < theirs / 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("reduction", "filter_"),
    [
        ("bicubic", Image.Resampling.BICUBIC),
        ("linear", Image.Resampling.BILINEAR),
        ("lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_reductions_are_the_kernels_named(reduction: Reduction, filter_: Image.Resampling, device: str) -> None:
    """Inside, where the border's treatment does not reach; at the camera, and at the view by a noise of nothing."""
    nothing = replace(OFF, noise=1, read_noise=(0, 0), shot_noise=(0, 0))
    wanted = replace(NOTHING, reductions=(reduction,))
    for settings in (replace(wanted, camera=(1, 1)), replace(wanted, second=nothing)):
        _, views, draw = degraded(settings, side=12, device=device)
        assert not draw.exact.any()
        for face, view in zip(FACES, views, strict=True):
            expected = np.asarray(Image.fromarray(face).resize((12, 12), filter_)).astype(np.float64)
            assert np.abs(view - expected)[3:-3, 3:-3].max() <= 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("side", [1, 2, 7, 12, 40])
def test_everything_at_once_gives_pictures_of_the_side(side: int, device: str) -> None:
    storm = Round(blur=1, noise=1, jpeg=1, sigma=(3, 3.5), length=(20, 21))
    whole = Degradation(1.0, light=1, grey=0.5, first=storm, second=storm, camera=(1, 3), reductions=("nearest",))
    _, views, _ = degraded(whole, side=side, device=device)
    assert views.shape == (BATCH, side, side, 3)
    again = degraded(whole, side=side, device=device)[1]
    np.testing.assert_array_equal(views, again)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_both_devices_degrade_alike() -> None:
    """JPEG is simulated on a GPU, so pictures agree on average; without it to two levels."""
    whole = Degradation(1.0)
    for wanted, most in ((whole, 8.0), (replace(whole, first=replace(whole.first, jpeg=0), second=OFF), 1.0)):
        host, device = (degraded(wanted, side=12, device=name)[1].astype(np.float64) for name in ("cpu", "gpu"))
        assert np.abs(host - device).mean() < most


def test_on_a_gpu_every_picture_stays_there_after_the_decoder() -> None:
    """On the graph as DALI's Python builds it: what is made of a decoded photo is made on the device."""
    graph = define_graph(lambda: None, "gpu", 0.5, 16, batch_size=4, num_threads=1, device_id=0)
    graph._build_graph()
    assert {output.device for output in graph._graph_outputs} == {"gpu"}
    decoders = [op for op in graph._ops if "Image" in op.name]
    assert len(decoders) == 2, "one for the photos of the JPEG unit, one for the others"
    waiting, seen = deque(decoders), set()
    while waiting:
        op = waiting.popleft()
        if op.name in seen:
            continue
        seen.add(op.name)
        made = {output.name for output in op.outputs}
        assert {output.device for output in op.outputs} == {"gpu"}, op.name
        waiting.extend(other for other in graph._ops if made & {given.name for given in other.inputs})
    kinds = {name.strip("_").split("_")[0] for name in seen}
    assert {
        "Pad",
        "Filter",
        "Resize",
        "JpegCompressionDistortion",
        "BrightnessContrast",
        "ColorSpaceConversion",
    } <= kinds


def delivered(folder: Path, count: int, **settings: object) -> list[Batch]:
    loader = Loader(folder, **{"views": DEGRADED, "seed": 5, "global_batch": 12, **settings})  # type: ignore[arg-type]
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


DEGRADED = Views(sizes=(64, 8, "12..20"), degradation=Degradation(probability=0.7))


def pixels(batch: Batch) -> torch.Tensor:
    """(B, V, 3, S, S)."""
    return batch.network_input().unflatten(0, (len(batch.views), -1)).transpose(0, 1)


def test_degraded_pictures_are_the_same_on_any_number_of_ranks_and_from_any_step(orl_shards: Path) -> None:
    whole = delivered(orl_shards, 3)
    for world in (2, 3):
        parts = [delivered(orl_shards, 3, rank=rank, world=world) for rank in range(world)]
        for step in range(3):
            assert torch.equal(torch.cat([pixels(part[step]) for part in parts]), pixels(whole[step]))
    (resumed,) = delivered(orl_shards, 1, start_step=2)
    assert torch.equal(pixels(resumed), pixels(whole[2]))


def test_the_loader_degrades_reduced_views_only_and_leaves_the_rest_exact(orl_shards: Path) -> None:
    plain = delivered(orl_shards, 4, views=replace(DEGRADED, degradation=Degradation()))
    some = delivered(orl_shards, 4)
    same = torch.stack([(pixels(a) == pixels(b)).flatten(2).all(dim=2) for a, b in zip(plain, some, strict=True)])
    # (steps, B, V)
    assert same[..., 0].all(), "the full view"
    assert 0.1 < same[..., 1:].float().mean() < 0.5, "three of ten are not degraded"
    full = replace(DEGRADED, degradation=Degradation(probability=1, full_view=True, light=1))
    every = delivered(orl_shards, 1, views=full)[0]
    assert not (pixels(every) == pixels(plain[0])).flatten(2).all(dim=2).any()
    nothing = replace(DEGRADED, degradation=replace(NOTHING, full_view=False))
    for one, other in zip(plain, delivered(orl_shards, 4, views=nothing), strict=True):
        assert torch.equal(pixels(one), pixels(other))


def test_views_of_one_photo_are_degraded_each_on_its_own(orl_shards: Path) -> None:
    views = Views(sizes=(64, 16, 16), mirror=0, photos="same", degradation=Degradation(probability=1))
    batch = delivered(orl_shards, 1, views=views)[0]
    assert (batch.photos == batch.photos[:, :1]).all()
    assert not (pixels(batch)[:, 1] == pixels(batch)[:, 2]).flatten(1).all(dim=1).any()
