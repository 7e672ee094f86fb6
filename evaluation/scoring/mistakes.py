"""The worst mistakes of a protocol, as pictures: a figure says how often, these say on what."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.figures import Mistake, Shown
from evaluation.metrics.identification import MatedRanks
from evaluation.models.pictures import Picture, PictureError

MOST = 6
"""Mistakes shown of each kind."""
PictureOf = Callable[[int], Picture]
MatchOf = Callable[[int, int], Picture]
_QUALITY = 90


def worst_pairs(
    where: str, scores: NDArray[np.float64], same: NDArray[np.bool_], left: Sequence[Picture], right: Sequence[Picture]
) -> list[Mistake]:
    """Return the impostors that score highest and the pairs of one person that score lowest.

    Args:
        where: put before the kind, such as "8 px: ".
        scores: (N,) of the pairs.
        same: (N,) whether a pair shows one person.
        left: (N,) first pictures.
        right: (N,) second pictures.
    """
    order = np.argsort(scores, kind="stable")
    kinds = {
        f"{where}impostors with the highest scores": order[::-1][~same[order[::-1]]],
        f"{where}pairs of one person with the lowest scores": order[same[order]],
    }
    return [
        Mistake(kind, (show("first", left[row]), show("second", right[row], scores[row])))
        for kind, rows in kinds.items()
        for row in rows[:MOST]
    ]


def worst_identifications(where: str, ranked: MatedRanks, probe: PictureOf, match: MatchOf) -> list[Mistake]:
    """Return the mated probes that were taken for someone else by the largest margins.

    Args:
        where: put before the kind, such as "d1: ".
        ranked: of (P,) probes.
        probe: picture by number of the probe.
        match: picture by number of the probe and of the gallery's row.
    """
    wrong = np.flatnonzero((ranked.ranks > 1) & (ranked.rivals >= 0))
    margins = ranked.rival_scores[wrong] - ranked.scores[wrong]
    worst = wrong[np.argsort(-margins, kind="stable")][:MOST]
    return [
        Mistake(
            f"{where}taken for someone else, by the largest margins",
            (
                show("probe", probe(row)),
                show("true match", match(row, int(ranked.matches[row])), ranked.scores[row]),
                show("taken instead", match(row, int(ranked.rivals[row])), ranked.rival_scores[row]),
            ),
        )
        for row in worst.tolist()
    ]


def worst_false_alarms(
    scores: NDArray[np.float64], rows: NDArray[np.int64], probe: PictureOf, match: MatchOf
) -> list[Mistake]:
    """Return the unmated probes that score highest with someone in the gallery.

    Args:
        scores: (U,) best score of each unmated probe.
        rows: (U,) gallery row of it.
        probe: picture by number of the probe.
        match: picture by number of the probe and of the gallery's row.
    """
    worst = np.argsort(-scores, kind="stable")[:MOST]
    return [
        Mistake(
            "people who are not in the gallery, taken for someone who is with the highest scores",
            (show("probe", probe(row)), show("taken instead", match(row, int(rows[row])), scores[row])),
        )
        for row in worst.tolist()
        if rows[row] >= 0
    ]


def show(role: str, picture: Picture, score: float | None = None) -> Shown:
    """Read a picture once more, as the network sees it, and keep it as JPEG."""
    try:
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture.load(), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )
    except PictureError:
        done, data = False, np.empty(0, dtype=np.uint8)
    return Shown(role, picture.name, None if score is None else float(score), data.tobytes() if done else b"")
