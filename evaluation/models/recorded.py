"""Which pictures a protocol asked for: reports of different days stand side by side only on the same ones."""

import hashlib
import zlib
from collections.abc import Sequence

from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.pictures import Picture, PictureError
from shards.format import Preprocessing


class Recorded:
    """A model that notes what it is asked to embed.

    Args:
        model: it embeds.
    """

    def __init__(self, model: PictureEmbedder) -> None:
        self._model = model
        self._seen: dict[str, str] = {}

    @property
    def preprocessing(self) -> Preprocessing:
        """What the model's pictures go through."""
        return self._model.preprocessing

    @property
    def hint(self) -> str:
        """What to look at where not one picture can be used."""
        return self._model.hint

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed pictures, and note each once, whatever it is reduced to."""
        embedded = self._model.embed(pictures)
        for picture in pictures:
            if picture.name not in self._seen:
                self._seen[picture.name] = _told(picture)
        return embedded

    def summary(self) -> str:
        """Return in one clause where the embeddings came from."""
        return self._model.summary()

    def take_fingerprint(self) -> str:
        """Return a fingerprint of the pictures asked for since the last: their names, files' content and landmarks.

        Not of what differs from model to model: template, size, and the sizes to which pictures are reduced.
        """
        lines = sorted(f"{name}\t{told}\n" for name, told in self._seen.items())
        self._seen = {}
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _told(picture: Picture) -> str:
    try:
        content = f"{zlib.crc32(picture.read()):08x}"
    except PictureError:
        content = "unreadable"
    form = picture.preparation
    return f"{content} {form.framing} {None if form.landmarks is None else form.landmarks.tolist()}"
