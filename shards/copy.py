"""Copy a shard folder from or to a bucket: `python -m shards.copy s3://bucket/folder shards/folder`.

Only what is missing is copied: a tar that is there already with the SHA-256 of the manifest stays. Every tar is held
against its SHA-256 where it arrives, and the manifest comes last, so that a copy that was interrupted is no shard
folder yet; the same command finishes it. Exit status 0: a whole copy; 2: none.
"""

from shards.command import Parser, run
from shards.storage.copying import copy_folder
from shards.storage.places import shard_folder


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m shards.copy", description=__doc__)
    command.add_argument(
        "source", type=shard_folder, help="shard folder, or its address in a bucket or on a web server"
    )
    command.add_argument(
        "target", type=shard_folder, help="folder to write, or its address; new, or what is there of an earlier copy"
    )
    return command


def main() -> None:
    """Copy a folder and say how much there was to do."""
    options = parser().parse_args()
    copied, kept = copy_folder(options.source, options.target)
    print(f"{options.target}: {copied} files copied, {kept} were there")


if __name__ == "__main__":
    run(main)
