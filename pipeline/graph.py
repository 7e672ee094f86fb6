"""The DALI graph: encoded photos in, decoded faces out, on one device.

The same function builds the graph for the CPU and for a GPU. It knows no files: what a batch consists of is
handed in. Reducing follows in `device_resample`, on the same device: DALI's antialiased cubic repeats the
border and reads its kernel from a coarse table, which moves enlarged views by up to 3 levels of 255 from
Pillow's, and at float precision costs more time than the exact product.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

Samples = list[NDArray[np.uint8]]


def build_graph(
    source: Callable[[], Samples],
    *,
    most: int,
    device: str,
    device_id: int | None,
    threads: int,
    prefetch: int,
) -> Pipeline:
    """Build the graph that decodes the photos of a batch.

    Args:
        source: called once a batch; returns its N encoded photos (1-d uint8), the same number or another in
            every batch.
        most: largest N.
        device: "cpu", or "gpu" for the decoder that shares its work between host and GPU.
        device_id: of the GPU; None for the CPU.
        threads: worker threads of the host.
        prefetch: batches made ahead.

    Returns:
        A built pipeline whose output is (N, S, S, 3) uint8 RGB.
    """
    pipeline = Pipeline(
        batch_size=most,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=prefetch,
        seed=0,
    )
    with pipeline:
        photos = fn.external_source(source=source, batch=True)
        pipeline.set_outputs(decode(photos, device))
    pipeline.build()
    return pipeline


def decode(photo: DataNode, device: str) -> DataNode:
    """Decode JPEG, PNG or WebP bytes to (H, W, 3) uint8 RGB on the device.

    The GPU's decoder is told to interpolate colour as the host's does, so that both see the same face.
    """
    return fn.decoders.image(
        photo,
        device="cpu" if device == "cpu" else "mixed",
        output_type=types.DALIImageType.RGB,
        jpeg_fancy_upsampling=True,
    )
