"""The DALI graph: encoded photos in, decoded and mirrored faces out, on one device.

The same function builds the graph for the CPU and for a GPU. It knows no files: what a batch consists of is
handed in. Reducing follows in `device_resample`, on the same device: DALI's antialiased cubic repeats the
border and reads its kernel from a coarse table, which moves enlarged views by up to 3 levels of 255 from
Pillow's, and at float precision costs more time than the exact product.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

Samples = list[NDArray[np.uint8]]
Mirrors = list[NDArray[np.int32]]


def build_graph(
    source: Callable[[], Sequence[Samples | Mirrors]],
    *,
    views: int,
    batch: int,
    device: str,
    device_id: int | None,
    threads: int,
    prefetch: int,
) -> Pipeline:
    """Build the graph that decodes and mirrors the photos of a batch.

    Args:
        source: called once a batch; returns for every view a list of B encoded photos (1-d uint8), followed
            for every view by a list of B flags (0-d int32, 1 = mirror left-right).
        views: V, views per identity.
        batch: B, identities per batch.
        device: "cpu", or "gpu" for the decoder that shares its work between host and GPU.
        device_id: of the GPU; None for the CPU.
        threads: worker threads of the host.
        prefetch: batches made ahead.

    Returns:
        A built pipeline whose V outputs are (B, S, S, 3) uint8 RGB.
    """
    pipeline = Pipeline(
        batch_size=batch,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=prefetch,
        seed=0,
    )
    with pipeline:
        inputs = fn.external_source(source=source, num_outputs=2 * views, batch=True)
        decoded = [decode(photo, device) for photo in inputs[:views]]
        faces = [fn.flip(face, horizontal=mirrored) for face, mirrored in zip(decoded, inputs[views:], strict=True)]
        pipeline.set_outputs(*faces)
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
