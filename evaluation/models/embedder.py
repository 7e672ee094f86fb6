"""Pictures to embeddings: every picture is read, prepared and embedded once."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.models.embedding_cache import EmbeddingCache
from evaluation.models.forward import Forward
from evaluation.models.identity import model_identity
from evaluation.models.pictures import FramedPhoto, Picture, PictureError, chunks, decode, grouped, reduced
from evaluation.models.sharing import gathered
from pipeline.jobs.progress import progress
from shards.command import UserError
from shards.format import Preprocessing
from training.networks.backbone_file import LoadedBackbone
from training.ranks.world import ALONE, World

# Pictures embedded at once, by device: more are no faster, and take memory.
_BATCH = {"cpu": 64, "gpu": 256}


@dataclass(frozen=True)
class Embedded:
    """Embeddings of pictures.

    Attributes:
        vectors: (N, D) float32, not normalised; NaN where a picture could not be used.
        faults: reason by name of those pictures.
    """

    vectors: NDArray[np.float32]
    faults: dict[str, str]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) whether the picture has an embedding."""
        finite: NDArray[np.bool_] = np.isfinite(self.vectors)
        return np.asarray(finite.all(axis=1))

    def __getitem__(self, rows: slice) -> "Embedded":
        """Return some of the rows; the faults of all stay."""
        return Embedded(self.vectors[rows], self.faults)


class PictureEmbedder(Protocol):
    """What protocols ask of a model: a network, or embeddings made elsewhere."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the model's pictures go through."""

    @property
    def hint(self) -> str:
        """What to look at where not one picture can be used."""

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed pictures, in their order; each that cannot be used is a fault."""

    def summary(self) -> str:
        """Return in one clause where the embeddings came from."""


@dataclass(frozen=True)
class _Fetched:
    """A picture on its way: what the network is to see, or what is known of it already.

    Attributes:
        rows: of the result.
        key: in the cache.
        face: (S, S, 3) uint8, or None.
        points: (5, 2) float32 of the face in units of its side, or None.
        vector: (D,) float32 from the cache, or None.
        fault: why there is neither.
    """

    rows: list[int]
    key: bytes = b""
    face: NDArray[np.uint8] | None = None
    points: NDArray[np.float32] | None = None
    vector: NDArray[np.float32] | None = None
    fault: str = ""


def nothing_usable(number: int, name: str, reason: str, hint: str) -> UserError:
    """Return the mistake of a user whose pictures all cannot be used, such as one for a reason."""
    return UserError(f"none of {number:,} pictures can be used, such as {name} ({reason}); {hint}")


class Embedder:
    """A backbone and the preprocessing that its pictures must go through.

    Args:
        loaded: the backbone with its preprocessing.
        device: "cpu" or "gpu".
        flip: embed each picture and its mirror image, and return the mean of the two, not normalised before.
        precision: "float32", or "bfloat16" for the network's products, which takes half the time where the processor
            supports it; the embeddings are still float32.
        batch: pictures embedded at once; None: 64 on a CPU, 256 on a GPU.
        cache: folder of kept embeddings; None keeps none. A model that is not wholly in its file, because it names a
            module to import, is never kept.
        watched: show the progress on stderr.

    Attributes:
        preprocessing: what the model's pictures go through.
        hint: what to look at where not one picture can be used.
        computed: embeddings that were computed so far.
        reused: embeddings that were taken from the cache so far.

    Raises:
        OSError: the cache's folder cannot be made or read.
    """

    hint = "check that the data set's folder is the one its lists belong to"

    def __init__(
        self,
        loaded: LoadedBackbone,
        *,
        device: str,
        flip: bool = False,
        precision: str = "float32",
        batch: int | None = None,
        cache: Path | None = None,
        watched: bool = False,
    ) -> None:
        self.preprocessing: Preprocessing = loaded.preprocessing
        place = torch.device("cuda" if device == "gpu" else "cpu")
        self._forward = Forward(loaded, place, flip=flip, halved=precision == "bfloat16")
        self._batch = batch or _BATCH[device]
        self._model = f"{loaded.name} of step {'unknown' if loaded.step is None else loaded.step}"
        wholly_in_its_file = bool(loaded.sha256) and ":" not in loaded.name
        identity = model_identity(loaded, device, flip, precision)
        self._cache = EmbeddingCache(cache, identity) if cache and wholly_in_its_file else None
        self.computed = self.reused = 0
        self._watched = watched
        self._world = ALONE

    def share_with(self, world: World) -> None:
        """Embed from now on a share of the pictures; every process of the world must ask for the same ones."""
        self._world, self._watched = world, self._watched and world.is_main

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed pictures, reading the next batch in threads meanwhile.

        A photo that several of them show in the same framing, in full or reduced, is read and aligned once, and the
        same picture twice is embedded once. Memory: the result and a few batches.

        Raises:
            UserError: the network's output is not finite, or it needs points that a picture does not have.
        """
        if self._forward.takes_points and (without := [one.name for one in pictures if not one.preparation.has_points]):
            raise UserError(
                f"{self._model} needs the five points of every face, and {without[0]} is taken whole, as are "
                f"{len(without) - 1:,} more; give its landmarks or have faces found, or use a network without points"
            )
        before = self.computed, self.reused
        mistake, vectors, faults = self._embed_share(pictures)
        if self._world.size > 1:
            counts = self.computed - before[0], self.reused - before[1]
            vectors, faults, sums = gathered(self._world, len(pictures), vectors, faults, counts, mistake)
            self.computed, self.reused = before[0] + sums[0], before[1] + sums[1]
            if self._cache is not None:
                self._cache.read_new_files()
        elif mistake is not None:
            raise mistake
        return Embedded(self._of_nothing(len(pictures)) if vectors is None else vectors, faults)

    def _embed_share(
        self, pictures: Sequence[Picture]
    ) -> tuple[UserError | None, NDArray[np.float32] | None, dict[str, str]]:
        """Embed this process's share: (N, D), NaN but for its rows, or None; its faults; a mistake that ended it."""
        vectors: NDArray[np.float32] | None = None
        faults: dict[str, str] = {}
        mistake = None
        share = -(-len(pictures) // self._world.size)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool, self._told(share) as advance:
            for fetched in self._read_ahead(pool, grouped(pictures)):
                try:
                    for item, vector in self._embedded(fetched, pictures):
                        if vectors is None:
                            vectors = np.full((len(pictures), len(vector)), np.nan, dtype=np.float32)
                        vectors[item.rows] = vector
                except UserError as error:
                    mistake = error
                    break
                faulty = [(pictures[row].name, item.fault) for item in fetched if item.fault for row in item.rows]
                faults.update(faulty)
                advance(sum(len(item.rows) for item in fetched) - len(faulty), len(faulty))
        if self._cache is not None:
            self._cache.flush()
        return mistake, vectors, faults

    def _told(self, pictures: int) -> AbstractContextManager[Callable[[int, int], None]]:
        return progress("embedding", pictures, lost="unusable") if self._watched else nullcontext(lambda *_: None)

    def _of_nothing(self, number: int) -> NDArray[np.float32]:
        """Return the vectors of pictures none of which can be used: (number, D), NaN."""
        return np.full((number, self._forward.length()), np.nan, dtype=np.float32)

    def summary(self) -> str:
        """Return in one clause how many embeddings were computed and how many reused."""
        return f"{self.computed:,} computed, {self.reused:,} taken from the cache"

    def _embedded(
        self, fetched: list[_Fetched], pictures: Sequence[Picture]
    ) -> Iterator[tuple[_Fetched, NDArray[np.float32]]]:
        """Yield the items that are no faults with their embeddings, (D,) each."""
        for item in fetched:
            if item.vector is not None:
                self.reused += 1
                yield item, item.vector
        new = [item for item in fetched if item.face is not None]
        for start in range(0, len(new), self._batch):
            batch = new[start : start + self._batch]
            faces = np.stack([item.face for item in batch if item.face is not None])
            points = [item.points for item in batch if item.points is not None]
            vectors = self._forward(faces, np.stack(points) if points else None)
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise self._diverged(pictures[batch[int(np.argmin(finite))].rows[0]].name)
            for item, vector in zip(batch, vectors, strict=True):
                self.computed += 1
                if self._cache is not None:
                    self._cache.put(item.key, vector)
                yield item, vector

    def embed_faces(self, faces: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed faces as the network sees them; nothing is kept.

        Args:
            faces: (N, S, S, 3) uint8 RGB.
            points: (N, 5, 2) of each in units of its side, for a network that takes them.

        Returns:
            (N, D) float32.

        Raises:
            UserError: the network's output is not finite.
        """
        if not len(faces):
            return self._of_nothing(0)
        parts = [slice(start, start + self._batch) for start in range(0, len(faces), self._batch)]
        vectors = np.concatenate([self._forward(faces[part], points[part]) for part in parts])
        self.computed += len(vectors)
        if not np.isfinite(vectors).all():
            raise self._diverged("a face")
        return vectors

    def _diverged(self, name: str) -> UserError:
        return UserError(
            f"{self._model} gives numbers that are not finite, first for {name}; its training diverged: evaluate an "
            "earlier checkpoint"
        )

    def _read_ahead(self, pool: Executor, photos: list[FramedPhoto]) -> Iterator[list[_Fetched]]:
        """Yield batches of what was fetched; the next batch is read while one is in use."""
        waiting: deque[list[Future[list[_Fetched]]]] = deque()
        world = self._world
        for chunk in islice(chunks(photos, self._batch), world.rank, None, world.size):
            waiting.append([pool.submit(self._fetch, photo) for photo in chunk])
            if len(waiting) == 2:
                yield [item for future in waiting.popleft() for item in future.result()]
        for futures in waiting:
            yield [item for future in futures for item in future.result()]

    def _fetch(self, photo: FramedPhoto) -> list[_Fetched]:
        """Read a photo once, and prepare those of its pictures that the cache does not have."""
        preparation = photo.picture.preparation
        framing = preparation.framing_key()
        try:
            data = photo.picture.read()
            found: list[_Fetched] = []
            framed: NDArray[np.uint8] | None = None
            points = None
            for low, rows in photo.rows.items():
                key = EmbeddingCache.key(data, framing, low) if self._cache is not None else b""
                if self._cache is not None and (vector := self._cache.get(key)) is not None:
                    found.append(_Fetched(rows, key, vector=vector))
                    continue
                if framed is None:
                    framed = preparation.framed(decode(data))
                    points = preparation.points() if self._forward.takes_points else None
                found.append(_Fetched(rows, key, face=reduced(framed, low), points=points))
        except PictureError as error:
            return [_Fetched(rows, fault=str(error)) for rows in photo.rows.values()]
        return found
