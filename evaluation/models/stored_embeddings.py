"""Embeddings in a file: written by `python -m evaluation.embed`, or made elsewhere, and evaluated like a model's.

A .npz file with the arrays `names`, (N,) text, and `vectors`, (N, D) float. A picture is named as its protocol names
it; one that is reduced to 8 pixels and enlarged back has "@8" behind its name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.models.embedder import Embedded
from evaluation.models.pictures import Picture
from pipeline.alignment.align import preprocessing as preprocessing_of
from shards.command import UserError
from shards.digest import file_sha256
from shards.format import Preprocessing
from shards.json_file import parse_object
from shards.writer import write_atomically
from training.networks.backbone_file import LoadedBackbone

MADE_ELSEWHERE = "made elsewhere"
"""Stands for the template of embeddings whose file does not say how their pictures were prepared."""

_PUBLISHED_SIZE = 128


@dataclass(frozen=True)
class Origin:
    """Where stored embeddings come from, as far as their file says.

    Attributes:
        backbone: name of the architecture.
        sha256: of the checkpoint, or of the file itself where it does not say.
        step: steps of training, or None.
        recipe: name, or None.
        flip: whether each embedding is the mean over the picture and its mirror image, or None.
        preprocessing: what the pictures went through.
        precision: in which the network computed them, as far as is known.
    """

    backbone: str
    sha256: str
    step: int | None
    recipe: str | None
    flip: bool | None
    preprocessing: Preprocessing
    precision: str = "float32"


def stored_name(name: str, low: int | None) -> str:
    """Return the name of a picture in a file, reduced to a side in pixels or in full.

    >>> stored_name("a/1.jpg", 8), stored_name("a/1.jpg", None)
    ('a/1.jpg@8', 'a/1.jpg')
    """
    return name if low is None else f"{name}@{low}"


class StoredEmbeddings:
    """The embeddings of a file, in place of a model.

    Args:
        path: .npz file.

    Attributes:
        preprocessing: of the pictures; the published one where the file does not say.
        origin: where the embeddings come from.
        hint: what to look at where not one picture can be used.

    Raises:
        UserError: the file is missing, damaged, or not of this form.
    """

    def __init__(self, path: Path) -> None:
        arrays = _read(path)
        names, self._vectors = _names_and_vectors(path, arrays)
        self._row = {name: row for row, name in enumerate(names)}
        if len(self._row) < len(names):
            twice = next(name for row, name in enumerate(names) if self._row[name] != row)
            raise UserError(f"{path} names {twice} more than once; expected every picture once")
        self.origin = _origin(path, arrays)
        elsewhere = self.origin.preprocessing.template == MADE_ELSEWHERE
        self.preprocessing = preprocessing_of("paper", _PUBLISHED_SIZE) if elsewhere else self.origin.preprocessing
        self.hint = f"the names in {path} look like {names[0]}"
        self._asked: set[int] = set()

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Look pictures up by their names, in their order; one that the file lacks is a fault."""
        faults: dict[str, str] = {}
        vectors = np.full((len(pictures), self._vectors.shape[1]), np.nan, dtype=np.float32)
        for place, picture in enumerate(pictures):
            row = self._row.get(stored_name(picture.name, picture.preparation.low))
            if row is None:
                faults[picture.name] = "no embedding in the file"
            elif not np.isfinite(self._vectors[row]).all():
                faults[picture.name] = "its embedding is not finite"
            else:
                vectors[place] = self._vectors[row]
                self._asked.add(row)
        return Embedded(vectors, faults)

    def summary(self) -> str:
        """Return in one clause what was used."""
        return f"{len(self._asked):,} of {len(self._row):,} used, read from the file"


def write_embeddings(
    path: Path,
    names: Sequence[str],
    vectors: NDArray[np.float32],
    loaded: LoadedBackbone,
    *,
    flip: bool,
    precision: str = "float32",
) -> None:
    """Write embeddings and where they come from, whole or not at all.

    Args:
        path: .npz file; an older one is replaced.
        names: (N,) of the pictures.
        vectors: (N, D) float32.
        loaded: the model.
        flip: whether each is the mean over the picture and its mirror image.
        precision: in which the network computed them.
    """
    origin = {
        "backbone": loaded.name,
        "sha256": loaded.sha256,
        "step": loaded.step,
        "recipe": loaded.recipe,
        "flip": flip,
        "precision": precision,
        "preprocessing": loaded.preprocessing.to_dict(),
    }
    text = np.array(list(names), dtype=np.str_)
    write_atomically(path, lambda file: np.savez(file, names=text, vectors=vectors, origin=json.dumps(origin)))


def _read(path: Path) -> dict[str, NDArray]:
    if not path.is_file():
        raise UserError(f"no file {path}; expected an .npz with names and vectors")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array")
            return {name: file[name] for name in ("names", "vectors", "origin") if name in file}
    except Exception as error:  # zipfile and numpy raise anything between zlib.error and NotImplementedError
        hint = "; write names with np.array(names, dtype=str)" if "pickle" in str(error).lower() else ""
        raise UserError(f"{path} cannot be read as an .npz of names and vectors: {error}{hint}") from error


def _names_and_vectors(path: Path, arrays: dict[str, NDArray]) -> tuple[list[str], NDArray[np.float32]]:
    if missing := [name for name in ("names", "vectors") if name not in arrays]:
        raise UserError(f"{path} has no array {missing[0]}; expected names, (N,) text, and vectors, (N, D) float")
    names, vectors = arrays["names"], arrays["vectors"]
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise UserError(f"{path}: names is {names.dtype} of shape {names.shape}; expected (N,) text")
    if vectors.dtype.kind != "f" or vectors.ndim != 2 or len(vectors) != len(names) or not vectors.size:
        raise UserError(
            f"{path}: vectors is {vectors.dtype} of shape {vectors.shape}; expected ({len(names)}, D) float, not empty"
        )
    texts = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.tolist()]
    return [text.replace("\\", "/") for text in texts], vectors.astype(np.float32, copy=False)


def _origin(path: Path, arrays: dict[str, NDArray]) -> Origin:
    """Return what the file says of its origin; of a file made elsewhere, its own digest."""
    if "origin" not in arrays:
        unknown = Preprocessing(MADE_ELSEWHERE, (), _PUBLISHED_SIZE, "unknown")
        return Origin("unknown", file_sha256(path), None, None, None, unknown)
    try:
        fields = parse_object(str(arrays["origin"]))
        form = Preprocessing.from_dict(fields["preprocessing"])
        step = None if fields["step"] is None else int(fields["step"])
        recipe = None if fields["recipe"] is None else str(fields["recipe"])
        precision = str(fields.get("precision", "float32"))
        return Origin(
            str(fields["backbone"]), str(fields["sha256"]), step, recipe, bool(fields["flip"]), form, precision
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: its array origin cannot be read ({error!r}); leave it out or write it again"
        ) from error
