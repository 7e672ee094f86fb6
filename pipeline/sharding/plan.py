"""The plan of a shard folder: which photos go into which tar. A pure function of input and settings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from nvidia import nvimgcodec  # type: ignore[attr-defined]

from pipeline.alignment.align import TEMPLATES, preprocessing
from pipeline.alignment.photo_to_face import FaceFormat, make_face, read_photo
from pipeline.pixels.photo import UnusablePhoto
from pipeline.sources.datasets import Source
from pipeline.sources.landmark_list import LANDMARK_COLUMNS
from pipeline.sources.photo_table import PhotoTable
from shards.command import UserError
from shards.format import FORMAT_VERSION, Preprocessing

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
        min_tars: fewest tars, so that small folders keep several workers and ranks busy as well; an identity stays
            in one tar, so that there are at most as many as identities.
        stored_views: sides in pixels of reduced views to store beside each face.
        warp: a name in `pipeline.alignment.align.WARPS`.
    """

    template: str = "paper"
    size: int = 128
    codec: str = "jpg"
    quality: int = 95
    seed: int = 0
    min_photos: int = 4
    tar_mb: int = 256
    min_tars: int = 8
    stored_views: tuple[int, ...] = ()
    warp: str = "plain"

    def __post_init__(self) -> None:
        lowest = {"size": 8, "quality": 1, "min_photos": 1, "tar_mb": 1, "min_tars": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} {getattr(self, name)}; give at least {least}")
        if any(not 0 < side < self.size for side in self.stored_views):
            raise UserError(f"views of {self.stored_views} pixels to store; give sides from 1 to {self.size - 1}")
        highest = {"size": 2048, "quality": 100}
        for name, most in highest.items():
            if getattr(self, name) > most:
                raise UserError(f"{name} {getattr(self, name)}; give at most {most}")
        if self.seed < 0:
            raise UserError(f"seed {self.seed}; give 0 or more")
        if self.template not in TEMPLATES and self.warp != Settings.warp:
            raise UserError(f"warp {self.warp} for whole pictures, which are not warped; leave --warp out")

    def face_format(self) -> FaceFormat:
        """Return how a face is cut out and encoded."""
        template = self.template if self.template in TEMPLATES else None
        return FaceFormat(template, self.size, self.codec, self.quality, self.stored_views, self.warp)

    def preprocessing(self) -> Preprocessing:
        """Return what the manifest says of the photos."""
        return preprocessing(self.template, self.size, self.warp)


@dataclass(frozen=True)
class TarContents:
    """The work of one tar: the photos of its identities, in order.

    Attributes:
        number: of the tar.
        labels: (N,) int64 planned label of each photo.
        sources: (N,) int64 number of each photo's source.
        identities: name of each photo's identity.
        paths: of the photos, relative to their source's root.
        positions: (N,) int64 of the photos in bytes in a larger file, -1 where a photo is a file.
        landmarks: (N, 5, 2) float64, NaN where the source has none.
    """

    number: int
    labels: NDArray[np.int64]
    sources: NDArray[np.int64]
    identities: list[str]
    paths: list[str]
    positions: NDArray[np.int64]
    landmarks: NDArray[np.float64]


class Plan:
    """Every tar of a folder, made from sources and settings.

    Args:
        sources: one, or several with different names; with several, identities are named SOURCE/IDENTITY.
        settings: what shapes the bytes.

    Raises:
        UserError: a source holds nothing usable, or the settings do not fit it.
    """

    def __init__(self, sources: Source | Sequence[Source], settings: Settings) -> None:
        self.sources = (sources,) if isinstance(sources, Source) else tuple(sources)
        self.settings = settings
        self.records = PhotoTable(self.sources)
        self.inputs = self.records.inputs
        self.descriptions = [
            {"dataset": source.name, **source.choice, "records_sha256": self.records.digest(number)}
            for number, source in enumerate(self.sources)
        ]
        names, counts = self.records.identities()
        enough = counts >= settings.min_photos
        if not enough.any():
            roots = ", ".join(str(source.root) for source in self.sources)
            rejected = "".join(f", {count} {reason}" for reason, count in self.records.reasons().items())
            raise UserError(
                f"no identity in {roots} has {settings.min_photos} usable photos ({self.inputs} photos: "
                f"{counts.sum()} usable, of {len(names)} identities{rejected}); "
                "check --root, --landmarks and --min-photos"
            )
        self.too_few = [name for name, kept in zip(names, enough, strict=True) if not kept]
        self.names = [name for name, kept in zip(names, enough, strict=True) if kept]
        order, tars = self._deal(counts[enough])
        self.tars = int(tars[-1]) + 1
        self.records.deal([self.names[label] for label in order], order, tars, too_few_reason(settings.min_photos))

    def parameters(self) -> dict[str, Any]:
        """Return everything that shapes the folder's bytes, to tell one run from another."""
        return {**plain_settings(self.settings), "sources": self.descriptions}

    def circumstances(self) -> dict[str, Any]:
        """Return what must not change while a folder is begun and not finished."""
        return {**library_versions(), "format": FORMAT_VERSION, "tars": self.tars}

    def photos_per_tar(self) -> NDArray[np.int64]:
        """Return the number of photos of every tar's work: (tars,)."""
        return self.records.photos_per_tar()

    def tar_contents(self, number: int) -> TarContents:
        """Return the work of one tar: an identity's photos stand together, identities as they were dealt."""
        rows = self.records.of_tar(number)
        return TarContents(
            number,
            rows["label"].to_numpy(dtype=np.int64),
            rows["source"].to_numpy(dtype=np.int64),
            rows["identity"].tolist(),
            rows["path"].tolist(),
            rows["position"].fillna(-1).to_numpy(dtype=np.int64),
            # (N, 10) -> (N, 5, 2)
            rows[LANDMARK_COLUMNS].to_numpy(dtype=np.float64).reshape(-1, 5, 2),
        )

    def _deal(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shuffle the identities and deal them to tars of even size.

        Args:
            counts: (identities,) photos of each.

        Returns:
            the labels in the order in which they will stand in the tars, and the tar of each: (identities,) int64.
        """
        generator = np.random.default_rng(np.random.SeedSequence((self.settings.seed, len(counts))))
        order = generator.permutation(len(counts))
        bound = _FILL * self.settings.tar_mb * _MEBIBYTE
        fewest = min(self.settings.min_tars, len(counts))
        wanted = max(fewest, int(np.ceil(counts.sum() * self._bytes_per_photo() / bound)))
        tars = min(wanted, len(counts))
        before = np.cumsum(counts[order]) - counts[order]
        dealt = (before * tars) // counts.sum()
        # A tar that a very large identity would leave empty is left out, and the later tars are renumbered.
        _, dealt = np.unique(dealt, return_inverse=True)
        return order, _at_least(dealt, fewest)

    def _bytes_per_photo(self) -> float:
        """Encode some photos, spread evenly over the records, to learn how large a face is."""
        rows = self.records.sample(_SAMPLED_FACES)
        form = self.settings.face_format()
        sizes = []
        # (N, 10) -> (N, 5, 2)
        points = rows[LANDMARK_COLUMNS].to_numpy(dtype=np.float64).reshape(-1, 5, 2)
        positions = rows["position"].fillna(-1).to_numpy(dtype=np.int64)
        columns = zip(rows["source"].tolist(), rows["path"].tolist(), positions.tolist(), points, strict=True)
        for number, path, position, landmarks in columns:
            source = self.sources[number]
            try:
                data = read_photo(source.root, path, position)
                face = make_face(data, landmarks, form, source.framing)
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


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that shape the bytes of a folder."""
    return {
        "numpy": np.__version__,
        "nvimgcodec": nvimgcodec.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }


def too_few_reason(min_photos: int) -> str:
    """Return the reason by which photos of a dropped identity stand in the rejects."""
    return f"identity with fewer than {min_photos} usable photos"
