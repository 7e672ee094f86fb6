"""Batches of real shards, against Pillow and the sampler."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.views import Views
from shards.index import ShardIndex

DEVICES = [
    "cpu",
    pytest.param(
        "gpu",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]
VIEWS = Views(sizes=(64, 8, 12, 16))


@pytest.fixture(scope="session")
def batches(orl_shards: Path) -> ShardIndex:
    return ShardIndex.open(orl_shards)


def decoded(index: ShardIndex, photo: int) -> np.ndarray:
    """Decode a photo with Pillow: (S, S, 3) uint8."""
    import io

    return np.asarray(Image.open(io.BytesIO(bytes(index.read(photo)))).convert("RGB"))
