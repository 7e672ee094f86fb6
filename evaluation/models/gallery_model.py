"""Probes of one model against the gallery of another, as where the recogniser was changed and the gallery kept.

Shen et al., 2020, "Towards backward-compatible representation learning".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.pictures import Picture
from shards.command import UserError
from shards.format import Preprocessing


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
