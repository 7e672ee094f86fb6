"""What the training benchmark trains on: a loader over given shards, or over people rendered for it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.benchmarks.rendered import LOW_SIDES, render_shards
from pipeline.loading.loader import Loader
from pipeline.sampling.views import Views
from shards.command import UserError
from shards.index import ShardIndex
from training.settings.config import Config, Model
from training.settings.recipes import PAPER

_PHOTOS = 6


@contextmanager
def bench_loader(options: Any) -> Iterator[tuple[Loader, Config]]:
    """Open a loader over the benchmark's people, and the recipe `paper` at the benchmark's size.

    Raises:
        UserError: the size is not above the low views, or the shards do not fit the options.
    """
    if options.size <= max(LOW_SIDES):
        raise UserError(f"--size {options.size}; the benchmark's views of {max(LOW_SIDES)} pixels need a larger one")
    config = replace(
        PAPER,
        model=Model(backbone=options.backbone),
        size=options.size,
        views=Views(sizes=(options.size, *LOW_SIDES)),
        batch=options.batch,
    )
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards
        if shards is None:
            # Twice a batch, so that one is not like the other.
            people, size = 2 * options.batch, options.size
            (shards,) = render_shards(Path(folder), identities=people, size=size, stored=[LOW_SIDES], photos=_PHOTOS)
        found = ShardIndex.open(shards).manifest.preprocessing.size
        if found != options.size:
            raise UserError(f"{shards} holds faces of {found} pixels; give --size {found}")
        loader = Loader(
            shards,
            config.views,
            seed=config.seed,
            global_batch=config.batch,
            device=options.device,
            threads=options.threads,
        )
        try:
            yield loader, config
        finally:
            loader.close()
