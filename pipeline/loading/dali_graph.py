"""The DALI graph: encoded photos in, decoded faces out, on one device.

The same function builds the graph for the CPU and for a GPU. It knows no files: what a batch consists of is
handed in. Reducing follows in `batch_pixels`, on the same device: DALI's antialiased cubic repeats the
border and reads its kernel from a coarse table, which moves enlarged views by up to 3 levels of 255 from
Pillow's, and at float precision costs more time than the exact product. Only degraded views are reduced in the
graph, for in them noise and compression follow.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, pipeline_def, types
from nvidia.dali.data_node import DataNode

from pipeline.loading.augmentation_graph import augment
from pipeline.loading.degradation_draw import DegradationDraw
from pipeline.loading.degradation_graph import DegradationInputs, degrade

# The end of a photo tells photos apart: its beginning is the same tables for all.
_LAST = 64

Samples = list[NDArray[np.uint8]]
DegradedSamples = Sequence[list[NDArray[Any]] | NDArray[Any]]


def build_graph(
    source: Callable[[], Samples | DegradedSamples],
    *,
    most: int,
    device: str,
    device_id: int | None,
    threads: int,
    prefetch: int,
    hardware_load: float = 0.65,
    degraded_side: int = 0,
    augmented_size: int = 0,
) -> Pipeline:
    """Build the graph that decodes, and perhaps degrades, the photos of a batch.

    Args:
        source: called once a batch; returns its N encoded photos (1-d uint8), the same number or another in
            every batch; for a graph that degrades, `degraded_samples` of them.
        most: largest N.
        device: "cpu", or "gpu" for the decoder that shares its work between host and GPU.
        device_id: of the GPU; None for the CPU.
        threads: worker threads of the host.
        prefetch: batches made ahead.
        hardware_load: share 0..1 of the photos that go to the GPU's JPEG unit, where it has one; see `for_the_unit`.
        degraded_side: largest side in pixels of a degraded view; 0 where none is degraded.
        augmented_size: side of the photos in pixels, where they are augmented; 0 where none is. The source then returns
            what was drawn, (N, columns) float32, after the photos.

    Returns:
        A built pipeline whose output is (N, S, S, 3) uint8 RGB. One that degrades gives the degraded views as well:
        (N, degraded_side, degraded_side, 3) uint8, each in the upper left corner.
    """
    if divided_by_photo(device, hardware_load):
        source = partial(_with_units, source, hardware_load)
    with _no_generated_code_left():
        pipeline = define_graph(
            source,
            device,
            hardware_load,
            degraded_side,
            augmented_size,
            batch_size=most,
            num_threads=threads,
            device_id=device_id,
            prefetch_queue_depth=prefetch,
            seed=0,
        )
        pipeline.build()
    return pipeline


@contextmanager
def _no_generated_code_left() -> Iterator[None]:
    """Remove the files that DALI compiles the definition from, which it reads no more, and let it keep no bytecode.

    DALI removes them when the interpreter exits, which a process that is killed and a worker of multiprocessing never
    reach; their bytecode it never removes.
    """
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = kept
        for name, module in list(sys.modules.items()):
            if name.startswith("__autograph_generated_file") and module.__file__:
                Path(module.__file__).unlink(missing_ok=True)


@pipeline_def(enable_conditionals=True)
def define_graph(
    source: Callable[[], Samples | DegradedSamples],
    device: str,
    hardware_load: float,
    degraded_side: int,
    augmented_size: int = 0,
) -> DataNode | tuple[DataNode, DataNode]:
    """Define the graph that `build_graph` builds; looking at the definition takes no GPU."""
    divided = divided_by_photo(device, hardware_load)
    outputs = 1 + divided + (augmented_size > 0) + 5 * (degraded_side > 0)
    if outputs == 1:
        return decode(fn.external_source(source=source, batch=True), device, hardware_load)
    photos, *others = fn.external_source(source=source, num_outputs=outputs, batch=True)
    if divided:
        face, others = decode_divided(photos, others[0], device), others[1:]
    else:
        face = decode(photos, device, hardware_load)
    if augmented_size > 0:
        face, others = augment(face, others[0], augmented_size), others[1:]
    if degraded_side == 0:
        return face
    settings, *pictures = others
    if device == "gpu":
        pictures = [picture.gpu() for picture in pictures]
    face, view = degrade(face, DegradationInputs(settings, *pictures))
    return face, fn.pad(view, axes=[0, 1], shape=[degraded_side, degraded_side])


def degraded_samples(photos: Samples, drawn: DegradationDraw) -> DegradedSamples:
    """Return what the source of a graph that degrades hands in: N photos and a draw of N rows."""
    return photos, drawn.settings, drawn.first.kernels, drawn.first.normals, drawn.second.kernels, drawn.second.normals


def decode(photo: DataNode, device: str, hardware_load: float) -> DataNode:
    """Decode JPEG, PNG or WebP bytes to (H, W, 3) uint8 RGB on the device.

    The GPU's decoder is told to interpolate colour as the host's always does, so that both see the same face.
    """
    rgb = types.DALIImageType.RGB
    if device == "cpu":
        return fn.decoders.image(photo, device="cpu", output_type=rgb)
    return fn.decoders.image(
        photo, device="mixed", output_type=rgb, jpeg_fancy_upsampling=True, hw_decoder_load=hardware_load
    )


def divided_by_photo(device: str, hardware_load: float) -> bool:
    """Tell whether some photos go to the GPU's JPEG unit and others do not."""
    return device == "gpu" and 0 < hardware_load < 1


def for_the_unit(photos: Samples, share: float) -> NDArray[np.bool_]:
    """Return which encoded photos go to the GPU's JPEG unit: (N,), each with probability `share`, by its own bytes.

    The unit rounds otherwise than the other decoder. DALI itself would send a share of each batch there, so that a
    photo's pixels would depend on the photos beside it, and with them on the number of processes.
    """
    return np.array([zlib.crc32(photo[-_LAST:].tobytes()) < share * 2**32 for photo in photos], dtype=np.bool_)


def decode_divided(photo: DataNode, to_unit: DataNode, device: str) -> DataNode:
    """Decode as `decode` does, those photos by the JPEG unit for which `to_unit`, a bool, says so."""
    if to_unit:  # noqa: SIM108 - DALI divides a batch by statements alone
        face = decode(photo, device, 1.0)
    else:
        face = decode(photo, device, 0.0)
    return face


def _with_units(source: Callable[[], Samples | DegradedSamples], share: float) -> DegradedSamples:
    """Return what a source hands in, with the photos' decoders after the photos."""
    handed = source()
    photos, *others = handed if isinstance(handed, tuple) else (handed,)
    return photos, for_the_unit(photos, share), *others
