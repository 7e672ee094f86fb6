"""Probes and strangers against a gallery of one template a person: the figures, the curves and the worst mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.bootstrap import PairPeople, Statistic, open_set_intervals
from evaluation.metrics.crossed import Crossed, cross
from evaluation.metrics.curves import cmc_curve, identification_scores
from evaluation.metrics.figures import Curve, Figure, Mistake
from evaluation.metrics.identification import (
    MatedRanks,
    best_scores,
    mated_ranks,
    mean_templates,
    rank_rate,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.pictures import Picture
from evaluation.scoring.dataset_part import EmbeddedPart, most_similar_picture
from evaluation.scoring.discarding import NORM, discarded_probes, norms
from evaluation.scoring.mistakes import worst_false_alarms, worst_identifications
from evaluation.scoring.pairs import crossed_figures, too_few

RANKS = (1, 5, 10, 20)
FARS = (0.1, 0.01, 0.001, 0.0001)
RARE_FARS = (0.00001, 0.000001)
"""Measured only where there are enough comparisons, without a word where there are not."""
FPIRS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class GallerySearch:
    """What was embedded of one size, and how it compares.

    Attributes:
        gallery: usable photos of the gallery.
        mated: usable photos of people in the gallery.
        strange: usable photos of strangers.
        names: (G,) people with a template.
        ranked: (N + L,) mated probes, those without a face last.
        best: (U,) best score of each stranger's photo.
        best_rows: (U,) template that has it.
        crossed: every mated probe with every template.
    """

    gallery: EmbeddedPart
    mated: EmbeddedPart
    strange: EmbeddedPart
    names: NDArray[np.str_]
    ranked: MatedRanks
    best: NDArray[np.float64]
    best_rows: NDArray[np.int64]
    crossed: Crossed

    @staticmethod
    def of(gallery: EmbeddedPart, mated: EmbeddedPart, strange: EmbeddedPart) -> "GallerySearch":
        """Compare all probes with all templates."""
        templates, names = mean_templates(gallery.vectors, gallery.people)
        ranked = mated_ranks(mated.vectors, mated.people, templates, names)
        ranked = ranked.with_misses(len(mated.lost))
        crossed = cross(mated.vectors, mated.people, templates, names, ranked.scores)
        return GallerySearch(gallery, mated, strange, names, ranked, *best_scores(strange.vectors, templates), crossed)

    def without_lost(self) -> "GallerySearch":
        """Return what it is of the photos alone in which a face was found."""
        enrolled = np.isin(self.mated.people, self.names)
        return GallerySearch.of(
            self.gallery, self.mated.chosen(enrolled, np.zeros(len(self.mated.lost), dtype=bool)), self.strange
        )

    def people_compared(self) -> tuple[PairPeople, PairPeople]:
        """Return who stands in the mated comparisons, and in the non-mated ones that were kept."""
        everyone = self.mated.everyone
        numbered, number = np.unique(np.concatenate([everyone, self.names]), return_inverse=True)
        probe, template = number[: len(everyone)], number[len(everyone) :]
        return (
            PairPeople(probe, probe, len(numbered)),
            PairPeople(probe[self.crossed.rows], template[self.crossed.columns], len(numbered)),
        )

    def figures(self, prefix: str) -> list[Figure]:
        """Return identification, then open-set identification where there are strangers, then verification."""
        people, hits = self.mated.everyone, self.ranked.ranks
        figures = [
            Figure(
                f"{prefix}rank-{rank}",
                rank_rate(hits, rank),
                len(people),
                bootstrap_over_people(self.ranked.within(rank), people),
            )
            for rank in RANKS
            # Among five people rank-5 says nothing.
            if rank == 1 or rank < len(self.names)
        ]
        figures += self._open_set(prefix) if self.strange.listed else []
        fars = [*FARS, *(far for far in RARE_FARS if far * self.crossed.count >= 1)]
        return figures + crossed_figures(self.crossed, self.people_compared(), fars, prefix=prefix)

    def _open_set(self, prefix: str) -> list[Figure]:
        count = len(self.best)
        statistics: dict[str, Statistic] = {
            _tpir_name(fpir): (lambda c, fpir=fpir: c.rate_at(fpir))  # type: ignore[misc]
            for fpir in FPIRS
        }
        people = self.mated.everyone
        intervals = open_set_intervals(self.ranked, people, self.best, self.strange.people, statistics, rank=1)
        return [
            Figure(
                f"{prefix}{_tpir_name(fpir)}",
                tpir_at_fpir(self.ranked, self.best, fpir, rank=1) if fpir * count >= 1 else float("nan"),
                len(people),
                intervals[_tpir_name(fpir)] if fpir * count >= 1 else None,
                note="" if fpir * count >= 1 else too_few(fpir, count, "photos of strangers"),
            )
            for fpir in FPIRS
        ]

    def curves(self, name: str) -> list[Curve]:
        """Return the lines of the plots."""
        fpir, tpir = tpir_curve(self.ranked, self.best, rank=1)
        roc = [] if self.crossed.empty else [Curve(name, "roc", *self.crossed.roc())]
        return [
            *roc,
            *([Curve(name, "open-set", fpir, tpir)] if fpir.size else []),
            *cmc_curve(name, self.ranked.ranks),
            *identification_scores(name, self.ranked),
            *discarded_probes(name, self.ranked.ranks != 1, {NORM: norms(self.mated.vectors, len(self.mated.lost))}),
        ]

    def mistakes(self, prefix: str) -> list[Mistake]:
        """Return the worst mistakes; for a template stands the photo of that person that is most like the probe."""

        def likest(probes: EmbeddedPart, row: int, template: int) -> Picture:
            return most_similar_picture(self.gallery, self.names[template], probes.vectors[row])

        strange, mated = self.strange, self.mated
        return [
            *worst_false_alarms(
                self.best, self.best_rows, lambda row: strange.pictures[row], lambda row, one: likest(strange, row, one)
            ),
            *worst_identifications(
                prefix, self.ranked, lambda row: mated.pictures[row], lambda row, one: likest(mated, row, one)
            ),
        ]


def _tpir_name(fpir: float) -> str:
    return f"TPIR at FPIR {100 * fpir:g} %"
