"""Settings of the second-order degradation that imitates surveillance cameras.

A degraded view passes, each step with a probability of its own: light (brightness, contrast) and grey; blur,
resizing to the camera's resolution, sensor noise, JPEG; and once more blur, reduction to the view, noise, JPEG.
This is the order of the second-order models of blind super-resolution (Wang et al., "Real-ESRGAN", 2021, section
3.1; Zhang et al., "Designing a practical degradation model", 2021, section 3), where a picture is blurred,
resized, made noisy and compressed once when it is taken and once more when it is stored or sent on.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from shards.command import UserError

Reduction = Literal["bicubic", "linear", "lanczos", "gaussian", "nearest"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
LONGEST_BLUR = 21.0
"""Pixels: the longest motion, and six times the largest standard deviation."""

Span = tuple[float, float]


def _check_probability(name: str, value: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= value <= 1:
        raise UserError(f"{name} {value} of a degradation; give a value from 0 to 1")


def _check_span(name: str, span: Span, least: float, most: float) -> None:
    """Refuse a span that is not two ordered numbers within least..most."""
    if len(span) != 2 or not least <= span[0] <= span[1] <= most:
        raise UserError(f"{name} {span} of a degradation; give two values, the smaller first, from {least} to {most}")


@dataclass(frozen=True)
class Round:
    """One round of blur, noise and JPEG; the resizing between blur and noise belongs to `Degradation`.

    Attributes:
        blur: probability 0..1 of a blur.
        motion: share 0..1 of the blurs that are of motion along a line; the others are Gaussian.
        anisotropic: share 0..1 of the Gaussian blurs with two different standard deviations at any angle.
        sigma: smallest and largest standard deviation of a Gaussian blur, 0.1..3.5 pixels of the picture that is
            blurred.
        length: smallest and largest length of a motion, 1..21 pixels of the picture that is blurred.
        noise: probability 0..1 of sensor noise.
        read_noise: smallest and largest standard deviation of its Gaussian part, 0..100 levels of 255.
        shot_noise: smallest and largest gain of its shot part, 0..10: the variance is the gain times the level.
        jpeg: probability 0..1 of a JPEG compression.
        quality: lowest and highest JPEG quality, 1..100.
    """

    blur: float = 0.5
    motion: float = 0.25
    anisotropic: float = 0.5
    sigma: Span = (0.3, 1.5)
    length: Span = (2.0, 7.0)
    noise: float = 0.5
    read_noise: Span = (0.0, 6.0)
    shot_noise: Span = (0.0, 0.5)
    jpeg: float = 0.5
    quality: tuple[int, int] = (40, 95)

    def __post_init__(self) -> None:
        for name in ("blur", "motion", "anisotropic", "noise", "jpeg"):
            _check_probability(name, getattr(self, name))
        _check_span("sigma", self.sigma, 0.1, LONGEST_BLUR / 6)
        _check_span("length", self.length, 1, LONGEST_BLUR)
        _check_span("read_noise", self.read_noise, 0, 100)
        _check_span("shot_noise", self.shot_noise, 0, 10)
        _check_span("quality", self.quality, 1, 100)


FIRST_ROUND = Round(sigma=(0.5, 3.0), length=(3.0, 15.0))
SECOND_ROUND = Round(
    blur=0.3, sigma=(0.3, 0.9), length=(1.5, 3.0), noise=0.3, read_noise=(0.0, 3.0), shot_noise=(0.0, 0.2)
)


@dataclass(frozen=True)
class Degradation:
    """How views are degraded; off unless `probability` is above 0.

    Attributes:
        probability: 0..1, of a view to be degraded at all; the others stay what they are without degradation, bit
            by bit.
        full_view: degrade the views of the stored size too; they are not resized.
        light: probability 0..1 of a change of brightness and contrast.
        brightness: smallest and largest factor of the levels, 0.1..3.
        contrast: smallest and largest factor of the distance to the middle level, 0.1..3.
        grey: probability 0..1 of a grey picture (luma of ITU-R BT.601).
        first: round on the face as stored, before the camera's resolution is taken.
        camera: smallest and largest resolution of the camera, 1..128 times the side of the view and at most the
            stored size, at which nothing is resized; 128 and 128 leave the camera out.
        second: round whose blur comes before the reduction to the view, its noise and JPEG after it.
        reductions: kernels of which one is drawn for each resizing: bicubic, linear, lanczos, gaussian, nearest;
            all but nearest are widened by the factor of reduction.
    """

    probability: float = 0.0
    full_view: bool = False
    light: float = 0.5
    brightness: Span = (0.6, 1.3)
    contrast: Span = (0.6, 1.2)
    grey: float = 0.2
    first: Round = FIRST_ROUND
    camera: Span = (1.5, 4.0)
    second: Round = SECOND_ROUND
    reductions: tuple[Reduction, ...] = ("bicubic", "linear", "lanczos", "gaussian")

    def __post_init__(self) -> None:
        for name in ("probability", "light", "grey"):
            _check_probability(name, getattr(self, name))
        _check_span("brightness", self.brightness, 0.1, 3)
        _check_span("contrast", self.contrast, 0.1, 3)
        _check_span("camera", self.camera, 1, 128)
        unknown = [name for name in self.reductions if name not in REDUCTIONS]
        if unknown or not self.reductions:
            raise UserError(f"reductions {self.reductions} of a degradation; name some of {', '.join(REDUCTIONS)}")

    def degrades(self, side: int, stored: int) -> bool:
        """Return whether a view of `side` pixels of a face stored at `stored` pixels may be degraded."""
        return self.probability > 0 and (self.full_view or side < stored)
