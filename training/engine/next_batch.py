"""Fetch the next batch, and keep an error in the data until all processes know of it."""

import time

import torch

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from shards.command import UserError


class BatchFetcher:
    """The next batch of a loader.

    An error that one process finds in the data, such as too many damaged photos, is kept until all processes know of
    it: they would otherwise wait forever for the process that ended.

    Args:
        loader: its next batch is that of the first step.
        device: of the batches.

    Attributes:
        mistake: what was wrong with the data of the next batch, or None.
        waiting: seconds spent waiting for data; may be set to 0.
    """

    def __init__(self, loader: Loader, device: torch.device) -> None:
        self._loader, self._device = loader, device
        self._batch: Batch | None = None
        self.mistake: UserError | None = None
        self.waiting = 0.0

    def fetch(self) -> None:
        """Wait for the next batch."""
        asked = time.monotonic()
        try:
            self._batch = next(self._loader).to(self._device)
        except UserError as mistake:
            self.mistake = mistake
        self.waiting += time.monotonic() - asked

    def take(self) -> Batch:
        """Return the batch that was fetched.

        Raises:
            UserError: the mistake.
        """
        if self.mistake is not None:
            raise self.mistake
        assert self._batch is not None
        batch, self._batch = self._batch, None
        return batch
