"""SHA-256 digests that identify files and shard folders by content."""

import hashlib
import json
from collections.abc import Sequence

from shards.format import MANIFEST
from shards.storage.places import Folder


def file_sha256(path: Folder) -> str:
    """Return the SHA-256 of a file as hexadecimal text.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def manifest_digest(folders: Sequence[Folder]) -> str:
    """Return the SHA-256 of shard folders: of one's manifest, which carries those of its tars, or of several."""
    digests = []
    for folder in folders:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        digests.append(hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
