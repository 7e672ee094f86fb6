"""Search for the photos that made the decoding of a batch fail.

DALI does not say which photo of a batch it failed to decode, and its pipeline is unusable after an error. The search
uses the same decoder on the same device, so it always agrees with the batch.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn

from pipeline.loading.dali_graph import decode

_INPUT = "photo"


def find_undecodable(photos: Mapping[int, NDArray[np.uint8]], device: str, device_id: int | None) -> list[int]:
    """Decode photos one by one and return the numbers of those that cannot be.

    Args:
        photos: encoded photos by their number.
        device: "cpu" or "gpu".
        device_id: of the GPU; None for the CPU.
    """
    undecodable = []
    probe = None
    for number, encoded in photos.items():
        probe = probe or _build(device, device_id)
        probe.feed_input(_INPUT, [encoded])
        try:
            probe.run()
        except RuntimeError:
            undecodable.append(number)
            probe = None
    return undecodable


def _build(device: str, device_id: int | None) -> Pipeline:
    pipeline = Pipeline(
        batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1, exec_pipelined=False, exec_async=False
    )
    with pipeline:
        pipeline.set_outputs(decode(fn.external_source(name=_INPUT), device, hardware_load=0.0))
    pipeline.build()
    return pipeline
