"""What benchmarks run on where no shards are named: rendered people, and indexes of millions of photos of one."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from pipeline.synthetic.write import write_dataset
from shards.cores import usable_cores
from shards.format import IDENTITIES, MANIFEST, NAMES, PHOTO_DTYPE, PHOTOS, tar_name
from shards.index import ShardIndex

LOW_SIDES = (8, 12, 16)
_PHOTOS_EACH = 10
_RECORDS_AT_ONCE = 1 << 20


def render_shards(
    scratch: Path, *, identities: int, size: int, stored: Sequence[tuple[int, ...]], photos: int = _PHOTOS_EACH
) -> list[Path]:
    """Render people and write them as shards, one folder for each choice of stored views.

    Args:
        scratch: folder to write into.
        identities: people.
        size: side of a face in pixels.
        stored: for each folder the sides of its stored views.
        photos: of each person.
    """
    print(f"rendering {identities} people with {photos} photos each", flush=True)
    workers = usable_cores()
    write_dataset(scratch, "vggface2", identities=identities, photos=photos, seed=0, workers=workers)
    root = scratch / "VGGFace2"
    source = vggface2(root, [root / "bb_landmark" / "loose_landmark_train.csv"])
    folders = []
    for number, sides in enumerate(stored):
        out = scratch / f"shards-{number}"
        shard(Plan(source, Settings(size=size, stored_views=sides, min_tars=min(4, identities))), out, workers=workers)
        folders.append(out)
    return folders


def write_large_index(
    scratch: Path, out: Path, *, identities: int, photos: int, size: int = 128, tars: int = 1, people: int = 2
) -> None:
    """Write a shard folder with an index of any size, whose photos are a few rendered ones again and again.

    Identities have different numbers of photos, as real ones do: from half to one and a half times the mean. The photos
    of each lie in as many tars as there are.

    Args:
        scratch: folder to render into, on the disk of `out`: the tars are second names of a few.
        out: folder to write.
        identities: labels.
        photos: in all, at least two for each identity.
        size: side of a face in pixels.
        tars: files that hold the photos.
        people: rendered ones.
    """
    (rendered,) = render_shards(scratch, identities=people, size=size, stored=[()], photos=4)
    index = ShardIndex.open(rendered)
    manifest, faces = index.manifest, index.records[:]
    out.mkdir()
    copied = np.arange(tars) % len(manifest.tars)
    for tar, original in enumerate(copied.tolist()):
        os.link(rendered / tar_name(original), out / tar_name(tar))
    faces = faces[np.argsort(faces["tar"], kind="stable")]
    starts, counts = np.searchsorted(faces["tar"], copied), np.bincount(faces["tar"])[copied]
    records = np.lib.format.open_memmap(out / PHOTOS, mode="w+", dtype=PHOTO_DTYPE, shape=(photos,))
    for start in range(0, photos, _RECORDS_AT_ONCE):
        # Every so-many-th photo lies in the same tar, whose photos follow one another again and again.
        turns, of = np.divmod(np.arange(start, min(photos, start + _RECORDS_AT_ONCE)), tars)
        block = faces[starts[of] + turns % counts[of]]
        block["tar"] = of
        records[start : start + len(block)] = block
    records.flush()
    weights = np.random.default_rng(0).uniform(0.5, 1.5, identities)
    first = np.rint(np.append(0, np.cumsum(weights)) * (photos / weights.sum())).astype(np.int64)
    np.save(out / IDENTITIES, first)
    (out / NAMES).write_text("".join(f"vggface2/n{label:07d}\n" for label in range(identities)), encoding="utf-8")
    entries = (
        replace(manifest.tars[original], name=tar_name(tar), photos=len(range(tar, photos, tars)))
        for tar, original in enumerate(copied.tolist())
    )
    large = replace(
        manifest,
        tars=tuple(entries),
        identities=identities,
        photos=photos,
        input_records=photos,
        rejects={},
        dropped_identities=(),
        pointed=0,
    )
    (out / MANIFEST).write_text(large.to_json(), encoding="utf-8")
