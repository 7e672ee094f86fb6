"""Shards to batches: corpus, sampler, reader and DALI graph put together.

>>> loader = Loader(Path("shards"), Views(), seed=0, global_batch=128)  # doctest: +SKIP
>>> for batch in loader: ...  # doctest: +SKIP
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline

from pipeline.loading.batch import Batch, View
from pipeline.loading.batch_device import BatchDevice
from pipeline.loading.dali_graph import DegradedSamples, Samples, build_graph, degraded_samples
from pipeline.loading.degradation_draw import DegradationDraw, draw_batch
from pipeline.loading.loader_checks import check_request
from pipeline.loading.undecodable import find_undecodable
from pipeline.loading.view_making import Faces, make_view
from pipeline.reading.photo_reader import Chosen, PhotoReader
from pipeline.reading.quarantine import Quarantine
from pipeline.sampling.folder_mixing import most_in_a_batch, read_shares
from pipeline.sampling.sampler import Draw, Sampler, Sampling
from pipeline.sampling.shard_folders import Corpus
from pipeline.sampling.views import Views
from shards.command import UserError


@dataclass(frozen=True)
class _Drawn:
    """A step that the source has handed to the graph, kept until that has decoded it.

    Attributes:
        step: its number.
        draw: this rank's part.
        chosen: the photos really used.
        decoded: (N,) int64, the photos handed to the decoder.
        places: (B, V) int64, where among them each view's photo stands; -1 where the view is stored.
        exact: (N,) bool, the photos whose views the graph leaves to an exact reduction; None where it degrades none.
    """

    step: int
    draw: Draw
    chosen: Chosen
    decoded: NDArray[np.int64]
    places: NDArray[np.int64]
    exact: NDArray[np.bool_] | None


class Loader:
    """An endless iterator over one rank's batches, from any step.

    Args:
        shards: folder written by `python -m pipeline.shard`, or several; labels and photos of a folder follow
            those of the folders before it.
        views: views of each identity.
        seed: of the run.
        global_batch: identities in the batch of all ranks.
        sampling: "identity": an epoch visits every identity once (published); "photo": every photo once, and
            all views of an item come from it.
        mix: each folder's share of a batch, in proportion; empty for equal shares.
        rank: of this process.
        world: number of processes; it must divide `global_batch`.
        start_step: the first step to deliver.
        device: "cpu", or "gpu" to decode and to make the views there.
        device_id: of the GPU.
        threads: decoding threads of the host.
        prefetch: batches made ahead.
        hardware_load: share 0..1 of the photos that go to the GPU's JPEG unit, where it has one.
        quarantine: CSV file for damaged photos that others stand in for, or None.
        largest_damaged_share: of all photos, at which the run ends with a message.

    Raises:
        UserError: the folders, the batch, the world size, a view or the device do not fit.
    """

    def __init__(
        self,
        shards: Path | Sequence[Path],
        views: Views,
        *,
        seed: int,
        global_batch: int,
        sampling: Sampling = "identity",
        mix: Sequence[float] = (),
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
        device: str = "cpu",
        device_id: int = 0,
        threads: int = 2,
        prefetch: int = 2,
        hardware_load: float = 0.65,
        quarantine: Path | None = None,
        largest_damaged_share: float = 0.001,
    ) -> None:
        folders = [shards] if isinstance(shards, Path) else list(shards)
        corpus = Corpus.open(folders)
        shares = read_shares(mix, len(folders))
        most = most_in_a_batch(shares, global_batch)
        check_request(corpus, views, most, global_batch=global_batch, world=world, device=device, seed=seed)
        corpus.check_tars()
        self.corpus = corpus
        self.identities = corpus.identities
        self.preprocessing = corpus.preprocessing
        firsts = [index.first for index in corpus.indexes]
        self._sampler = Sampler.of(
            firsts, views, seed=seed, global_batch=global_batch, sampling=sampling, shares=shares
        )
        self._reader = PhotoReader(
            corpus,
            seed=seed,
            photo_groups=self._sampler.photo_groups,
            quarantine=Quarantine(quarantine, corpus, largest_damaged_share),
            stored_views=not views.degradation.probability,
        )
        self._views = views
        self._share = (rank, world)
        self._next_step = start_step
        self._device = BatchDevice(torch.device("cuda", device_id) if device == "gpu" else torch.device("cpu"))
        # Degraded views differ even where they show one photo.
        self._one_face = len(self._sampler.photo_groups) == 1 and not views.degradation.probability
        self._build_graph = partial(self._graph_of, threads=threads, prefetch=prefetch, hardware_load=hardware_load)
        self._drawn: deque[_Drawn] = deque()
        self._failure: UserError | None = None
        self._graph = self._build_graph()
        # One batch is finished while the trainer works on the one before.
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: Future[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        ready = self._ahead or self._finish_ahead()
        batch = ready.result()
        self._ahead = self._finish_ahead()
        return self._device.handed_over(batch)

    def _finish_ahead(self) -> Future[Batch]:
        return self._finisher.submit(self._device.make, self._finish)

    def photo(self, photo: int) -> tuple[str, str, str]:
        """Return a photo's tar, key and identity; photos are counted as in `Batch.photos`."""
        index, row = self.corpus.locate(photo)
        tar, key = index.key(row)
        label = int(np.searchsorted(index.first, row, side="right")) - 1
        return str(index.folder / tar), key, index.names[label]

    def close(self) -> None:
        """Stop making batches and release the graph."""
        self._finisher.shutdown(wait=True, cancel_futures=True)
        del self._graph

    def _graph_of(self, *, threads: int, prefetch: int, hardware_load: float) -> Pipeline:
        """Build the graph that decodes this rank's part of every batch."""
        (_, world), sizes = self._share, self._views.sizes
        return build_graph(
            self._source,
            most=self._sampler.global_batch // world * (1 if self._one_face else len(sizes)),
            device=self._device.decoder,
            device_id=self._device.gpu_id,
            threads=threads,
            prefetch=prefetch,
            hardware_load=hardware_load,
            degraded_side=_degraded_side(self._views, self.preprocessing.size),
        )

    def _source(self) -> Samples | DegradedSamples:
        """Draw and read the next step for the graph."""
        step = self._next_step
        draw = self._sampler.draw(step, *self._share)
        try:
            chosen = self._reader.choose(draw, step)
            decoded, places = _to_decode(chosen, self._one_face)
            encoded = self._reader.photos(decoded)
        except UserError as failure:
            # DALI would wrap it in a message of its own.
            self._failure = failure
            raise
        degraded = self._degrade(draw, chosen, step)
        exact = degraded.exact if degraded else None
        self._drawn.append(_Drawn(step, draw, chosen, decoded, places, exact))
        self._next_step += 1
        return degraded_samples(encoded, degraded) if degraded else encoded

    def _degrade(self, draw: Draw, chosen: Chosen, step: int) -> DegradationDraw | None:
        """Draw how each decoded photo is degraded, view by view; None where none is."""
        if not self._views.degradation.probability:
            return None
        return draw_batch(
            self._views.degradation,
            chosen.sides,
            stored=self.preprocessing.size,
            seed=self._sampler.seed,
            step=step,
            first_row=draw.first_row,
            global_batch=self._sampler.global_batch,
        )

    def _finish(self) -> Batch:
        """Wait for the graph's next batch and make its views, which share no memory with it."""
        while True:
            try:
                outputs = self._graph.run()
                break
            except Exception as error:
                if self._failure is not None:
                    raise self._failure from None
                self._recover(error)
        drawn = self._drawn.popleft()
        pixels, *degraded = map(self._device.faces, outputs)
        faces = Faces(pixels, degraded[0] if degraded else None, drawn.exact)
        views = tuple(self._view(drawn, view, faces) for view in range(drawn.places.shape[1]))
        labels, photos = self._device.numbers(drawn.draw.identities), torch.from_numpy(drawn.chosen.photos)
        return Batch(drawn.step, labels, views, photos, self.preprocessing.size)

    def _recover(self, error: Exception) -> None:
        """Find the photos for which the graph failed, report them, and build it anew at the same step.

        Others stand in for them, as if they had been known before.

        Raises:
            Exception: the graph's error, where no photo is to blame.
            UserError: too many photos are damaged.
        """
        photos = np.unique(np.concatenate([drawn.decoded for drawn in self._drawn]))
        encoded = dict(zip(photos.tolist(), self._reader.photos(photos), strict=True))
        undecodable = find_undecodable(encoded, self._device.decoder, self._device.gpu_id)
        if not undecodable:
            raise error
        for photo in undecodable:
            self._reader.condemn(photo, "cannot be decoded")
        self._next_step = self._drawn[0].step
        self._drawn.clear()
        self._graph = self._build_graph()

    def _view(self, drawn: _Drawn, view: int, faces: Faces) -> View:
        sides, photos = drawn.chosen.sides[:, view], drawn.chosen.photos[:, view]
        return make_view(
            faces,
            drawn.places[:, view],
            sides,
            drawn.draw.mirrored[:, view],
            lambda rows: self._reader.stored(photos[rows], int(sides[rows[0]])),
        )


def _degraded_side(views: Views, stored: int) -> int:
    """Return the largest side of a view that may be degraded, 0 where none is."""
    if not views.degradation.probability:
        return 0
    return max([most for least, most in views.ranges if views.degradation.degrades(least, stored)], default=1)


def _to_decode(chosen: Chosen, one_photo: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the photos (N,) to decode, and where among them each view's stands: (B, V), -1 where it is stored."""
    if one_photo:
        # The first view is never stored.
        places = np.broadcast_to(np.arange(len(chosen.photos))[:, None], chosen.photos.shape)
        return chosen.photos[:, 0], np.where(chosen.stored, -1, places)
    places = np.full(chosen.photos.shape, -1)
    # View by view, so that the faces of a view lie side by side.
    needed = ~chosen.stored.T
    places.T[needed] = np.arange(needed.sum())
    return chosen.photos.T[needed], places
