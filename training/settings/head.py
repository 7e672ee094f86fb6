"""The settings of the classification head."""

from dataclasses import dataclass
from typing import Literal

from shards.command import UserError

Initial = Literal["uniform", "unit", "normal"]


@dataclass(frozen=True)
class Head:
    """The classification head.

    Attributes:
        name: am-softmax (also called cosface), arcface, combined, adaface, magface, curricularface, elastic-arcface,
            elastic-cosface, sphereface, normface, softmax, adacos, adacos-fixed, sv-softmax or center-loss; none for a
            run without classification.
        scale: factor of the logits; softmax, center-loss, sphereface and adacos have none or their own.
        margin: cosine (am-softmax, sv-softmax), radians (arcface, curricularface), both (adaface), mean of those drawn
            (elastic-arcface, elastic-cosface), or factor of the angle, a whole number (sphereface, 4 in its paper).
        initial: of the rows of the class matrix: uniform in [-1, 1] (published), unit: the same at length 1 (adaface
            and magface in their authors' code), normal: of deviation 0.01 (arcface_torch, curricularface, elastic).
        annealing: of sphereface: begin near the plain cosine, as its authors do.
        emphasis: of sv-softmax: t, the weight of support vectors, at least 1.
        center_weight: of center-loss: lambda, the weight of the distances to the centres.
        center_rate: of center-loss: alpha, 0..1, the rate at which centres move.
        concentration: of adaface: h, factor of the standardised length of an embedding, 0 for none.
        norm_rate: of adaface: t_alpha, the share of a batch in the averages of the lengths' mean and deviation.
        norm_range: of magface: l_a and u_a, the least and greatest length of an embedding that counts, in units of it.
        margin_range: of magface: l_m and u_m, the margins in radians at those two lengths.
        norm_weight: of magface: lambda_g, the weight of the pull to long embeddings.
        margin_deviation: of elastic-arcface (radians) and elastic-cosface (cosine): standard deviation of the margins.
        elastic_sorted: of both: give the drawn margins out by the cosine with the own class (ElasticFace+).
        m1: of combined: factor of the angle.
        m2: of combined: added to the angle, in radians.
        m3: of combined: taken from the cosine, in units of it.
        filter_above: of combined: cosines with other classes above this, 0..1, count as 0 for a sample; 0 for none.
        straight_gradient: of combined: take the gradient of the angle's margin as 1, as arcface_torch does.
        sharded: divide the class matrix among the processes, for more classes than one device holds; for the heads from
            am-softmax to elastic-cosface and normface. Training is the same to rounding.
        sampling: of a sharded head: share of the negative classes that a step sees, above 0 and up to 1.
    """

    name: str = "am-softmax"
    scale: float = 30.0
    margin: float = 0.35
    initial: Initial = "uniform"
    annealing: bool = True
    emphasis: float = 1.2
    center_weight: float = 0.003
    center_rate: float = 0.5
    concentration: float = 0.333
    norm_rate: float = 0.01
    norm_range: tuple[float, float] = (10.0, 110.0)
    margin_range: tuple[float, float] = (0.45, 0.8)
    norm_weight: float = 35.0
    margin_deviation: float = 0.05
    elastic_sorted: bool = False
    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    filter_above: float = 0.0
    straight_gradient: bool = False
    sharded: bool = False
    sampling: float = 1.0

    def __post_init__(self) -> None:
        if self.sampling != 1 and not self.sharded:
            raise UserError(f"head.sampling {self.sampling} of a head in one piece; add --head.sharded true")
        for name in ("concentration", "norm_weight", "margin_deviation", "m2", "m3"):
            if getattr(self, name) < 0:
                raise UserError(f"head.{name} {getattr(self, name)}; give at least 0")
        if not 0 < self.norm_rate <= 1:
            raise UserError(f"head.norm_rate {self.norm_rate}; give a share above 0 and up to 1")
        if not 0 <= self.filter_above < 1:
            raise UserError(f"head.filter_above {self.filter_above}; give a cosine from 0 (none) to below 1")
        if self.m1 <= 0:
            raise UserError(f"head.m1 {self.m1}; give a factor above 0, 1 for none")
        if not 0 < self.norm_range[0] < self.norm_range[1]:
            raise UserError(f"head.norm_range {self.norm_range}; give two lengths above 0, the smaller first")
        if not 0 <= self.margin_range[0] <= self.margin_range[1]:
            raise UserError(f"head.margin_range {self.margin_range}; give two margins, the smaller first")
