"""The decoders of the graph and of the offline stage, against Pillow."""

import io

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode
from PIL import Image

from pipeline.loading.dali_graph import build_graph, decode_divided, divided_by_photo, for_the_unit
from pipeline.pixels.photo import decode

SIDE = 48
RED, BLUE, GREEN = (230, 20, 20), (20, 20, 230), (10, 220, 60)


def colour_edges() -> np.ndarray:
    """Stripes, an oblique edge and small squares of strong colours: wherever colour is repeated it shows."""
    y, x = np.indices((SIDE, SIDE))
    first = np.where((x // 3 % 2 == 0)[..., None], RED, BLUE)
    second = np.where((2 * x + y < 80)[..., None], GREEN, RED)
    third = np.where(((x // 5 + y // 5) % 2 == 0)[..., None], BLUE, GREEN)
    return np.where((y < 16)[..., None], first, np.where((y < 32)[..., None], second, third)).astype(np.uint8)


def jpeg(subsampling: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colour_edges()).save(file, "JPEG", quality=95, subsampling=subsampling)
    return file.getvalue()


def decoded(encoded: bytes, device: str) -> np.ndarray:
    """What the graph makes of a photo."""
    graph = build_graph(
        lambda: [np.frombuffer(encoded, dtype=np.uint8)],
        most=1,
        device=device,
        device_id=0 if device == "gpu" else None,
        threads=1,
        prefetch=1,
    )
    (faces,) = graph.run()
    return np.asarray((faces.as_cpu() if device == "gpu" else faces).as_tensor())[0]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_colour_is_interpolated_as_pillow_does(subsampling: int) -> None:
    """Subsampling 0, 1 and 2 are 4:4:4, 4:2:2 and 4:2:0."""
    encoded = jpeg(subsampling)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(decoded(encoded, "cpu"), expected)
    np.testing.assert_array_equal(decode(encoded)[..., ::-1], expected)


def pictures(count: int) -> list[np.ndarray]:
    """Encoded photos, all different."""
    files = [io.BytesIO() for _ in range(count)]
    for number, file in enumerate(files):
        Image.fromarray(np.roll(colour_edges(), number, axis=1)).save(file, "JPEG", quality=80 + number % 20)
    return [np.frombuffer(file.getvalue(), dtype=np.uint8) for file in files]


def test_the_photo_alone_decides_where_it_is_decoded() -> None:
    photos = pictures(400)
    chosen = for_the_unit(photos, 0.65)
    assert 0.55 < chosen.mean() < 0.75
    for batch in (photos[::-1], photos[7:9], photos[::3]):
        by_photo = {photo.tobytes(): one for photo, one in zip(photos, chosen, strict=True)}
        assert for_the_unit(batch, 0.65).tolist() == [by_photo[photo.tobytes()] for photo in batch]
    assert not (for_the_unit(photos, 0.3) & ~chosen).any()
    assert [divided_by_photo(*way) for way in (("gpu", 0.65), ("gpu", 0), ("gpu", 1), ("cpu", 0.65))] == [True] + 3 * [
        False
    ]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_photos_of_two_decoders_stay_in_their_order(share: float) -> None:
    """Both decoders are the host's here: what is tested is that the batch is divided and put together again."""
    photos = pictures(9)

    @pipeline_def(batch_size=9, num_threads=1, device_id=None, enable_conditionals=True)
    def divided() -> DataNode:
        encoded, to_unit = fn.external_source(
            source=lambda: (photos, for_the_unit(photos, share)), num_outputs=2, batch=True
        )
        return decode_divided(encoded, to_unit, "cpu")

    (faces,) = divided().run()
    expected = [np.asarray(Image.open(io.BytesIO(photo.tobytes())).convert("RGB")) for photo in photos]
    np.testing.assert_array_equal(np.asarray(faces.as_tensor()), np.stack(expected))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_photo_has_the_same_pixels_on_a_gpu_in_every_batch() -> None:
    photos = pictures(64)

    def faces(batch: list[np.ndarray]) -> np.ndarray:
        graph = build_graph(lambda: batch, most=64, device="gpu", device_id=0, threads=2, prefetch=1)
        return np.asarray(graph.run()[0].as_cpu().as_tensor())

    whole = faces(photos)
    for first in range(0, 64, 8):
        np.testing.assert_array_equal(faces(photos[first : first + 8]), whole[first : first + 8])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_interpolates_colour_too() -> None:
    """Repeated in place of interpolated, the colour of these edges would be 14 levels off in the mean."""
    encoded = jpeg(2)
    away = np.abs(np.int16(decoded(encoded, "gpu")) - np.int16(decoded(encoded, "cpu")))
    assert away.mean() < 2
