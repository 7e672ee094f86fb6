"""QMUL-SurvFace, verification: pairs of surveillance faces, every picture resized whole.

Exact TAR at FAR; the authors' code interpolates between two points of the ROC with an inverted slope, so that
its TARs differ slightly (docs/protocols.md).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.embedder import Embeds
from evaluation.figures import Outcome
from evaluation.lists import find_folder, find_list, read_name_pairs
from evaluation.pairs import roc_curve, score_pairs, verification_figures
from evaluation.prepare import whole
from evaluation.published import SURVFACE_AUC, SURVFACE_TAR

PROTOCOL = "QMUL-SurvFace verification"
FARS = (0.3, 0.1, 0.01, 0.001)
PUBLISHED_PAIRS = 5_319


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds) -> Outcome:
    """Run the protocol.

    Args:
        root: folder `QMUL-SurvFace`.
        lists: folders searched for the pair lists before the data set's own.
        embedder: the model.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(
        root,
        "QMUL-SurvFace/Face_Verification_Test_Set",
        "Face_Verification_Test_Set",
        "QMUL-SurvFace/QMUL-SurvFace/Face_Verification_Test_Set",
    )
    places = [*lists, folder, root, Path("data")]
    kinds = ("positive", "negative")
    pairs = {
        kind: read_name_pairs(find_list(f"{kind}_pairs_names.mat", places), f"{kind}_pairs_names") for kind in kinds
    }
    names = sorted({name for kind in kinds for pair in pairs[kind] for name in pair})
    form = embedder.preprocessing
    embedded = embedder.embed([whole(name, folder / "verification_images" / name, form) for name in names])
    row = {name: number for number, name in enumerate(names)}
    scored = {
        kind: score_pairs(embedded, [row[a] for a, _ in pairs[kind]], embedded, [row[b] for _, b in pairs[kind]])
        for kind in kinds
    }
    positives, negatives = scored["positive"].scores, scored["negative"].scores
    figures = verification_figures(positives, negatives, FARS, published_tar=SURVFACE_TAR, published_auc=SURVFACE_AUC)
    left_out = sum(scored[kind].left_out for kind in kinds)
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(roc_curve("QMUL-SurvFace", positives, negatives)),
        {
            "positive pairs": len(pairs["positive"]),
            "negative pairs": len(pairs["negative"]),
            "pairs left out": left_out,
            "pictures": len(names),
        },
        tuple(sorted(embedded.faults.items())),
        _notes({kind: len(pairs[kind]) for kind in kinds}, len(negatives)),
        incomplete=left_out > 0,
    )


def _notes(found: dict[str, int], negatives: int) -> tuple[str, ...]:
    notes = [
        "TAR is exact here. The authors' code interpolates between ROC points with an inverted slope, so the "
        "published TARs are slightly off.",
        f"FAR 0.1 % of {negatives:,} negative pairs is {int(np.floor(negatives / 1000))} pairs: that figure is coarse.",
    ]
    notes += [
        f"The list holds {count:,} {kind} pairs, the paper names {PUBLISHED_PAIRS:,}."
        for kind, count in found.items()
        if count != PUBLISHED_PAIRS
    ]
    return tuple(notes)
