"""Parts of a data set: a folder each, and names with or without identities."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.text_lists import PictureFolder
from evaluation.metrics.figures import Alignment, Figure
from evaluation.metrics.identification import cosines
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, gallery_at, of_gallery
from evaluation.models.pictures import Picture
from evaluation.models.preparation import require_template
from evaluation.scoring.faces import Faces, FaceSource, joined, locate
from evaluation.scoring.native_sides import native_side
from shards.format import Preprocessing

NOBODY = ""
"""Identity of pictures that no list gives one."""


@dataclass(frozen=True)
class Part:
    """Pictures of one folder.

    Attributes:
        folder: where they lie.
        named: name and identity of each, `NOBODY` where no list gives one.
        hidden: hidden files that were passed over.
        label: before a picture's name in reports; "" is the folder's own name.
        faces: where the faces stand in the pictures.
    """

    folder: PictureFolder
    named: list[tuple[str, str]]
    hidden: int = 0
    label: str = ""
    faces: Faces = field(default_factory=Faces)

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.label or self.folder.root.name

    @property
    def listed(self) -> tuple[str, PictureFolder, list[str]]:
        """What `faces.locate` asks for."""
        return self.name, self.folder, [name for name, _ in self.named]

    def picture(self, name: str, form: Preprocessing, low: int | None = None) -> Picture:
        """Return one of its pictures whose face is not lost."""
        return self.faces.picture(f"{self.name}/{name}", self.folder.path(name), name, form, low)

    def side(self, name: str) -> int:
        """Return the side in pixels at which a face stands, without landmarks that of its picture; 0 if unknown."""
        side = self.faces.side(name)
        return native_side(self.folder.path(name)) if side is None else side


def with_faces(parts: Sequence[Part], source: FaceSource) -> list[Part]:
    """Find the faces in the pictures of a data set's parts; see `faces.locate`."""
    found = locate(source, [part.listed for part in parts])
    return [replace(part, faces=faces) for part, faces in zip(parts, found, strict=True)]


@dataclass(frozen=True)
class EmbeddedPart:
    """The usable pictures of a part, with their embeddings.

    Attributes:
        part: whose they are.
        pictures: (N,) those of them that can be used.
        people: (N,) whom they show.
        vectors: (N, D) float32.
        faults: reason by name of those that cannot.
        lost: (L,) whom the pictures show in which no face was found; they are neither used nor faults.
        names: (N + L,) of all of them, those that are lost last.
    """

    part: Part
    pictures: list[Picture]
    people: NDArray[np.str_]
    vectors: NDArray[np.float32]
    faults: dict[str, str]
    lost: NDArray[np.str_]
    names: list[str]

    @property
    def name(self) -> str:
        """What reports call the part."""
        return self.part.name

    @property
    def listed(self) -> int:
        """Pictures that the part names."""
        return len(self.part.named)

    def without_any(self) -> "EmbeddedPart":
        """Return the part as if none of its pictures could be used."""
        return self.chosen(np.zeros(len(self.people), dtype=bool), np.zeros(len(self.lost), dtype=bool))

    def chosen(self, used: NDArray[np.bool_], lost: NDArray[np.bool_]) -> "EmbeddedPart":
        """Keep some of the pictures that can be used, and some of those that are lost."""
        if used.all() and lost.all():
            return self
        rows = np.flatnonzero(used)
        return replace(
            self,
            pictures=[self.pictures[row] for row in rows],
            people=self.people[rows],
            vectors=self.vectors[rows],
            lost=self.lost[lost],
            names=[name for name, kept in zip(self.names, [*used, *lost], strict=True) if kept],
        )

    def joined_by(self, others: "EmbeddedPart") -> "EmbeddedPart":
        """Return this part with the pictures of another one behind its own."""
        if not len(others.everyone):
            return self
        vectors = [part.vectors for part in (self, others) if len(part.vectors)]
        return replace(
            self,
            pictures=[*self.pictures, *others.pictures],
            people=np.concatenate([self.people, others.people]),
            vectors=np.concatenate(vectors) if vectors else others.vectors,
            lost=np.concatenate([self.lost, others.lost]),
        )

    @property
    def everyone(self) -> NDArray[np.str_]:
        """(N + L,) whom its pictures show, those that are lost last."""
        return np.concatenate([self.people, self.lost])

    @property
    def sides(self) -> NDArray[np.int64]:
        """(N + L,) side in pixels at which each face stands in its picture, those that are lost last.

        The smaller side of the picture where no landmarks tell; 0 where neither is known.
        """
        return np.array([self.part.side(name) for name in self.names], dtype=np.int64)


def embed_part(part: Part, model: PictureEmbedder) -> EmbeddedPart:
    """Embed the pictures of a part."""
    return embed_part_at(part, model, [None])[0]


def embed_part_at(
    part: Part, model: PictureEmbedder, lows: Sequence[int | None], match: MatchGallery | None = None
) -> list[EmbeddedPart]:
    """Embed the pictures of a part reduced to each side in pixels, None in full: a photo is read and aligned once.

    Args:
        part: the pictures.
        model: that embeds them.
        lows: the sides.
        match: of a gallery; see `gallery_at`.
    """
    form = model.preprocessing
    named = [(name, person) for name, person in part.named if name not in part.faces.lost]
    lost = [(name, person) for name, person in part.named if name in part.faces.lost]
    pictures = [part.picture(name, form, low) for low in lows for name, _ in named]
    together = model.embed(pictures)
    of_each = [slice(number * len(named), (number + 1) * len(named)) for number in range(len(lows))]
    found = []
    for of_one, embedded in zip(of_each, gallery_at([together[one] for one in of_each], lows, match), strict=True):
        shown = pictures[of_one]
        usable = embedded.usable
        rows = np.flatnonzero(usable)
        found.append(
            EmbeddedPart(
                part,
                [shown[row] for row in rows],
                np.array([named[row][1] for row in rows], dtype=np.str_),
                # No copy of what may be a large part of the memory.
                embedded.vectors if len(rows) == len(shown) else embedded.vectors[rows],
                embedded.faults,
                np.array([person for _, person in lost], dtype=np.str_),
                [*(named[row][0] for row in rows), *(name for name, _ in lost)],
            )
        )
    return found


def most_similar_picture(part: EmbeddedPart, person: str, probe: NDArray[np.float32]) -> Picture:
    """Return the picture of a person that is most like a probe: a template of several pictures has no face."""
    rows = np.flatnonzero(part.people == person)
    return part.pictures[rows[cosines(probe[None], part.vectors[rows]).argmax()]]


def alignment_of(parts: Sequence[Part], model: PictureEmbedder) -> Alignment:
    """Return how the faces of several parts are aligned.

    Raises:
        UserError: they are, and the model's template does not fit.
    """
    alignment = joined([part.faces.alignment for part in parts])
    if alignment.kind in ("landmark list", "detection"):
        for one in (model, of_gallery(model)):
            require_template(one.preprocessing, alignment.in_short)
    return alignment


def of_found(figures: Sequence[Figure]) -> list[Figure]:
    """Name figures that rest on the pictures alone in which a face was found."""
    return [replace(figure, name=f"faces found: {figure.name}", paper=None, rerun=None) for figure in figures]


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
