"""Shards to batches: shard folders, sampler, reader and DALI graph put together.

>>> loader = Loader(Path("shards"), Views(), seed=0, global_batch=128)  # doctest: +SKIP
>>> for batch in loader: ...  # doctest: +SKIP
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.loading.batch import Batch, View
from pipeline.loading.batch_device import BatchDevice
from pipeline.loading.face_decoder import FaceDecoder
from pipeline.loading.loader_checks import check_request
from pipeline.loading.step_source import Step, StepSource
from pipeline.loading.view_making import Faces, make_view
from pipeline.reading.photo_reader import ChosenPhotos, PhotoReader
from pipeline.reading.quarantine import Quarantine
from pipeline.sampling.crops import Crops
from pipeline.sampling.folder_mixing import most_identities_per_batch, read_shares
from pipeline.sampling.sampler import Sampler, Sampling
from pipeline.sampling.shard_folders import ShardFolders
from pipeline.sampling.views import Views
from shards.storage.places import Folder, RemotePath


class Loader:
    """An endless iterator over one rank's batches, from any step.

    Args:
        shards: folder written by `python -m pipeline.shard`, on a disk or in a bucket (`shard_folder`), or several;
            labels and photos of a folder follow those of the folders before it.
        views: views of each identity.
        seed: of the run.
        global_batch: identities in the batch of all ranks.
        sampling: "identity": an epoch visits every identity once (published); "photo": every photo once, and
            all views of an item come from it.
        crops: shard folder of real small pictures of the same people, by name, or None: they stand in for reduced
            views, none of which then has more pixels than the picture had.
        crop_share: probability 0..1 that one does, where a person has any.
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
        points: give the five points of the face in every view, for a network that takes them.

    Raises:
        UserError: the folders, the batch, the world size, a view or the device do not fit.
    """

    def __init__(
        self,
        shards: Folder | Sequence[Folder],
        views: Views,
        *,
        seed: int,
        global_batch: int,
        sampling: Sampling = "identity",
        mix: Sequence[float] = (),
        crops: Folder | None = None,
        crop_share: float = 0.5,
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
        points: bool = False,
    ) -> None:
        paths = [shards] if isinstance(shards, Path | RemotePath) else list(shards)
        folders = ShardFolders.open([*paths, *([] if crops is None else [crops])])
        indexes = folders.indexes[: len(paths)]
        shares = read_shares(mix, len(paths))
        most = most_identities_per_batch(shares, global_batch)
        check_request(indexes, views, most, global_batch=global_batch, world=world, device=device, seed=seed)
        folders.check_tars()
        for index in folders.indexes if points else ():
            index.require_points()
        self.identities = sum(index.identities for index in indexes)
        self.preprocessing = folders.preprocessing
        self._folders, self._points = folders, points
        sampler = Sampler.of(
            [index.first for index in indexes],
            views,
            seed=seed,
            global_batch=global_batch,
            sampling=sampling,
            shares=shares,
            crops=None if crops is None else Crops.of(folders, views, share=crop_share, seed=seed),
        )
        self._reader = PhotoReader(
            folders,
            seed=seed,
            photo_groups=sampler.photo_groups,
            quarantine=Quarantine(quarantine, folders, largest_damaged_share),
            stored_views=views.as_stored,
        )
        size = self.preprocessing.size
        source = StepSource(sampler, self._reader, size=size, rank=rank, world=world, first_step=start_step)
        self._device = BatchDevice(torch.device("cuda", device_id) if device == "gpu" else torch.device("cpu"))
        self._decoder = FaceDecoder(
            source, self._reader, self._device, threads=threads, prefetch=prefetch, hardware_load=hardware_load
        )
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

    def photo(self, photo: int) -> tuple[str, str, str]:
        """Return a photo's tar, key and identity; photos are counted as in `Batch.photos`."""
        index, row = self._folders.locate(photo)
        tar, key = index.key(row)
        label = int(np.searchsorted(index.first, row, side="right")) - 1
        return str(index.folder / tar), key, index.names[label]

    def close(self) -> None:
        """Stop making batches and release the graph."""
        self._finisher.shutdown(wait=True, cancel_futures=True)
        del self._decoder

    def _finish_ahead(self) -> Future[Batch]:
        return self._finisher.submit(self._device.make, self._finish)

    def _finish(self) -> Batch:
        """Wait for the next step's faces and make its views, which share no memory with the graph."""
        step, faces = self._decoder.next_step()
        views = tuple(self._view(step, view, faces) for view in range(step.places.shape[1]))
        labels, photos = self._device.numbers(step.draw.identities), torch.from_numpy(step.chosen.photos)
        return Batch(step.number, labels, views, photos, self.preprocessing.size, self._points_of(step))

    def _points_of(self, step: Step) -> Tensor | None:
        """Return the points of every view: (B, V, 5, 2)."""
        if not self._points:
            return None
        return torch.from_numpy(step.moved(self._folders.points(step.chosen.photos)))

    def _view(self, step: Step, view: int, faces: Faces) -> View:
        sides, photos = step.chosen.sides[:, view], step.chosen.photos[:, view]
        return make_view(
            faces,
            step.places[:, view],
            sides,
            step.draw.mirrored[:, view],
            lambda rows: self._stored(step.chosen, photos[rows], int(sides[rows[0]])),
        )

    def _stored(self, chosen: ChosenPhotos, photos: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """Return the stored views of one side of some of the chosen photos: (n, side, side, 3) uint8 RGB."""
        return np.stack([self._folders.view_of(photo, chosen.views[photo], side) for photo in photos.tolist()])
