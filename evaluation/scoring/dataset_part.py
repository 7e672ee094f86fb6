"""Parts of a data set whose pictures are taken whole: a folder each, and names with or without identities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.text_lists import PictureFolder
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.pictures import Picture
from evaluation.models.preparation import whole_pictures

NOBODY = ""
"""Identity of pictures that no list gives one."""


@dataclass(frozen=True)
class Part:
    """Pictures of one folder.

    Attributes:
        folder: where they lie.
        named: name and identity of each, `NOBODY` where no list gives one.
        hidden: hidden files that were passed over.
    """

    folder: PictureFolder
    named: list[tuple[str, str]]
    hidden: int = 0


@dataclass(frozen=True)
class EmbeddedPart:
    """The usable pictures of a part, with their embeddings.

    Attributes:
        name: of the part's folder.
        listed: pictures that the part names.
        pictures: (N,) those of them that can be used.
        people: (N,) whom they show.
        vectors: (N, D) float32.
        faults: reason by name of the others.
    """

    name: str
    listed: int
    pictures: list[Picture]
    people: NDArray[np.str_]
    vectors: NDArray[np.float32]
    faults: dict[str, str]

    def without_any(self) -> "EmbeddedPart":
        """Return the part as if none of its pictures could be used."""
        return replace(self, pictures=[], people=self.people[:0], vectors=self.vectors[:0])


def embed_part(part: Part, model: PictureEmbedder) -> EmbeddedPart:
    """Embed the pictures of a part."""
    pictures = whole_pictures(part.folder, [name for name, _ in part.named], model.preprocessing)
    embedded = model.embed(pictures)
    rows = np.flatnonzero(embedded.usable)
    return EmbeddedPart(
        part.folder.root.name,
        len(pictures),
        [pictures[row] for row in rows],
        np.array([part.named[row][1] for row in rows], dtype=np.str_),
        # No copy of what may be a large part of the memory.
        embedded.vectors if len(rows) == len(pictures) else embedded.vectors[rows],
        embedded.faults,
    )


def faults_of(parts: Sequence[EmbeddedPart]) -> tuple[tuple[str, str], ...]:
    """Return name and reason of every picture that cannot be used."""
    return tuple(sorted(fault for part in parts for fault in part.faults.items()))


def of_hidden_files(parts: Sequence[Part]) -> tuple[str, ...]:
    """Tell how many hidden files were passed over, if there were any."""
    return tuple(
        f"{part.hidden:,} hidden files of {part.folder.root.name}, such as `._1.jpg`, are no pictures: passed over."
        for part in parts
        if part.hidden
    )


def of_empty_parts(usable: dict[str, int]) -> tuple[str, ...]:
    """Name the parts of a data set of which nothing can be used, given the number of usable pictures of each.

    >>> of_empty_parts({"Probe": 3, "Gallery_Match": 0})
    ('Nothing of Gallery_Match can be used: what rests on it is not measured.',)
    """
    return tuple(
        f"Nothing of {part} can be used: what rests on it is not measured."
        for part, count in usable.items()
        if not count
    )
