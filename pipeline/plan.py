"""The plan of a shard folder: which photos go into which tar. A pure function of input and settings."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.align import TEMPLATES
from pipeline.align import preprocessing as aligned_preprocessing
from pipeline.faces import FaceFormat, UnusablePhoto, make_face
from pipeline.resample import RESAMPLING
from pipeline.sources import LANDMARK_COLUMNS, Source
from shards.command import UserError
from shards.format import Preprocessing

_MEBIBYTE = 1 << 20
# Headers, the label, a JSON text and stored views, each padded to blocks of 512 bytes, beside every face.
_OVERHEAD = 4096
_SAMPLED_FACES = 200
# Faces differ in size: a tar planned to this share of its bound stays below it.
_FILL = 0.85


@dataclass(frozen=True)
class Settings:
    """What shapes the bytes of a shard folder, beside its sources.

    Attributes:
        template: "paper", "centred" or "whole".
        size: side of a face in pixels.
        codec: "jpg", "png" or "webp".
        quality: of JPEG, 1..100.
        seed: of the order of identities over the tars.
        min_photos: identities with fewer are dropped.
        tar_mb: bound of a tar in MiB.
        min_tars: fewest tars.
        stored_views: sides in pixels of reduced views to store beside each face.
    """

    template: str = "paper"
    size: int = 128
    codec: str = "jpg"
    quality: int = 95
    seed: int = 0
    min_photos: int = 4
    tar_mb: int = 256
    min_tars: int = 1
    stored_views: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        lowest = {"size": 8, "quality": 1, "min_photos": 1, "tar_mb": 1, "min_tars": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} {getattr(self, name)}; give at least {least}")
        if any(not 0 < side < self.size for side in self.stored_views):
            raise UserError(f"views of {self.stored_views} pixels to store; give sides from 1 to {self.size - 1}")
        if self.quality > 100:
            raise UserError(f"quality {self.quality}; give 1 to 100")

    def face_format(self) -> FaceFormat:
        """Return how a face is cut out and encoded."""
        template = self.template if self.template in TEMPLATES else None
        return FaceFormat(template, self.size, self.codec, self.quality, self.stored_views)

    def preprocessing(self) -> Preprocessing:
        """Return what the manifest says of the photos."""
        if self.template in TEMPLATES:
            return aligned_preprocessing(self.template, self.size)
        return Preprocessing("whole", (), self.size, RESAMPLING)


@dataclass(frozen=True)
class Unit:
    """The work of one tar: the photos of its identities, in order.

    Attributes:
        number: of the tar.
        labels: (N,) int64 planned label of each photo.
        identities: name of each photo's identity.
        paths: of the photos, relative to the root.
        landmarks: (N, 5, 2) float64, or None.
    """

    number: int
    labels: NDArray[np.int64]
    identities: list[str]
    paths: list[str]
    landmarks: NDArray[np.float64] | None


class Plan:
    """Every tar of a folder, made from a source and settings."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source, self.settings = source, settings
        counts = source.records["identity"].value_counts()
        enough = counts.index[counts >= settings.min_photos]
        kept = source.records["identity"].isin(enough)
        self._records = source.records[kept].reset_index(drop=True)
        few = source.records[~kept]
        self.too_few = few[["path", "identity"]].assign(reason=too_few_reason(settings.min_photos))
        if self._records.empty:
            raise UserError(
                f"no identity in {source.root} has {settings.min_photos} usable photos "
                f"({source.inputs} photos, {counts.size} identities); check --root, --landmarks and --min-photos"
            )
        labels, names = pd.factorize(self._records["identity"], sort=True)
        self._labels = labels.astype(np.int64)
        self.names = [str(name) for name in names]
        self._tar_of = self._deal()
        self.tars = int(self._tar_of.max()) + 1

    def parameters(self) -> dict[str, Any]:
        """Return everything that shapes the folder's bytes, to tell one run from another."""
        return {**plain_settings(self.settings), "sources": [self.source.description()]}

    def unit_sizes(self) -> NDArray[np.int64]:
        """Return the number of photos of every tar's work: (tars,)."""
        return np.bincount(self._tar_of[self._labels], minlength=self.tars)

    def unit(self, number: int) -> Unit:
        """Return the work of one tar."""
        mine = np.flatnonzero(self._tar_of[self._labels] == number)
        # An identity's photos stand together, identities in the order in which they were dealt.
        mine = mine[np.argsort(self._place[self._labels[mine]], kind="stable")]
        rows = self._records.iloc[mine]
        landmarks = None
        if not self.source.aligned and self.settings.template in TEMPLATES:
            # (N, 10) -> (N, 5, 2)
            landmarks = rows[LANDMARK_COLUMNS].to_numpy(dtype=np.float64).reshape(-1, 5, 2)
        return Unit(number, self._labels[mine], rows["identity"].tolist(), rows["path"].tolist(), landmarks)

    def _deal(self) -> NDArray[np.int64]:
        """Shuffle the identities and deal them to tars of even size: (identities,) tar numbers."""
        counts = np.bincount(self._labels)
        generator = np.random.default_rng(np.random.SeedSequence((self.settings.seed, len(counts))))
        order = generator.permutation(len(counts))
        self._place = np.empty_like(order)
        self._place[order] = np.arange(len(order))
        bound = _FILL * self.settings.tar_mb * _MEBIBYTE
        wanted = max(self.settings.min_tars, int(np.ceil(counts.sum() * self._bytes_per_photo() / bound)))
        if self.settings.min_tars > len(counts):
            raise UserError(
                f"{self.settings.min_tars} tars asked for {len(counts)} identities; an identity stays in one tar: "
                f"ask for at most {len(counts)}"
            )
        tars = min(wanted, len(counts))
        before = np.cumsum(counts[order]) - counts[order]
        dealt = (before * tars) // counts.sum()
        # A tar that a very large identity would leave empty gets none: the numbers close up.
        _, dealt = np.unique(dealt, return_inverse=True)
        tar_of = np.empty(len(counts), dtype=np.int64)
        tar_of[order] = _at_least(dealt, min(self.settings.min_tars, len(counts)))
        return tar_of

    def _bytes_per_photo(self) -> float:
        """Encode some photos, spread evenly over the records, to learn how large a face is."""
        rows = np.unique(np.linspace(0, len(self._records) - 1, _SAMPLED_FACES).astype(int))
        form = self.settings.face_format()
        sizes = []
        for row in self._records.iloc[rows].itertuples(index=False):
            landmarks = np.array(row[2:12], dtype=np.float64).reshape(-1, 2) if len(row) > 2 else None
            try:
                face = make_face(self.source.root / str(row[1]), landmarks, form)
                sizes.append(len(face.encoded) + len(face.views))
            except UnusablePhoto:
                continue
        largest = 3 * form.size**2
        return (float(np.mean(sizes)) if sizes else largest) + _OVERHEAD


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return settings as they come back from JSON."""
    return {**asdict(settings), "stored_views": list(settings.stored_views)}


def _at_least(dealt: NDArray[np.int64], tars: int) -> NDArray[np.int64]:
    """Deal the identities singly where an even deal gave fewer tars than asked for."""
    if dealt[-1] + 1 >= tars:
        return dealt
    return np.arange(len(dealt)) * tars // len(dealt)


def too_few_reason(min_photos: int) -> str:
    """Return the reason by which photos of a dropped identity stand in the rejects."""
    return f"identity with fewer than {min_photos} usable photos"
