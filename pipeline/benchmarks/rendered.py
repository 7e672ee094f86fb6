"""What benchmarks run on where no shards are named: rendered people, and indexes of millions of photos of one."""

import io
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from pipeline.synthetic.write import write_dataset
from shards.cores import usable_cores
from shards.format import IDENTITIES, MANIFEST, NAMES, PHOTO_DTYPE, PHOTOS, TAR_BLOCK, TarEntry, read_manifest, tar_name
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


def write_large_index(scratch: Path, out: Path, *, identities: int, photos: int) -> None:
    """Write a shard folder with an index of any size whose photos are all the same one.

    Identities have different numbers of photos, as real ones do: from half to one and a half times the mean.

    Args:
        scratch: folder to render into.
        out: folder to write.
        identities: labels.
        photos: in all, at least two for each identity.
    """
    (rendered,) = render_shards(scratch, identities=2, size=128, stored=[()], photos=4)
    index = ShardIndex.open(rendered)
    encoded = bytes(index.read(0))
    out.mkdir()
    tar = out / tar_name(0)
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as file:
        member = tarfile.TarInfo("000000000.jpg")
        member.size = len(encoded)
        file.addfile(member, io.BytesIO(encoded))
    record = np.array((TAR_BLOCK, len(encoded), 0, zlib.crc32(encoded), 0, 128), dtype=PHOTO_DTYPE)
    records = np.lib.format.open_memmap(out / PHOTOS, mode="w+", dtype=PHOTO_DTYPE, shape=(photos,))
    for start in range(0, photos, _RECORDS_AT_ONCE):
        records[start : start + _RECORDS_AT_ONCE] = record
    records.flush()
    weights = np.random.default_rng(0).uniform(0.5, 1.5, identities)
    first = np.rint(np.append(0, np.cumsum(weights)) * (photos / weights.sum())).astype(np.int64)
    np.save(out / IDENTITIES, first)
    (out / NAMES).write_text("".join(f"vggface2/n{label:07d}\n" for label in range(identities)), encoding="utf-8")
    entry = TarEntry(tar.name, tar.stat().st_size, "0" * 64, photos)
    manifest = replace(
        read_manifest(rendered),
        tars=(entry,),
        identities=identities,
        photos=photos,
        input_records=photos,
        rejects={},
        dropped_identities=(),
    )
    (out / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
