"""A disk as small as one likes, in memory."""

import subprocess
from pathlib import Path

PAGE = 4096
"""Bytes by which such a disk is filled; its size is a multiple of them."""


def mount(disk: Path, options: str) -> bool:
    """Mount a tmpfs on a folder, or give the one that is there other options; tell whether that is allowed.

    Args:
        disk: the folder, made where it is not there.
        options: of the tmpfs, such as `size=64k` or `ro`.
    """
    disk.mkdir(exist_ok=True)
    remount = "remount," if disk.is_mount() else ""
    words = ["mount", "-t", "tmpfs", "-o", remount + options, "tmpfs", str(disk)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def unmount(disk: Path) -> None:
    """Remove a small disk with all that is on it, if it is there."""
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


def room_taken(path: Path) -> int:
    """Return the bytes that a file, or the files below a folder, take on such a disk."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in files)
