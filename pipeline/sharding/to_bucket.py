"""A sharding run whose folder ends in a bucket: finished tars are uploaded while others are written."""

from pathlib import Path

from pipeline.sharding.plan import Plan
from pipeline.sharding.run import finished_there, shard
from shards.format import Manifest
from shards.storage.copying import Uploads, copy_folder
from shards.storage.places import RemotePath


def shard_to_bucket(
    plan: Plan, work: Path, *, target: RemotePath, workers: int, dask: str | None = None
) -> tuple[Manifest, bool]:
    """Write the plan's tars into a folder of this machine and upload each as it is finished, the manifest last.

    A run that was interrupted is continued: tars that are there with the same SHA-256 are not uploaded again.

    Args:
        plan: of the whole folder.
        work: the folder of this machine; it stays.
        target: the folder in the bucket.
        workers: see `shard`.
        dask: see `shard`.

    Returns:
        the manifest, and whether the folder in the bucket had been finished before.

    Raises:
        UserError: as `shard`, or the bucket holds another folder or cannot be written.
        OSError: the folder of this machine cannot be written.
    """
    if manifest := finished_there(plan, target):
        return manifest, True
    uploads = Uploads(work, target)
    try:
        manifest, _ = shard(plan, work, workers=workers, dask=dask, finished=uploads.add)
        copy_folder(work, target, uploads)
    finally:
        uploads.close()
    return manifest, False
