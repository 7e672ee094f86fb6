"""Search for picture files in a folder and all its subfolders."""

import os
from collections.abc import Iterator
from pathlib import Path

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff")

_SYSTEM_FOLDERS = ("__macosx", "@eadir", "#recycle", "$recycle.bin")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is an operating system's or a tool's own, whatever its suffix; no picture.

    A Mac puts `._1.jpg` beside `1.jpg` and `__MACOSX` into archives, a Synology makes `@eaDir`, Jupyter
    `.ipynb_checkpoints`. Only names below the folder that a user gives are judged so, never that folder's own path.

    >>> [name for name in ("1.jpg", "._1.jpg", ".DS_Store", "__MACOSX", "@eaDir", "s1") if is_hidden(name)]
    ['._1.jpg', '.DS_Store', '__MACOSX', '@eaDir']
    """
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def walk_pictures(root: Path) -> Iterator[tuple[str, str]]:
    """Yield identity and path of every picture below a folder, both relative to it; one folder in memory at a time.

    The identity is the path of the folder that the picture lies in, "" for one that lies in the root itself. A link
    to a folder is followed, but not in a circle. A name that is not UTF-8 is written with escapes, as in `a\\xff.jpg`;
    no such file can then be opened by what is yielded.
    """
    if root.is_dir():
        yield from _walk(os.fsencode(root), "", frozenset())


def _walk(folder: bytes, identity: str, above: frozenset[bytes]) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries)
    prefix = f"{identity}/" if identity else ""
    for name, is_folder, is_link in found:
        path = prefix + name.decode("utf-8", "backslashreplace")
        if is_folder:
            inside = os.path.join(folder, name)  # noqa: PTH118 - bytes, which Path does not take
            # Only through a link can one come back to a folder above.
            seen = above | {os.path.realpath(folder)} if is_link else above
            if not (is_link and any(_is_within(there, os.path.realpath(inside)) for there in seen)):
                yield from _walk(inside, path, seen)
        elif path.lower().endswith(PICTURE_SUFFIXES):
            yield identity, path


def _is_within(folder: bytes, above: bytes) -> bool:
    """Return whether a folder is another one or lies below it."""
    return folder == above or folder.startswith(above.rstrip(b"/") + b"/")
