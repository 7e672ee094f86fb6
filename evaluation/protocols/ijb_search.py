"""IJB-B and IJB-C, 1:N: templates of many faces, searched for in two galleries that share nobody.

The protocol's own way (Maze et al., 2018): each gallery by itself, with the probes of its people as mated ones and all
others as unmated. And insightface's way (its ijb_1n.py): both galleries as one, in which every probe has a mate, with a
threshold that as many pairs of two people exceed as FPIR allows probes.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.ijb_lists import IjbLists, SearchLists, Subjects
from evaluation.metrics.bootstrap import Statistic, open_set_intervals
from evaluation.metrics.curves import cmc_curve, identification_scores
from evaluation.metrics.figures import Alignment, Curve, Figure, Outcome
from evaluation.metrics.identification import (
    MatedRanks,
    best_scores,
    mated_blocks,
    mated_ranks,
    rank_rate,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import of_gallery, swapped
from evaluation.models.preparation import require_template
from evaluation.scoring.media_templates import media_templates
from evaluation.scoring.pairs import reduced_sizes, too_few

RANKS = (1, 5, 10)
FPIRS = (0.1, 0.01)
_NAMES = ("G1", "G2")
# TPIR counts a true identity above the threshold at any rank, as insightface's code does.
_ANY_RANK = np.iinfo(np.int64).max


def measure(lists: IjbLists, search: SearchLists, embedder: PictureEmbedder, *, sizes: Sequence[int] = ()) -> Outcome:
    """Run the protocol, in blocks of bounded memory.

    Args:
        lists: faces and templates.
        search: galleries and probes.
        embedder: the model.
        sizes: to which the faces of the probes are reduced, beside the probes as they are.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    for model in (embedder, of_gallery(embedder)):
        require_template(model.preprocessing, lists.name)
    lows, notes = reduced_sizes(sizes, embedder.preprocessing.size)
    faults: dict[str, str] = {}
    in_galleries = np.concatenate([one.templates for one in search.galleries])
    used = _of_templates(lists, np.unique(np.concatenate([in_galleries, search.probes.templates])))
    if swapped(embedder):
        enrolled = media_templates(_of_templates(lists, in_galleries), of_gallery(embedder), None, faults)
        numbers, full = media_templates(_of_templates(lists, search.probes.templates), embedder, None, faults)
    else:
        # Together, so that a picture in both is embedded once.
        enrolled = numbers, full = media_templates(used, embedder, None, faults)
    galleries = [_Side.of(one, *enrolled) for one in search.galleries]
    together = _Side.joined(galleries)
    figures: list[Figure] = []
    curves: list[Curve] = []
    left_out = absent = 0
    for low in (None, *lows):
        of_probes = _of_templates(lists, search.probes.templates)
        shown = (numbers, full) if low is None else media_templates(of_probes, embedder, low, faults)
        probes = _Side.of(search.probes, *shown)
        left_out = max(left_out, len(search.probes.templates) - len(probes.subjects))
        prefix = f"probes at {low} px: " if low else ""
        absent = int((~np.isin(probes.subjects, together.subjects)).sum())
        own, lines = _by_gallery(prefix, probes, galleries, f"{low or embedder.preprocessing.size} px" if lows else "")
        figures += [*own, *_together(f"{prefix}G1 and G2 together: ", probes.within(together), together)]
        curves += lines
    return Outcome(
        f"{lists.name} 1:N",
        tuple(figures),
        tuple(curves),
        {
            "faces": len(used.pictures),
            **{f"people in {name}": len(one.subjects) for name, one in zip(_NAMES, search.galleries, strict=True)},
            "probes": len(search.probes.templates),
            "probes left out": left_out,
            "probes in neither gallery": absent,
        },
        tuple(sorted(faults.items())),
        (
            "TPIR counts true identities above the threshold at any rank; G1 and G2 together is insightface's way, "
            "whose threshold is of pairs of two people; each gallery by itself has one of unmated probes' best scores.",
            *notes,
        ),
        incomplete=bool(faults),
        alignment=Alignment("landmark list", f"{lists.name}'s own name_5pts_score list", pictures=len(used.pictures)),
    )


class _Side:
    """Templates that can be used, (T, D), and whom they show, (T,)."""

    def __init__(self, vectors: NDArray[np.float64], subjects: NDArray[np.int64]) -> None:
        self.vectors, self.subjects = vectors, subjects

    @staticmethod
    def of(listed: Subjects, numbers: NDArray[np.int64], vectors: NDArray[np.float64]) -> "_Side":
        """Choose the templates of a list among all."""
        chosen = vectors[np.searchsorted(numbers, listed.templates)]
        usable = np.isfinite(chosen).all(axis=1)
        return _Side(chosen[usable], listed.subjects[usable])

    @staticmethod
    def joined(sides: "Sequence[_Side]") -> "_Side":
        """Put several together."""
        return _Side(np.concatenate([one.vectors for one in sides]), np.concatenate([one.subjects for one in sides]))

    def chosen(self, rows: NDArray[np.bool_]) -> "_Side":
        """Return some of them."""
        return _Side(self.vectors[rows], self.subjects[rows])

    def within(self, gallery: "_Side") -> "_Side":
        """Return those whose people are in a gallery."""
        return self.chosen(np.isin(self.subjects, gallery.subjects))


def _of_templates(lists: IjbLists, templates: NDArray[np.int64]) -> IjbLists:
    """Return the lists with the faces of some templates alone."""
    rows = np.flatnonzero(np.isin(lists.templates, templates))
    return replace(
        lists,
        pictures=[lists.pictures[row] for row in rows.tolist()],
        templates=lists.templates[rows],
        media=lists.media[rows],
        points=lists.points[rows],
        scores=lists.scores[rows],
    )


def _by_gallery(prefix: str, probes: _Side, galleries: Sequence[_Side], panel: str) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of each gallery by itself, and the means of both."""
    figures: list[list[Figure]] = []
    curves: list[Curve] = []
    for name, gallery in zip(_NAMES, galleries, strict=True):
        mated = probes.within(gallery)
        others = probes.chosen(~np.isin(probes.subjects, gallery.subjects))
        ranked = mated_ranks(mated.vectors, mated.subjects, gallery.vectors, gallery.subjects)
        best, _ = best_scores(others.vectors, gallery.vectors)
        figures.append(
            [
                *_ranks(f"{prefix}{name}: ", ranked, mated.subjects),
                *_open_set(f"{prefix}{name}: ", ranked, mated, best, others),
            ]
        )
        fpir, tpir = tpir_curve(ranked, best, _ANY_RANK)
        line = f"{name} {panel}".strip()
        curves += [Curve(line, "open-set", fpir, tpir)] if fpir.size else []
        curves += [*cmc_curve(line, ranked.ranks), *identification_scores(line, ranked)]
    means = [
        Figure(
            f"{prefix}mean of {one.name.removeprefix(prefix)[4:]} in G1 and G2",
            (one.value + two.value) / 2,
            one.n + two.n,
        )
        for one, two in zip(*figures, strict=True)
    ]
    return [*figures[0], *figures[1], *means], curves


def _ranks(prefix: str, ranked: MatedRanks, people: NDArray[np.int64]) -> list[Figure]:
    return [
        Figure(
            f"{prefix}rank-{rank}",
            rank_rate(ranked.ranks, rank),
            len(people),
            bootstrap_over_people(ranked.within(rank), people),
        )
        for rank in RANKS
    ]


def _open_set(prefix: str, ranked: MatedRanks, mated: _Side, best: NDArray[np.float64], others: _Side) -> list[Figure]:
    statistics: dict[str, Statistic] = {str(fpir): (lambda c, fpir=fpir: c.rate_at(fpir)) for fpir in FPIRS}  # type: ignore[misc]
    intervals = open_set_intervals(ranked, mated.subjects, best, others.subjects, statistics, rank=_ANY_RANK)
    figures = []
    for fpir in FPIRS:
        name, enough = f"{prefix}TPIR at FPIR {100 * fpir:g} %", fpir * len(best) >= 1
        value = tpir_at_fpir(ranked, best, fpir, _ANY_RANK) if enough else float("nan")
        note = "" if enough else too_few(fpir, len(best), "unmated probes")
        figures.append(Figure(name, value, len(ranked.ranks), intervals[str(fpir)] if enough else None, note=note))
    return figures


def _together(prefix: str, probes: _Side, gallery: _Side) -> list[Figure]:
    """Return what insightface's ijb_1n.py computes: the threshold is the ceil(f N)-th highest non-mated score."""
    count = len(probes.subjects)
    ranked = mated_ranks(probes.vectors, probes.subjects, gallery.vectors, gallery.subjects)
    figures = _ranks(prefix, ranked, probes.subjects)
    places = {fpir: math.ceil(count * fpir) for fpir in FPIRS}
    highest = _highest_rivals(probes, gallery, max(places.values(), default=0))
    for fpir, place in places.items():
        enough = 0 < place <= len(highest)
        value = float((ranked.scores > highest[place - 1]).mean()) if enough else float("nan")
        figures.append(Figure(f"{prefix}TPIR at FPIR {100 * fpir:g} %", value, count))
    return figures


def _highest_rivals(probes: _Side, gallery: _Side, most: int) -> NDArray[np.float64]:
    """Return the highest scores of probes with other people, falling, at most so many."""
    kept = np.empty(0)
    for _, scores, rows, columns in mated_blocks(probes.vectors, probes.subjects, gallery.vectors, gallery.subjects):
        scores[rows, columns] = -np.inf
        kept = np.concatenate([kept, scores[scores > -np.inf]])
        if len(kept) > most:
            kept = np.partition(kept, len(kept) - most)[len(kept) - most :]
    return np.sort(kept)[::-1]
