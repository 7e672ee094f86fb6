"""Search for picture files in a folder and all its subfolders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_READ = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .webp .gif .tif .tiff .pbm .pgm .ppm .pnm .avif .avifs "
    ".jp2 .j2k .jpf .jpx .tga .ico .icns .pcx .psd .qoi .sgi .dds"
)
# Rejected with their reason: a phone's and a camera's own, and drawings.
_NOT_READ = ".heic .heif .hif .jxl .cr2 .cr3 .nef .arw .dng .orf .rw2 .raf .eps .svg"
PICTURE_SUFFIXES = tuple(f"{_READ} {_NOT_READ}".split())
"""How names of pictures end, in lower case."""

_SYSTEM_FOLDERS = ("__macosx", "@eadir", "#recycle", "$recycle.bin")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is an operating system's or a tool's own, whatever its suffix; no picture.

    A Mac puts `._1.jpg` beside `1.jpg` and `__MACOSX` into archives, a Synology makes `@eaDir`, Jupyter
    `.ipynb_checkpoints`. Only names below the folder that a user gives are judged so, never that folder's own path.

    >>> [name for name in ("1.jpg", "._1.jpg", ".DS_Store", "__MACOSX", "@eaDir", "s1") if is_hidden(name)]
    ['._1.jpg', '.DS_Store', '__MACOSX', '@eaDir']
    """
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def leads_out(name: str) -> bool:
    """Return whether a name of a list leads out of the folder that it is relative to.

    >>> [leads_out(name) for name in ("s1/1.jpg", "../1.jpg", "s1/../../1.jpg", "/etc/1.jpg")]
    [False, True, True, True]
    """
    return name.startswith("/") or (".." in name and ".." in PurePosixPath(name).parts)


@dataclass
class PassedOver:
    """Counts the hidden files that have the suffix of a picture; see `is_hidden`."""

    pictures: int = 0


def walk_pictures(root: Path, passed_over: PassedOver | None = None) -> Iterator[tuple[str, str]]:
    """Yield identity and path of every picture below a folder, both relative to it; one folder in memory at a time.

    The identity is the path of the folder that the picture lies in, "" for one that lies in the root itself. A link
    to a folder is followed, but not in a circle. A name that is not UTF-8 is written with escapes, as in `a\\xff.jpg`;
    no such file can then be opened by what is yielded. Hidden files are passed over, and counted.
    """
    if root.is_dir():
        yield from _walk(os.fsencode(root), "", frozenset(), passed_over or PassedOver())


def _walk(folder: bytes, identity: str, above: frozenset[bytes], passed_over: PassedOver) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries)
    prefix = f"{identity}/" if identity else ""
    for name, is_folder, is_link in found:
        path = prefix + (text := name.decode("utf-8", "backslashreplace"))
        inside = os.path.join(folder, name)  # noqa: PTH118 - bytes, which Path does not take
        if is_hidden(text):
            passed_over.pictures += _pictures_below(inside) if is_folder else _is_picture(text)
        elif is_folder:
            # Only through a link can one come back to a folder above.
            seen = above | {os.path.realpath(folder)} if is_link else above
            if not (is_link and any(_is_within(there, os.path.realpath(inside)) for there in seen)):
                yield from _walk(inside, path, seen, passed_over)
        elif _is_picture(text):
            yield identity, path


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)


def _pictures_below(folder: bytes) -> int:
    """Count the pictures below a folder, whatever their names; links to folders are not followed."""
    return sum(_is_picture(os.fsdecode(name)) for _, _, names in os.walk(folder) for name in names)


def _is_within(folder: bytes, above: bytes) -> bool:
    """Return whether a folder is another one or lies below it."""
    return folder == above or folder.startswith(above.rstrip(b"/") + b"/")
