"""The decoders of the graph and of the offline stage, against Pillow."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.loading.dali_graph import build_graph
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_interpolates_colour_too() -> None:
    """Repeated in place of interpolated, the colour of these edges would be 14 levels off in the mean."""
    encoded = jpeg(2)
    away = np.abs(np.int16(decoded(encoded, "gpu")) - np.int16(decoded(encoded, "cpu")))
    assert away.mean() < 2
