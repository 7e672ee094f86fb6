"""Validation during training: HR to LR on people held out, from a shard folder of theirs.

`training/main.py --validation-shards DIR` calls `held_out` by its import path.

Identification: the gallery is each person's first photo in full, the probes are the others, reduced. Verification:
every gallery photo against every probe.
"""

import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from evaluation.metrics.identification import cosines, mated_ranks, rank_rate
from evaluation.metrics.verification import auc, tar_at_far
from evaluation.models.pictures import PictureError, decode
from pipeline.loading.batch_pixels import network_pixels, reduce
from pipeline.sampling.shard_folders import common_preprocessing
from shards.command import UserError
from shards.index import ShardIndex
from training.engine.validation import HeldOut, Validate

MOST_PEOPLE = 500
MOST_PHOTOS = 5
"""The largest number of people and of photos of each: a few seconds on a GPU, every N steps."""
FARS = (0.01, 0.001)
_BATCH = 64
_LAYOUTS = ("recordio", "folder")
"""Names of sources that say how photos lie, not which data set they are."""


def held_out(request: HeldOut) -> Validate:
    """Return a validation on the first people of a shard folder.

    Its figures, by name, are shares 0..1: the mean of rank-1 over all low resolutions first, then for each of them
    rank-1, AUC and TAR at FAR.

    Raises:
        UserError: the folder cannot be used, has faces prepared otherwise than those trained on, or holds people who
            are trained on.
    """
    index = ShardIndex.open(request.shards)
    trained = [ShardIndex.open(folder) for folder in request.training_shards]
    if differences := common_preprocessing(trained).differences(index.manifest.preprocessing):
        raise UserError(
            f"{trained[0].folder} and the held-out {request.shards} differ in {differences[0]}; "
            "write both with the same settings"
        )
    if request.points:
        index.require_points()
    size = index.manifest.preprocessing.size
    if not request.sizes or max(request.sizes) >= size:
        raise UserError(f"validation at {request.sizes} pixels of faces of {size}; name sizes below it")
    people = _people(index)
    if both := sorted(set[str]().union(*(_shared_people(index, people, one) for one in trained))):
        raise UserError(
            f"{len(both)} people of {request.shards}, such as {both[0]}, are trained on; name a folder of others"
        )
    photos = _usable(index, {label: photos[:MOST_PHOTOS] for label, photos in people.items()})
    labels = np.concatenate([np.full(len(numbers), label) for label, numbers in photos.items()])
    numbers = np.concatenate(list(photos.values()))
    # The first of each person is the gallery.
    is_first = np.concatenate([np.arange(len(of_one)) == 0 for of_one in photos.values()])

    def validate(backbone: nn.Module, step: int) -> dict[str, float]:
        embedded = _embeddings(backbone, index, numbers, is_first, request)
        gallery, gallery_people = embedded[size], labels[is_first]
        ranks, figures = [], {}
        for low in request.sizes:
            probes, probe_people = embedded[low], labels[~is_first]
            ranks.append(rank_rate(mated_ranks(probes, probe_people, gallery, gallery_people).ranks, 1))
            scores = cosines(gallery, probes)
            same = gallery_people[:, None] == probe_people[None, :]
            figures[f"rank-1/{low}px"] = ranks[-1]
            figures[f"AUC/{low}px"] = auc(scores[same], scores[~same])
            for far in FARS:
                figures[f"TAR at FAR {100 * far:g} %/{low}px"] = tar_at_far(scores[same], scores[~same], far)
        return {"rank-1, mean over low resolutions": float(np.mean(ranks)), **figures}

    return validate


def _shared_people(index: ShardIndex, people: Iterable[int], other: ShardIndex) -> set[str]:
    """Return the full names of those people who are in another folder too.

    A number in a layout that many data sets share, such as RecordIO's 0, 1, 2, does not identify a person: a photo with
    the same bytes in both folders then does.
    """
    mine = _full_names(index, people)
    theirs = _full_names(other, range(other.identities))
    return {
        name
        for name in mine.keys() & theirs.keys()
        if not _is_number_of_a_layout(name) or _photos(index, mine[name]) & _photos(other, theirs[name])
    }


def _full_names(index: ShardIndex, labels: Iterable[int]) -> dict[str, int]:
    """Return labels by the names of people with their data set: person 1 of one is not person 1 of another."""
    # Where there are several sources the names carry them already.
    source = [str(index.manifest.sources[0]["dataset"])] if len(index.manifest.sources) == 1 else []
    return {"/".join([*source, index.names[label]]): label for label in labels}


def _is_number_of_a_layout(name: str) -> bool:
    source, _, identity = name.partition("/")
    return source in _LAYOUTS and identity.isdecimal()


def _photos(index: ShardIndex, label: int) -> set[tuple[int, int]]:
    """Return the CRC-32 and the size in bytes of each of a person's photos."""
    records = index.records[int(index.first[label]) : int(index.first[label + 1])]
    return set(zip(records["crc32"].tolist(), records["size"].tolist(), strict=True))


def _people(index: ShardIndex) -> dict[int, NDArray[np.int64]]:
    """Return the photos of the first people who have two or more, by label."""
    people = {}
    for label in range(index.identities):
        photos = np.arange(index.first[label], index.first[label + 1])
        if len(photos) >= 2:
            people[label] = photos
        if len(people) == MOST_PEOPLE:
            break
    if len(people) < 2:
        raise UserError(f"{index.folder} holds {len(people)} people with two photos or more; expected at least 2")
    return people


def _usable(index: ShardIndex, people: dict[int, NDArray[np.int64]]) -> dict[int, NDArray[np.int64]]:
    """Leave out photos that cannot be decoded, with a warning, and then people with fewer than two."""
    usable = {label: [photo for photo in photos if _face(index, photo) is not None] for label, photos in people.items()}
    if missing := sum(map(len, people.values())) - sum(map(len, usable.values())):
        print(f"warning: {missing} photos of {index.folder} cannot be decoded and are left out", file=sys.stderr)
    left = {label: np.array(photos) for label, photos in usable.items() if len(photos) >= 2}
    if len(left) < 2:
        raise UserError(f"{index.folder} holds {len(left)} people with two readable photos; expected at least 2")
    return left


def _face(index: ShardIndex, photo: int) -> NDArray[np.uint8] | None:
    """Return (S, S, 3) uint8 RGB, None where the photo is damaged."""
    size = index.manifest.preprocessing.size
    try:
        face = decode(bytes(index.read(photo)))
    except PictureError:
        return None
    return face if face.shape == (size, size, 3) else None


@torch.inference_mode()
def _embeddings(
    backbone: nn.Module,
    index: ShardIndex,
    photos: NDArray[np.int64],
    is_first: NDArray[np.bool_],
    request: HeldOut,
) -> dict[int, NDArray[np.float32]]:
    """Embed the gallery in full, and every probe at every low resolution: (N, D) by size, in the order of photos."""
    size = index.manifest.preprocessing.size
    embedded: dict[int, list[NDArray[np.float32]]] = {size: [], **{low: [] for low in request.sizes}}
    for sides, numbers in (((size,), photos[is_first]), (request.sizes, photos[~is_first])):
        for faces, rows in _batches(index, numbers):
            on_device = torch.from_numpy(faces).to(request.device)
            points = [torch.from_numpy(index.points(rows)).to(request.device)] if request.points else []
            for side in sides:
                # (N, side, side, 3) -> (N, S, S, 3) -> (N, 3, S, S), which in memory is channels last
                seen = network_pixels(reduce(on_device, side), size).permute(0, 3, 1, 2)
                embedded[side].append(backbone(seen, *points).float().cpu().numpy())
    return {side: np.concatenate(vectors) for side, vectors in embedded.items()}


def _batches(index: ShardIndex, photos: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield the faces of photos, (N, S, S, 3) uint8 RGB, with the photos' rows."""
    for start in range(0, len(photos), _BATCH):
        faces, rows = [], photos[start : start + _BATCH]
        for photo in rows:
            face = _face(index, photo)
            assert face is not None, "every photo was decoded before training began"
            faces.append(face)
        yield np.stack(faces), rows
