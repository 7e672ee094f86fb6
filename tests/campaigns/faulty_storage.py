"""Train with storage that fails on demand: `torchrun -m tests.campaigns.faulty_storage` with the options of training.

Every read of a tar goes through here. Some places of tars cannot be read in any run, always the same ones. Beside that
a file in the folder that the environment variable FAULTS names brings a fault about in the process of a rank: `stall-3`
lets the next read of rank 3 take as many seconds as the file says, `fail-3` lets all its reads fail for so long.
"""

import errno
import os
import time
import zlib
from pathlib import Path

from shards.command import run
from shards.open_files import OpenFiles

ONE_OF = 100
"""One of so many places of the tars cannot be read."""


def unreadable(tar: str, offset: int) -> bool:
    """Tell whether what lies at an offset of a tar can never be read."""
    return zlib.crc32(f"{Path(tar).name} {offset}".encode()) % ONE_OF == 0


def interpose(faults: Path, rank: str) -> None:
    """Put the faults between the files and all that reads them in this process."""
    read, stall, fail = OpenFiles.read_into, faults / f"stall-{rank}", faults / f"fail-{rank}"
    failing_until = 0.0

    def read_into(self: OpenFiles, memory: memoryview, path: str, offset: int) -> int:
        nonlocal failing_until
        self.reading = path
        if stall.exists():
            seconds = float(stall.read_text())
            stall.unlink()
            time.sleep(seconds)
        if fail.exists():
            failing_until = time.monotonic() + float(fail.read_text())
            fail.unlink()
        if time.monotonic() < failing_until:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if unreadable(path, offset):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG), path)
        return read(self, memory, path, offset)

    OpenFiles.read_into = read_into  # type: ignore[method-assign]


if __name__ == "__main__":
    from training.main import main

    interpose(Path(os.environ["FAULTS"]), os.environ["RANK"])
    run(main)
