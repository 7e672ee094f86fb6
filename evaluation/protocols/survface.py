"""QMUL-SurvFace, verification: pairs of surveillance faces, every picture resized whole.

Exact TAR at FAR; the authors' code interpolates between two points of the ROC with an inverted slope, so that
its TARs differ slightly (docs/protocols.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.lists.mat_lists import read_name_pairs
from evaluation.lists.text_lists import PictureFolder, find_folder, find_list
from evaluation.metrics.bootstrap import PairPeople, bootstrap_over_pairs
from evaluation.metrics.curves import roc_curve, score_curves
from evaluation.metrics.figures import Outcome
from evaluation.metrics.verification import best_decisions
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.preparation import whole
from evaluation.scoring.mistakes import worst_pairs
from evaluation.scoring.native_sides import by_side, native_sides
from evaluation.scoring.pairs import people_of_pairs, score_pairs, verification_figures
from evaluation.scoring.published import SURVFACE_AUC, SURVFACE_TAR

PROTOCOL = "QMUL-SurvFace verification"
FARS = (0.3, 0.1, 0.01, 0.001)
PUBLISHED_PAIRS = 5_319
FOLDERS = (
    "QMUL-SurvFace/Face_Verification_Test_Set",
    "Face_Verification_Test_Set",
    "QMUL-SurvFace/QMUL-SurvFace/Face_Verification_Test_Set",
)


@dataclass(frozen=True)
class Data:
    """The pictures, and the names of pairs of one person and of two."""

    folder: PictureFolder
    positive: list[tuple[str, str]]
    negative: list[tuple[str, str]]


def read(root: Path, lists: Sequence[Path]) -> Data:
    """Read the pair lists.

    Args:
        root: folder `QMUL-SurvFace`.
        lists: folders searched for the pair lists before the data set's own.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, *FOLDERS)
    places = [*lists, folder, folder.parent / "Face_Verification_Evaluation", root, Path("data")]
    positive, negative = (
        read_name_pairs(find_list(f"{kind}_pairs_names.mat", places), f"{kind}_pairs_names")
        for kind in ("positive", "negative")
    )
    return Data(PictureFolder(folder / "verification_images"), positive, negative)


def measure(data: Data, embedder: PictureEmbedder) -> Outcome:
    """Run the protocol."""
    pairs = [*data.positive, *data.negative]
    names = sorted({name for pair in pairs for name in pair})
    form = embedder.preprocessing
    pictures = [whole(name, data.folder.path(name), form) for name in names]
    embedded = embedder.embed(pictures)
    row = {name: number for number, name in enumerate(names)}
    scored = score_pairs(embedded, [row[a] for a, _ in pairs], embedded, [row[b] for _, b in pairs])
    same = scored.rows < len(data.positive)
    positives, negatives = scored.scores[same], scored.scores[~same]
    positive_people, negative_people, told = people_of_pairs(data.positive, data.negative)
    figures = verification_figures(
        positives,
        negatives,
        (
            positive_people.of_rows(scored.rows[same]),
            negative_people.of_rows(scored.rows[~same] - len(data.positive)),
        ),
        FARS,
        published_tar=SURVFACE_TAR,
        published_auc=SURVFACE_AUC,
    )
    used = [pairs[place] for place in scored.rows]
    sides = native_sides(pictures)
    smaller = np.array([min(sides[row[a]], sides[row[b]]) for a, b in used], dtype=np.int64)
    everyone = PairPeople.joined(positive_people, negative_people).of_rows(scored.rows)
    right = best_decisions(scored.scores, same)
    by_size, line = by_side(
        "accuracy",
        right,
        smaller,
        lambda rows: bootstrap_over_pairs(right[rows], everyone.of_rows(rows)),
    )
    return Outcome(
        PROTOCOL,
        (*figures, *by_size),
        (
            *roc_curve("QMUL-SurvFace", positives, negatives),
            *score_curves("", {"one person": positives, "two people": negatives}),
            *line,
        ),
        {
            "positive pairs": len(data.positive),
            "negative pairs": len(data.negative),
            "pairs left out": scored.left_out,
            "pictures": len(names),
        },
        tuple(sorted(embedded.faults.items())),
        _notes(data, len(negatives), told),
        incomplete=scored.left_out > 0,
        mistakes=tuple(
            worst_pairs(
                "", scored.scores, same, [pictures[row[a]] for a, _ in used], [pictures[row[b]] for _, b in used]
            )
        ),
    )


def _notes(data: Data, negatives: int, told: bool) -> tuple[str, ...]:
    notes = [
        "TAR is exact here. The authors' code interpolates between ROC points with an inverted slope, so the "
        "published TARs are slightly off.",
        f"FAR 0.1 % of {negatives:,} negative pairs is {int(np.floor(negatives / 1000))} pairs: that figure is coarse.",
    ]
    notes += [
        f"The list holds {len(pairs):,} {kind} pairs, the paper names {PUBLISHED_PAIRS:,}."
        for kind, pairs in (("positive", data.positive), ("negative", data.negative))
        if len(pairs) != PUBLISHED_PAIRS
    ]
    if not told:
        notes.append("The names of the pictures do not tell whom they show: intervals take pairs as independent.")
    return tuple(notes)
