"""What the training benchmark trains on: a loader over given shards, or over people rendered for it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.loader import Loader
from pipeline.plan import Plan, Settings
from pipeline.sharding import shard
from pipeline.sources import vggface2
from pipeline.synthetic.write import write_dataset
from pipeline.views import Views
from shards.command import UserError
from shards.index import ShardIndex
from training.config import Config, Model
from training.recipes import PAPER

_LOW = (8, 12, 16)
_PHOTOS = 6


@contextmanager
def bench_loader(options: Any) -> Iterator[tuple[Loader, Config]]:
    """Open a loader over the benchmark's people, and the recipe `paper` at the benchmark's size.

    Raises:
        UserError: the size is not above the low views, or the shards do not fit the options.
    """
    if options.size <= max(_LOW):
        raise UserError(f"--size {options.size}; the benchmark's views of {max(_LOW)} pixels need a larger one")
    config = replace(
        PAPER,
        model=Model(backbone=options.backbone),
        size=options.size,
        views=Views(sizes=(options.size, *_LOW)),
        batch=options.batch,
    )
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards or _rendered(Path(folder), options)
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


def _rendered(folder: Path, options: Any) -> Path:
    """Render twice as many people as a batch holds, in the layout of VGGFace2, and shard them with stored views."""
    print(f"rendering {2 * options.batch} people with {_PHOTOS} photos each", flush=True)
    workers = options.threads
    write_dataset(folder, "vggface2", identities=2 * options.batch, photos=_PHOTOS, seed=0, workers=workers)
    root = folder / "VGGFace2"
    source = vggface2(root, [root / "bb_landmark" / "loose_landmark_train.csv"])
    out = folder / "shards"
    shard(Plan(source, Settings(size=options.size, stored_views=_LOW)), out, workers=workers)
    return out
