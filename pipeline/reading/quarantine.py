"""Quarantine of damaged photos: lists them in a file and stops the run if there are too many."""

import csv
import math
import sys
from pathlib import Path

from pipeline.sampling.shard_folders import ShardFolders
from shards.command import UserError


class Quarantine:
    """Reports each damaged photo once, and stops the run if there are too many.

    Args:
        path: CSV file to which each damaged photo is appended (tar, key, reason), or None to print it to stderr. A
            resumed run does not report a photo again.
        folders: the photos of the run.
        largest_share: largest share of damaged photos, 0..1; more than that end the run with a message.
    """

    def __init__(self, path: Path | None, folders: ShardFolders, largest_share: float) -> None:
        self._path = path
        self._folders = folders
        self._most = math.ceil(largest_share * folders.photos)
        self._named = _read(path) if path is not None else set()

    def add(self, photo: int, reason: str, count: int) -> None:
        """Report a damaged photo, the `count`-th of the run.

        Raises:
            UserError: `count` exceeds the largest allowed number.
        """
        index, row = self._folders.locate(photo)
        tar, key = index.key(row)
        folders = [str(one.folder) for one in self._folders.indexes]
        line = (tar if len(folders) == 1 else str(index.folder / tar), key, reason)
        if self._path is None:
            print(f"warning: passed over {' '.join(line)}", file=sys.stderr)
        elif line not in self._named:
            self._named.add(line)
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(line)
        if count > self._most:
            raise UserError(
                f"{count} of {self._folders.photos} photos in {', '.join(folders)} are damaged, the last one "
                f"{' '.join(line[:2])} ({reason}); at most {self._most} are passed over: "
                f"run `python -m shards.verify {index.folder}` and write the folder again"
            )


def _read(path: Path) -> set[tuple[str, str, str]]:
    """Return the lines that an earlier part of the run wrote."""
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {(row[0], row[1], row[2]) for row in csv.reader(file) if len(row) == 3}
