"""Which pictures a protocol asked for: reports of different days stand side by side only on the same ones."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from evaluation.models.embedder import Embedded, Embedder, PictureEmbedder
from evaluation.models.pictures import Picture, PictureError
from shards.format import Preprocessing
from training.ranks.world import World

SAMPLE = 200
"""Pictures kept; onnxruntime's own examples calibrate 8 bits on about as many."""


class Recorded:
    """A model that notes what it is asked to embed.

    Args:
        model: it embeds.

    Attributes:
        sample: some of the pictures, at most `SAMPLE`, each as likely as any other.
    """

    def __init__(self, model: PictureEmbedder) -> None:
        self._model = model
        self._seen: dict[str, str] = {}
        self.sample: list[Picture] = []
        self._asked, self._generator = 0, np.random.default_rng(0)

    def share_with(self, world: World) -> None:
        """Have a network embed a share of the pictures, see `Embedder.share_with`."""
        if isinstance(self._model, Embedder):
            self._model.share_with(world)

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
            self._draw(picture)
        return embedded

    def _draw(self, picture: Picture) -> None:
        """Keep the picture, or put it in place of one that was kept (Vitter, 1985, algorithm R)."""
        self._asked += 1
        if len(self.sample) < SAMPLE:
            self.sample.append(picture)
        elif (place := int(self._generator.integers(self._asked))) < SAMPLE:
            self.sample[place] = picture

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
