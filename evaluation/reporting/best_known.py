"""The best published figures we know, to compare with; shares, with the method that reached them.

Without fine-tuning on the data set unless the source says so.
"""

from dataclasses import dataclass

from evaluation.protocols import scface, survface, survface_openset, tinyface


@dataclass(frozen=True)
class Best:
    """One figure, and the method that reached it."""

    value: float
    source: str


_QGFACE = "QGFace"
_RERUN = "Lai and Lam, the authors' rerun"
_BTNET = "BTNet, fine-tuned on QMUL-SurvFace"
_KP_RPE = "KP-RPE ViT"

BEST_KNOWN = {
    scface.PROTOCOL: {
        "d1 (4.2 m): rank-1": Best(0.9231, _QGFACE),
        "d2 (2.6 m): rank-1": Best(0.9954, _QGFACE),
        "d3 (1.0 m): rank-1": Best(1.0, _QGFACE),
    },
    survface.PROTOCOL: {
        "TAR at FAR 30 %": Best(0.7756, _RERUN),
        "TAR at FAR 10 %": Best(0.5637, _RERUN),
        "TAR at FAR 1 %": Best(0.2871, _RERUN),
        "TAR at FAR 0.1 %": Best(0.1188, _RERUN),
        "AUC": Best(0.8217, _RERUN),
    },
    survface_openset.PROTOCOL: {
        "TPIR20 at FPIR 30 %": Best(0.312, _BTNET),
        "TPIR20 at FPIR 20 %": Best(0.269, _BTNET),
        "TPIR20 at FPIR 10 %": Best(0.206, _BTNET),
        "TPIR20 at FPIR 1 %": Best(0.025, _BTNET),
        "area under TPIR20 over FPIR": Best(0.354, _BTNET),
    },
    tinyface.PROTOCOL: {"rank-1": Best(0.761, _KP_RPE), "rank-5": Best(0.7892, _KP_RPE)},
}
"""By protocol and figure."""


def best_known(protocol: str, figure: str) -> Best | None:
    """Return the best published value of a figure, or None where we know of none."""
    return BEST_KNOWN.get(protocol, {}).get(figure)
