"""The options by which commands name shard folders, and what they keep of those in a bucket."""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from shards.command import UserError
from shards.storage.limits import Kept
from shards.storage.places import Folder, RemotePath, shard_folder


def add_shards(command: ArgumentParser) -> None:
    """Add `--shards`, and what goes with folders that are not on this machine."""
    command.add_argument(
        "--shards",
        type=shard_folder,
        nargs="+",
        required=True,
        help="folder written by pipeline.shard, or its address such as s3://bucket/folder or https://host/folder, or "
        "several",
    )
    command.add_argument(
        "--cache",
        type=Path,
        help="folder on a local disk that keeps what was fetched from a bucket, for later runs, too (default: none)",
    )
    command.add_argument("--cache-gb", type=float, default=100.0, help="most GiB of --cache (default: 100)")
    command.add_argument(
        "--ahead-mb",
        type=int,
        default=256,
        help="most MiB fetched ahead from a bucket and not yet used, of all processes of a machine (default: 256)",
    )


def named_folders(options: Any) -> list[Folder]:
    """Return the folders of `--shards`, those in a bucket with what may be kept of them.

    Raises:
        UserError: an option has no sense.
    """
    return [keeping(folder, options) for folder in options.shards]


def keeping(folder: Folder, options: Any) -> Folder:
    """Return a folder, one in a bucket with what the options say may be kept of it; raises as `named_folders`."""
    if not (options.cache_gb > 0 and options.ahead_mb > 0):
        raise UserError(f"--cache-gb {options.cache_gb:g} and --ahead-mb {options.ahead_mb}; give more than 0")
    if not isinstance(folder, RemotePath):
        return folder
    return replace(folder, kept=Kept(options.ahead_mb << 20, options.cache, int(options.cache_gb * 2**30)))
