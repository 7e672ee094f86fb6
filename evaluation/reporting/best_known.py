"""The best published figures we know, each beside the way it was measured; shares, with the method that reached them.

A figure stands only beside figures whose faces were aligned in the same way, and that were measured on the whole
protocol. Without fine-tuning on the data set unless the source says so. Where each comes from: docs/protocols.md.
"""

from dataclasses import dataclass

from evaluation.metrics.figures import Outcome
from evaluation.protocols import scface, survface, survface_openset, tinyface


@dataclass(frozen=True)
class Best:
    """One figure, the method that reached it, and whether on faces aligned by five points or on whole pictures."""

    value: float
    source: str
    aligned: bool


_QGFACE = "QGFace, without fine-tuning, all 130 subjects"
_RERUN = "Lai and Lam, the authors' rerun"
_BTNET = "BTNet, fine-tuned on QMUL-SurvFace, whole pictures"
_KP_RPE = "KP-RPE ViT, pictures aligned to 112 x 112 by five points"

BEST_KNOWN = {
    survface.PROTOCOL: {
        "TAR at FAR 30 %": Best(0.7756, _RERUN, aligned=False),
        "TAR at FAR 10 %": Best(0.5637, _RERUN, aligned=False),
        "TAR at FAR 1 %": Best(0.2871, _RERUN, aligned=False),
        "TAR at FAR 0.1 %": Best(0.1188, _RERUN, aligned=False),
        "AUC": Best(0.8217, _RERUN, aligned=False),
    },
    survface_openset.PROTOCOL: {
        "TPIR20 at FPIR 30 %": Best(0.312, _BTNET, aligned=False),
        "TPIR20 at FPIR 20 %": Best(0.269, _BTNET, aligned=False),
        "TPIR20 at FPIR 10 %": Best(0.206, _BTNET, aligned=False),
        "TPIR20 at FPIR 1 %": Best(0.025, _BTNET, aligned=False),
        "area under TPIR20 over FPIR": Best(0.354, _BTNET, aligned=False),
    },
    scface.PROTOCOL: {
        "d1 (4.2 m): rank-1": Best(0.9231, _QGFACE, aligned=True),
        "d2 (2.6 m): rank-1": Best(0.9954, _QGFACE, aligned=True),
        "d3 (1.0 m): rank-1": Best(1.0, _QGFACE, aligned=True),
    },
    tinyface.PROTOCOL: {"rank-1": Best(0.761, _KP_RPE, aligned=True), "rank-5": Best(0.7892, _KP_RPE, aligned=True)},
}
"""By protocol and figure."""


def best_known(protocol: str, figure: str, outcome: Outcome) -> Best | None:
    """Return the best published value of a figure that was measured as an outcome was, or None."""
    if not outcome.as_published:
        return None
    best = BEST_KNOWN.get(protocol, {}).get(figure)
    return best if best and best.aligned == (outcome.alignment.kind != "whole") else None
