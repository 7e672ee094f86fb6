"""LFW, HR to LR: the first photo of a pair in full, the second reduced (Lai and Lam, 2021).

Ten-fold accuracy on LFW's 6,000 pairs; both photos aligned at the network's size, the second one reduced and
enlarged back.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.embedder import Embeds
from evaluation.figures import Curve, Figure, Outcome
from evaluation.intervals import wilson
from evaluation.lists import LfwPair, find_folder, find_list, landmarks_by_name, read_lfw_pairs
from evaluation.pairs import PairScores, roc_curve, score_pairs
from evaluation.prepare import aligned, require_template
from evaluation.published import LFW as PUBLISHED
from evaluation.verification import ten_fold_accuracy

PROTOCOL = "LFW, HR to LR"


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds, *, sizes: Sequence[int] = (8, 12, 16, 20)) -> Outcome:
    """Run the protocol.

    Args:
        root: folder `LFW`.
        lists: folders searched for `LFW.csv` and `lfw_pairs.txt` before the data set's own.
        embedder: the model.
        sizes: of the second photo in pixels; it is also left as it is.

    Raises:
        UserError: the folder, a list or the checkpoint's template does not fit.
    """
    form = embedder.preprocessing
    require_template(form, PROTOCOL)
    folder = find_folder(root, "lfw", "LFW/lfw", ".")
    places = [*lists, root, folder, Path("data")]
    landmarks = landmarks_by_name(find_list("LFW.csv", places))
    pairs = read_lfw_pairs(find_list("lfw_pairs.txt", places))
    without = {name: "no landmarks" for pair in pairs for name in (pair.left, pair.right) if name not in landmarks}
    usable = [pair for pair in pairs if pair.left not in without and pair.right not in without]
    left = sorted({pair.left for pair in usable})
    right = sorted({pair.right for pair in usable})
    full = embedder.embed([aligned(name, folder / name, landmarks[name], form) for name in left])
    missing = {**without, **full.faults}
    figures: list[Figure] = []
    curves: list[Curve] = []
    left_out = len(pairs) - len(usable)
    left_row, right_row = ({name: row for row, name in enumerate(names)} for names in (left, right))
    for size in [*sizes, form.size]:
        low = None if size == form.size else size
        reduced = embedder.embed([aligned(n, folder / n, landmarks[n], form, low) for n in right])
        missing.update(reduced.faults)
        scored = score_pairs(full, [left_row[p.left] for p in usable], reduced, [right_row[p.right] for p in usable])
        left_out = len(pairs) - len(scored.rows)
        figures.append(_figure(size, scored, usable))
        same = np.array([usable[row].same for row in scored.rows], dtype=bool)
        curves += roc_curve(f"second photo {size} px", scored.scores[same], scored.scores[~same])
    values = np.array([figure.value for figure in figures])
    curves.append(Curve("accuracy", "resolution", np.array([*sizes, form.size], dtype=float), values))
    counts = {"pairs in the list": len(pairs), "pairs left out": left_out, "pictures": len({*left, *right})}
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(curves),
        counts,
        tuple(sorted(missing.items())),
        incomplete=left_out > 0,
    )


def _figure(size: int, scored: PairScores, pairs: Sequence[LfwPair]) -> Figure:
    same = [pairs[row].same for row in scored.rows]
    folds = [pairs[row].fold for row in scored.rows]
    known = PUBLISHED.get(size)
    name = f"accuracy, second photo at {size} px"
    paper, rerun = (known.paper, known.rerun) if known else (None, None)
    if len(set(folds)) < 2:
        return Figure(name, float("nan"), len(same), paper=paper, rerun=rerun, note="fewer than two folds left")
    accuracies = ten_fold_accuracy(scored.scores, same, folds)
    mean = float(accuracies.mean())
    return Figure(name, mean, len(same), wilson(mean, len(same)), float(accuracies.std()), paper, rerun)
