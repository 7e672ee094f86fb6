"""How the gallery is embedded: by the probes' model or another one, in full, reduced as the probes are, or both.

A recogniser that was changed while the gallery was kept: Shen et al., 2020, "Towards backward-compatible representation
learning".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.metrics.identification import l2_normalised
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.pictures import Picture
from shards.command import UserError
from shards.format import Preprocessing

MatchGallery = Literal["reduced", "both"]
"""Gallery pictures reduced to the size of the probes, or the mean of their embeddings in full and reduced."""


@dataclass(frozen=True)
class WithGalleryOf:
    """A model whose probes are compared with galleries that another model embedded; it embeds probes itself.

    Attributes:
        probes: the model.
        gallery: of the galleries; it prepares their pictures in its own way.
    """

    probes: PictureEmbedder
    gallery: PictureEmbedder

    @property
    def preprocessing(self) -> Preprocessing:
        """What the probes go through."""
        return self.probes.preprocessing

    @property
    def hint(self) -> str:
        """What to look at where not one picture can be used."""
        return self.probes.hint

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed probes."""
        return self.probes.embed(pictures)

    def summary(self) -> str:
        """Return in one clause where the embeddings of the probes came from."""
        return self.probes.summary()


def of_gallery(model: PictureEmbedder) -> PictureEmbedder:
    """Return the model that embeds the gallery: mostly the same one."""
    return model.gallery if isinstance(model, WithGalleryOf) else model


def swapped(model: PictureEmbedder) -> WithGalleryOf | None:
    """Return the two models with their parts exchanged; None where one model does both."""
    return WithGalleryOf(model.gallery, model.probes) if isinstance(model, WithGalleryOf) else None


def embed_sides(
    model: PictureEmbedder, gallery: Sequence[Picture], probes: Sequence[Picture]
) -> tuple[Embedded, Embedded]:
    """Embed pictures of the gallery and probes; with one model all in one go, so that a photo is read once."""
    if of_gallery(model) is not model:
        return of_gallery(model).embed(gallery), model.embed(probes)
    together = model.embed([*gallery, *probes])
    return together[: len(gallery)], together[len(gallery) :]


def gallery_at(embedded: Sequence[Embedded], lows: Sequence[int | None], match: MatchGallery | None) -> list[Embedded]:
    """Return what probes of each size are compared with: of the gallery's pictures at each size, one of them None."""
    if match != "both":
        return list(embedded)
    full = embedded[list(lows).index(None)]
    return [one if low is None else mean_embedding(one, full) for one, low in zip(embedded, lows, strict=True)]


def mean_embedding(reduced: Embedded, full: Embedded) -> Embedded:
    """Return the mean of the normalised embeddings of the same pictures, as long as the two are on average.

    NaN where either cannot be used.
    """
    direction = l2_normalised(l2_normalised(reduced.vectors) + l2_normalised(full.vectors))
    length = np.mean([np.linalg.norm(one.vectors, axis=1) for one in (reduced, full)], axis=0)
    return Embedded((direction * length[:, None]).astype(np.float32), full.faults | reduced.faults)


def match_note(match: MatchGallery | None, gallery: str, probes: str) -> tuple[str, ...]:
    """Say what the gallery's pictures are compared as, given what they and the probes are called: "The gallery"."""
    if match is None:
        return ()
    and_full = " and compared by the mean of their embeddings in full and reduced" if match == "both" else ""
    return (f"{gallery} are reduced to the size of {probes}{and_full}.",)


def with_gallery_of(name: str, probes: PictureEmbedder, gallery_name: str, gallery: PictureEmbedder) -> WithGalleryOf:
    """Return a model with another one's gallery.

    Raises:
        UserError: their embeddings cannot be compared, for their lengths differ.
    """
    # Of no pictures there are embeddings of the right length.
    own, other = (model.embed([]).vectors.shape[1] for model in (probes, gallery))
    if own != other:
        raise UserError(
            f"{name} gives embeddings of {own} numbers, --gallery-model {gallery_name} of {other}; they cannot be "
            "compared: name the model that this one was adapted from"
        )
    return WithGalleryOf(probes, gallery)
