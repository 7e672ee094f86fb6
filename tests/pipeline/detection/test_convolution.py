"""Compiled convolutions and pools, held against torch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detection.convolution import convolve, largest, lay_out


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_layer_is_that_of_torch(data: st.DataObject) -> None:
    side = data.draw(st.sampled_from([1, 2, 3]))
    height, width = (data.draw(st.integers(side, 12)) for _ in range(2))
    channels, outputs = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([1, 10, 16, 33]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, weights, bias, slope = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((2, height, width, channels), (outputs, channels, side, side), (outputs,), (outputs,))
    )
    layer = lay_out(weights, bias, slope)
    found = convolve(x, layer.weights, layer.bias, layer.slope, layer.width)
    tensors = [torch.from_numpy(value) for value in (x.transpose(0, 3, 1, 2).copy(), weights, bias, slope)]
    expected = F.prelu(F.conv2d(*tensors[:3]), tensors[3]).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[..., :outputs], expected, atol=1e-4)
    assert not found[..., outputs:].any()


@pytest.mark.parametrize("height,width", [(3, 3), (10, 11), (23, 46)])
@pytest.mark.parametrize("side", [2, 3])
@pytest.mark.parametrize("whole", [True, False])
def test_a_pool_is_that_of_torch(height: int, width: int, side: int, whole: bool) -> None:
    x = np.random.default_rng(0).normal(size=(2, height, width, 5)).astype(np.float32)
    found = largest(x, side, 4, whole)
    picture = torch.from_numpy(x[..., :4].transpose(0, 3, 1, 2).copy())
    if not whole:
        lacking = [max(0, (-(-length // 2) - 1) * 2 + side - length) for length in (height, width)]
        down, across = ((lack // 2, lack - lack // 2) for lack in lacking)
        picture = F.pad(picture, (*across, *down), value=-np.inf)
    expected = F.max_pool2d(picture, side, 2).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found, expected)
