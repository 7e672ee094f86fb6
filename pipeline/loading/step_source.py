"""The source of the DALI graph: draws and reads one rank's photos of step after step."""

import time
from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.affine_draw import draw_affine, moved_points
from pipeline.loading.augmentation_draw import draw_augmentation
from pipeline.loading.dali_graph import DegradedSamples, Samples, degraded_samples
from pipeline.loading.degradation_draw import DegradationDraw, draw_batch
from pipeline.pixels.face_points import mirrored_points
from pipeline.reading.photo_reader import ChosenPhotos, PhotoReader
from pipeline.sampling.sampler import Draw, Sampler
from pipeline.sampling.views import Views
from shards.command import UserError

# Steps whose photos are fetched ahead where there is memory for them, and how many more at each step.
_MOST_STEPS_AHEAD, _FEWEST_STEPS_AHEAD, _MORE_STEPS = 32, 4, 4
# Photos are asked for so many times as early as the slowest came lately.
_TIMES_LATENCY = 4


@dataclass(frozen=True)
class Step:
    """A step whose photos were handed to the graph.

    Attributes:
        number: of the step.
        draw: this rank's part.
        chosen: the photos really used.
        decoded: (N,) int64, the photos handed to the decoder.
        places: (B, V) int64, where among them each view's photo stands; -1 where the view is stored.
        exact: (N,) bool, the photos whose views the graph leaves to an exact reduction; None where it degrades none.
        affine: (N, 2, 3), where the faces of the photos go, of `draw_affine`; None where none is moved.
    """

    number: int
    draw: Draw
    chosen: ChosenPhotos
    decoded: NDArray[np.int64]
    places: NDArray[np.int64]
    exact: NDArray[np.bool_] | None
    affine: NDArray[np.float64] | None = None

    def moved(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the points (B, V, 5, 2) of each view where its face has gone, mirrored as it is."""
        if self.affine is not None:
            points = moved_points(points, self.affine[self.places])
        return np.where(self.draw.mirrored[..., None, None], mirrored_points(points), points)


class StepSource:
    """Hands the photos of one step after another to the graph, and keeps each step until it has been decoded.

    Args:
        sampler: draws the steps.
        reader: reads the photos, and replaces damaged ones.
        size: side of a face in pixels.
        rank: of this process.
        world: number of processes.
        first_step: the first to hand over.

    Attributes:
        pending: steps that were handed over and not yet decoded, the oldest first.
        failure: the user's mistake that ended the reading, which DALI would wrap in a message of its own.
        largest_degraded: largest side in pixels of a view that may be degraded, 0 where none is.
        augmented_size: side in pixels of the faces that may be augmented, 0 where none is.
    """

    def __init__(
        self, sampler: Sampler, reader: PhotoReader, *, size: int, rank: int, world: int, first_step: int
    ) -> None:
        self._sampler, self._reader, self._size = sampler, reader, size
        self._rank, self._world, self._next_step = rank, world, first_step
        self.pending: deque[Step] = deque()
        self._ahead: deque[Draw] = deque()
        # When the last step was handed over, and how long the graph takes from one to the next.
        self._handed_over_at, self._step_s = time.monotonic(), 0.0
        self.failure: UserError | None = None
        self.largest_degraded = largest_degraded_side(sampler.views, size)
        self.augmented_size = size if sampler.views.augmentation.is_on else 0
        # Degraded views differ even where they show one photo.
        one_photo = len(sampler.photo_groups) == 1 and sampler.crops is None
        self._one_face = one_photo and not sampler.views.degradation.probability

    def most_photos(self) -> int:
        """Return the most photos that a step hands to the decoder."""
        faces = 1 if self._one_face else len(self._sampler.views.sizes)
        return self._sampler.global_batch // self._world * faces

    def next_samples(self) -> Samples | DegradedSamples:
        """Draw and read the next step.

        Raises:
            UserError: an identity has no usable photo left, or too many photos are damaged.
        """
        number = self._next_step
        self._step_s = (self._step_s + time.monotonic() - self._handed_over_at) / 2
        try:
            self._fetch_ahead(number)
            draw = self._ahead.popleft() if self._ahead else self._draw(number)
            chosen = self._reader.choose(draw, number)
            decoded, places = photos_to_decode(chosen, self._one_face)
        except UserError as failure:
            self.failure = failure
            raise
        encoded = [chosen.faces[photo] for photo in decoded.tolist()]
        degraded = self._draw_degradation(draw, chosen, number)
        augmentation, where = self._sampler.views.augmentation, self._place(draw, number)
        affine = draw_affine(augmentation, **where) if augmentation.affine else None
        exact = degraded.exact if degraded else None
        self.pending.append(Step(number, draw, chosen, decoded, places, exact, affine))
        self._next_step += 1
        self._handed_over_at = time.monotonic()
        samples = degraded_samples(encoded, degraded) if degraded else (encoded,)
        if self.augmented_size:
            changes = draw_augmentation(augmentation, size=self._size, affine=affine, **where)
            return samples[0], changes, *samples[1:]
        return samples if degraded else encoded

    def rewind(self) -> None:
        """Begin anew with the oldest step that is pending."""
        self._next_step = self.pending[0].number
        self.pending.clear()
        self._ahead.clear()

    def _draw(self, step: int) -> Draw:
        return self._sampler.draw(step, self._rank, self._world)

    def _fetch_ahead(self, step: int) -> None:
        """Begin to fetch the photos of a step and of those after it, as far as the reader has room."""
        if not self._reader.fetches_ahead:
            return
        needed = steps_ahead(self._reader.latency_s, self._step_s)
        for _ in range(min(_MORE_STEPS, needed - len(self._ahead))):
            draw = self._draw(step + len(self._ahead))
            if not self._reader.fetch_ahead(draw):
                break
            self._ahead.append(draw)

    def _draw_degradation(self, draw: Draw, chosen: ChosenPhotos, step: int) -> DegradationDraw | None:
        """Draw how each decoded photo is degraded, view by view; None where none is."""
        degradation = self._sampler.views.degradation
        if not degradation.probability:
            return None
        return draw_batch(
            degradation,
            chosen.sides,
            stored=self._size,
            seed=self._sampler.seed,
            step=step,
            first_row=draw.first_row,
            global_batch=self._sampler.global_batch,
        )

    def _place(self, draw: Draw, step: int) -> dict[str, Any]:
        """Return what the draws for the decoded photos of a step depend on, beside the settings."""
        group_of = {view: number for number, group in enumerate(self._sampler.photo_groups) for view in group}
        return {
            "groups": [0] if self._one_face else [group_of[view] for view in range(len(group_of))],
            "seed": self._sampler.seed,
            "step": step,
            "first_row": draw.first_row,
            "rows": len(draw.identities),
            "global_batch": self._sampler.global_batch,
        }


def steps_ahead(latency_s: float, step_s: float) -> int:
    """Return how many steps ahead photos should be asked for.

    Args:
        latency_s: seconds that the slowest photos took lately.
        step_s: seconds that others take for a step, without the wait for its photos.

    >>> steps_ahead(0.05, 0.1), steps_ahead(0.5, 0.1), steps_ahead(30.0, 0.1)
    (6, 24, 32)
    """
    if _TIMES_LATENCY * latency_s >= _MOST_STEPS_AHEAD * step_s:
        return _MOST_STEPS_AHEAD
    return min(_MOST_STEPS_AHEAD, _FEWEST_STEPS_AHEAD + ceil(_TIMES_LATENCY * latency_s / step_s))


def largest_degraded_side(views: Views, size: int) -> int:
    """Return the largest side of a view that may be degraded, of faces of a size in pixels; 0 where none is."""
    if not views.degradation.probability:
        return 0
    return max([most for least, most in views.ranges if views.degradation.degrades(least, size)], default=1)


def photos_to_decode(chosen: ChosenPhotos, one_photo: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the photos (N,) to decode, and where among them each view's stands: (B, V), -1 where it is stored."""
    if one_photo:
        # The first view is never stored.
        places = np.broadcast_to(np.arange(len(chosen.photos))[:, None], chosen.photos.shape)
        return chosen.photos[:, 0], np.where(chosen.stored, -1, places)
    places = np.full(chosen.photos.shape, -1)
    # View by view, so that the faces of a view lie side by side.
    needed = ~chosen.stored.T
    places.T[needed] = np.arange(needed.sum())
    return chosen.photos.T[needed], places
