"""Fetch the next batch, and keep an error in the data until all processes know of it."""

import sys
import threading
import time
from collections.abc import Iterator

import torch

from pipeline.loading.batch import Batch
from shards.command import UserError
from shards.open_files import shared


class BatchFetcher:
    """The next batch of a loader.

    An error that one process finds in the data, such as too many damaged photos, is kept until all processes know of
    it: they would otherwise wait forever for the process that ended.

    Args:
        loader: its next batch is that of the first step.
        device: of the batches.
        rank: of this process.
        late: seconds of waiting for a batch after which a warning names this process and the file that it reads.

    Attributes:
        mistake: what was wrong with the data of the next batch, or None.
        waiting: seconds spent waiting for data; may be set to 0.
    """

    def __init__(self, loader: Iterator[Batch], device: torch.device, rank: int = 0, late: float = 20) -> None:
        self._loader, self._device = loader, device
        self._rank, self._late = rank, late
        self._batch: Batch | None = None
        self.mistake: UserError | None = None
        self.waiting = 0.0

    def fetch(self) -> None:
        """Wait for the next batch."""
        asked = time.monotonic()
        warning = threading.Timer(self._late, self._warn)
        warning.daemon = True
        warning.start()
        try:
            self._batch = next(self._loader).to(self._device)
        except UserError as mistake:
            self.mistake = mistake
        finally:
            warning.cancel()
        self.waiting += time.monotonic() - asked

    def _warn(self) -> None:
        print(
            f"warning: rank {self._rank} has waited {self._late:g} s for data, and the others wait for it; "
            f"it reads {shared().reading or 'nothing yet'}",
            file=sys.stderr,
            flush=True,
        )

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
