"""Recognisers from Python: load, embed, score, search, evaluate, and read results as a table (docs/python.md)."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.figures import Outcome
from evaluation.metrics.identification import l2_normalised, pair_cosines
from evaluation.models.embedder import Embedder
from evaluation.models.identity import library_versions
from evaluation.models.load import load_model
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, require_template, whole
from evaluation.models.watching import Watched
from evaluation.protocols.selection import LOW_SIZES, ProtocolOptions, plan
from evaluation.reporting.report import write_report
from evaluation.reporting.results import Model, Report, Settings
from shards.command import UserError
from shards.format import Preprocessing
from shards.json_file import read_object
from training.networks.backbone_file import LoadedBackbone
from training.ranks.machine import chosen_device

Images = str | Path | NDArray[np.uint8] | Sequence[str | Path | NDArray[np.uint8]]
"""A picture or several: a file's path, or (H, W, 3) uint8 RGB; several also as one (N, H, W, 3) array."""

_BLOCK = 1_024
_NO_DATA = ProtocolOptions(None, None, None, None, False, (), None, None)


class Recogniser:
    """A network that embeds faces; create it with `load_recogniser`.

    Attributes:
        preprocessing: what its pictures go through: template, size, colours and scale.
        name: of its file or code.
    """

    def __init__(self, name: str, loaded: LoadedBackbone, device: str, *, flip: bool, precision: str) -> None:
        self.name = name
        self.preprocessing: Preprocessing = loaded.preprocessing
        self._loaded, self._device, self._flip, self._precision = loaded, device, flip, precision
        self._embedder = Embedder(loaded, device=device, flip=flip, precision=precision)

    def embed(self, images: Images, landmarks: ArrayLike | None = None) -> NDArray[np.float32]:
        """Embed faces.

        Args:
            images: one or several; a path and an array may stand side by side.
            landmarks: (N, 5, 2) x, y of five points in pixels of each picture, or (5, 2) of a single one: the faces are
                aligned as the network was trained. Without them pictures are resized whole, as faces that are aligned
                already.

        Returns:
            (N, D) float32, not normalised, NaN where a picture cannot be used, of which a warning tells.

        Raises:
            ValueError: an array is no picture, or there are not as many landmarks as pictures.
            UserError: the network takes no aligned faces, or gives numbers that are not finite.
        """
        several = [images] if isinstance(images, str | Path) or getattr(images, "ndim", 0) == 3 else list(images)
        points: list[NDArray[np.float64] | None] = [None] * len(several)
        if landmarks is not None:
            given = np.asarray(landmarks, dtype=np.float64)
            given = given[None] if given.ndim == 2 else given
            if given.shape != (len(several), 5, 2):
                raise ValueError(f"landmarks of shape {given.shape} for {len(several)} pictures; give (N, 5, 2)")
            require_template(self.preprocessing, "embed with landmarks")
            points = list(given)
        embedded = self._embedder.embed(
            [self._picture(number, *one) for number, one in enumerate(zip(several, points, strict=True))]
        )
        for name, reason in embedded.faults.items():
            warnings.warn(f"{name} cannot be used: {reason}", stacklevel=2)
        return embedded.vectors

    def _picture(self, number: int, image: Any, points: NDArray[np.float64] | None) -> Picture:
        encoded = None
        if isinstance(image, str | Path):
            name, path = str(image), Path(image)
        else:
            pixels = np.asarray(image)
            if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
                raise ValueError(
                    f"picture {number} is {pixels.dtype} of shape {pixels.shape}; give (H, W, 3) uint8 RGB"
                )
            name, path = f"picture {number}", Path(f"picture {number}")
            # Without loss, so that the pixels are the same.
            encoded = cv2.imencode(".png", pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        form = self.preprocessing
        picture = whole(name, path, form, on_template=True) if points is None else aligned(name, path, points, form)
        return replace(picture, encoded=encoded)


def load_recogniser(
    name: str | Path,
    *,
    template: Literal["paper", "centred", "whole"] | None = None,
    size: int | None = None,
    colour: Literal["RGB", "BGR"] | None = None,
    mean: float | None = None,
    deviation: float | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    flip: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Recogniser:
    """Load a recogniser by its file, of this project or another one, or by `package.module:callable`.

    Args:
        name: the file (.pt, .pth, .ckpt, .safetensors, .onnx), or the import path.
        template: of the alignment, of a model that does not say it itself; of another it must be the same.
        size: side of its pictures in pixels, likewise.
        colour: order of the colours that it takes, in place of its own.
        mean: a level x, 0..255, goes in as (x - mean) / deviation, likewise.
        deviation: see `mean`.
        device: "auto" takes a GPU if there is one.
        flip: average each embedding with that of the mirror image.
        precision: of the network.

    Raises:
        UserError: it cannot be loaded, or does not say how its pictures are prepared.
    """
    how: dict[str, Any] = {"template": template, "size": size, "colour": colour, "mean": mean, "deviation": deviation}
    loaded = load_model(str(name), **how)
    return Recogniser(str(name), loaded, chosen_device(device), flip=flip, precision=precision)


def similarity(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine of every embedding with the one beside it: (N, D), (N, D) -> (N,), -1..1.

    >>> similarity([[1.0, 0.0], [2.0, 2.0]], [[0.0, 3.0], [1.0, 1.0]]).tolist()
    [0.0, 1.0]
    """
    return pair_cosines(left, right)


def search(probes: ArrayLike, gallery: ArrayLike, most: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of a gallery that are most alike to each probe, and their cosines, best first.

    >>> rows, scores = search([[1.0, 0.0]], [[0.0, 1.0], [3.0, 4.0]], most=1)
    >>> rows.tolist(), scores.round(6).tolist()
    ([[1]], [[0.6]])

    Args:
        probes: (P, D).
        gallery: (G, D); rows with NaN are never found before others.
        most: of how many rows.

    Returns:
        (P, K) int64 and (P, K) float64, K the smaller of `most` and G; of equal scores the first row stands first.
    """
    known, asked = l2_normalised(gallery), np.asarray(probes)
    count = min(most, len(known))
    rows, scores = np.empty((len(asked), count), np.int64), np.empty((len(asked), count))
    for start in range(0, len(asked), _BLOCK):
        some = slice(start, start + _BLOCK)
        found = np.nan_to_num(l2_normalised(asked[some]) @ known.T, nan=-np.inf)
        rows[some] = np.argsort(-found, axis=1, kind="stable")[:, :count]
        scores[some] = np.take_along_axis(found, rows[some], axis=1)
    return rows, scores


def evaluate(recogniser: Recogniser, *, out: Path | None = None, **data: Any) -> dict[str, Outcome]:
    """Run the protocol of every data set that is named, with the figures of `python -m evaluation`.

    Args:
        recogniser: the model.
        out: folder for results.json and the report; None writes nothing.
        data: fields of `evaluation.protocols.selection.ProtocolOptions`, such as `lfw=Path("LFW")`, `orl=True`,
            `gallery=...` with `probes=...`, `sizes=(8, 16)`.

    Returns:
        by protocol what was found; its `figures` have names, values 0..1, intervals and n.

    Raises:
        UserError: no data set is named, or a list of one cannot be read.
        TypeError: there is no such field.
    """
    given = replace(_NO_DATA, **data)
    runs, skipped = plan(given)
    if not runs:
        raise UserError("no data set given; name one, such as lfw=Path('LFW') or orl=True")
    outcomes = {}
    model = Model.of(Path(recogniser.name), recogniser._loaded)
    for run in runs.values():
        watched = Watched(recogniser._embedder)
        outcome = run(watched)
        outcomes[outcome.protocol] = replace(outcome, notes=(*watched.notes(model.label), *outcome.notes))
    if out is not None:
        sizes = tuple(given.sizes or LOW_SIZES)
        settings = Settings(
            recogniser._device, recogniser._flip, sizes, given.match_gallery, precision=recogniser._precision
        )
        out.mkdir(parents=True, exist_ok=True)
        of_all: dict[str, tuple[Outcome, ...]] = {name: (outcome,) for name, outcome in outcomes.items()}
        write_report(out, Report((model,), of_all, skipped, settings, library_versions()))
    return outcomes


def read_results(path: str | Path) -> pd.DataFrame:
    """Read the figures of a results.json: one row a protocol, model and figure.

    Returns:
        columns protocol, model, figure, value (0..1, NaN where not measured), low and high (95 % interval), n, spread,
        faces (how they were aligned), incomplete and note.

    Raises:
        UserError: the file is no results.json.
    """
    try:
        data = read_object(Path(path))
        rows = [
            {
                "protocol": protocol["protocol"],
                "model": result["model"],
                "figure": figure["name"],
                "value": figure["value"],
                "low": (figure["interval"] or [None, None])[0],
                "high": (figure["interval"] or [None, None])[1],
                "n": figure["n"],
                "spread": figure["spread"],
                "faces": result["alignment"]["kind"],
                "incomplete": result["incomplete"],
                "note": figure["note"],
            }
            for protocol in data["protocols"]
            for result in protocol["results"]
            for figure in result["figures"]
        ]
        table = pd.DataFrame(rows)
        return table.astype(dict.fromkeys(("value", "low", "high", "spread"), "float64")) if rows else table
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is no results.json of an evaluation: {error!r}") from error
