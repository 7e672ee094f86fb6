"""Runs the DALI graph, and goes on where a photo cannot be decoded.

DALI does not say which photo of a batch it failed to decode, and its pipeline is unusable after an error. So the photos
are then decoded one by one, by the same decoder on the same device, which always agrees with the batch.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn

from pipeline.loading.batch_device import BatchDevice
from pipeline.loading.dali_graph import build_graph, decode
from pipeline.loading.step_source import Step, StepSource
from pipeline.loading.view_making import Faces
from pipeline.reading.photo_reader import PhotoReader

_INPUT = "photo"


class FaceDecoder:
    """Decodes the photos of one step after another.

    Args:
        source: of the steps.
        reader: which replaces the photos that cannot be decoded.
        device: where to decode.
        graph_settings: threads, prefetch and hardware_load of `build_graph`.
    """

    def __init__(self, source: StepSource, reader: PhotoReader, device: BatchDevice, **graph_settings: Any) -> None:
        self._source, self._reader, self._device = source, reader, device
        self._build_graph = partial(
            build_graph,
            source.next_samples,
            most=source.most_photos(),
            device=device.decoder,
            device_id=device.gpu_id,
            degraded_side=source.largest_degraded,
            augmented_size=source.augmented_size,
            **graph_settings,
        )
        self._graph = self._build_graph()

    def next_step(self) -> tuple[Step, Faces]:
        """Wait for the next step and its faces, which on a CPU are valid until the next call.

        Raises:
            UserError: an identity has no usable photo left, or too many photos are damaged.
        """
        while True:
            try:
                outputs = self._graph.run()
                break
            except Exception as error:
                if self._source.failure is not None:
                    raise self._source.failure from None
                self._replace_undecodable(error)
        step = self._source.pending.popleft()
        pixels, *degraded = map(self._device.faces, outputs)
        return step, Faces(pixels, degraded[0] if degraded else None, step.exact)

    def _replace_undecodable(self, error: Exception) -> None:
        """Report the photos for which the graph failed, and begin anew at the same step with others in their place.

        Raises:
            Exception: the graph's error, where all photos can be decoded.
            UserError: too many photos are damaged.
        """
        encoded = {photo: step.chosen.faces[photo] for step in self._source.pending for photo in step.decoded.tolist()}
        undecodable = find_undecodable(encoded, self._device.decoder, self._device.gpu_id)
        if not undecodable:
            raise error
        for photo in undecodable:
            self._reader.report_undecodable(photo)
        self._source.rewind()
        self._graph = self._build_graph()


def find_undecodable(photos: Mapping[int, NDArray[np.uint8]], device: str, device_id: int | None) -> list[int]:
    """Decode photos one by one and return the numbers of those that cannot be.

    Args:
        photos: encoded photos by their number.
        device: "cpu" or "gpu".
        device_id: of the GPU; None for the CPU.
    """
    undecodable = []
    graph = None
    for number, encoded in photos.items():
        graph = graph or _graph_of_one_photo(device, device_id)
        graph.feed_input(_INPUT, [encoded])
        try:
            graph.run()
        except RuntimeError:
            undecodable.append(number)
            graph = None
    return undecodable


def _graph_of_one_photo(device: str, device_id: int | None) -> Pipeline:
    pipeline = Pipeline(
        batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1, exec_pipelined=False, exec_async=False
    )
    with pipeline:
        pipeline.set_outputs(decode(fn.external_source(name=_INPUT), device, hardware_load=0.0))
    pipeline.build()
    return pipeline
