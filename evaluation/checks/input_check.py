"""Whether a model takes its pictures as they are given to it: the usual other forms, tried on a few hundred pairs.

A mirror image, the other order of colours or another scale costs a recogniser accuracy, and nothing else shows it.
From the form that the model's file tells, one change at a time is tried, then further changes from the best so far.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.checks.evaluated_pictures import EvaluatedPicture, evaluated_pictures
from evaluation.metrics.identification import pair_cosines
from evaluation.metrics.verification import auc, best_decisions
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.options import open_embedder
from evaluation.models.pictures import Picture
from evaluation.protocols import bin_pairs
from evaluation.protocols.selection import Run
from shards.command import UserError
from shards.format import COLOURS, Preprocessing

PAIRS = 300
"""Most pairs of one person, and of two people, that are tried."""
SCALES = ((127.5, 127.5), (127.5, 128.0), (0.0, 255.0), (0.0, 1.0))
"""Mean and deviation of the levels that networks are usually trained with."""
_SURE = 2.0
_FEWEST = 10


@dataclass(frozen=True)
class Form:
    """A way to give pictures to a model.

    Attributes:
        mirrored: left and right change places.
        colour: "RGB" or "BGR".
        mean, deviation: a level x, 0..255, goes in as (x - mean) / deviation.
    """

    mirrored: bool
    colour: str
    mean: float
    deviation: float

    @staticmethod
    def of(form: Preprocessing) -> "Form":
        """Return the form that a model's file tells."""
        return Form(False, form.colour, form.mean, form.deviation)

    def __str__(self) -> str:
        mirrored = ", mirrored" if self.mirrored else ""
        return f"{self.colour}, (x - {self.mean:g}) / {self.deviation:g}{mirrored}"

    def changed(self) -> Iterator["Form"]:
        """Yield every form that differs from this one in one thing."""
        yield replace(self, mirrored=not self.mirrored)
        yield from (replace(self, colour=colour) for colour in COLOURS if colour != self.colour)
        yield from (replace(self, mean=m, deviation=d) for m, d in SCALES if (m, d) != (self.mean, self.deviation))


@dataclass(frozen=True)
class Tried:
    """What a form gives.

    Attributes:
        form: that was tried.
        auc: 0..1.
        right: (N,) whether each pair is decided rightly at the one best threshold.
    """

    form: Form
    auc: float
    right: NDArray[np.bool_]

    @property
    def accuracy(self) -> float:
        """Share of pairs that are decided rightly."""
        return float(self.right.mean())

    def surely_better(self, other: "Tried") -> bool:
        """Return whether it decides more pairs rightly by two standard errors (of pairs that are decided otherwise)."""
        gained, lost = int((self.right & ~other.right).sum()), int((other.right & ~self.right).sum())
        return gained - lost > _SURE * math.sqrt(gained + lost)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pictures: (N,) each, and whether they show one person."""

    left: list[Picture]
    right: list[Picture]
    same: NDArray[np.bool_]


def check_input(
    name: str, options: Any, device: str, runs: Mapping[str, Run], bins: Sequence[Path] = ()
) -> list[Tried]:
    """Try other forms with a model; the first that is returned is its own, the others in the order tried.

    Args:
        name: of the model's file or code.
        options: of the command, which say how it is opened.
        device: "cpu" or "gpu".
        runs: protocols whose pictures are used.
        bins: pair sets, which tell their pairs themselves.

    Raises:
        UserError: the model cannot be loaded, or too few pictures tell whom they show.
    """

    def model(form: Form | None) -> PictureEmbedder:
        settings = options.clone()
        if form is not None:
            settings.colour, settings.mean, settings.deviation = form.colour, form.mean, form.deviation
        return open_embedder(name, settings, device, beside_others=True, watched=False)[0]

    own = model(None).preprocessing
    pairs = drawn_pairs(runs, bins, own)
    tried: dict[Form, Tried] = {}

    def attempt(form: Form) -> Tried:
        if form not in tried:
            tried[form] = _try(model(form), form, pairs)
        return tried[form]

    best = attempt(Form.of(own))
    while True:
        found = max((attempt(form) for form in best.form.changed()), key=lambda one: (one.accuracy, one.auc))
        if not found.surely_better(best):
            return list(tried.values())
        best = found


def told(name: str, tried: Sequence[Tried]) -> list[str]:
    """Say in lines what was tried with a model, and which form fits best."""
    own = tried[0]
    best = max(tried, key=lambda one: (one.accuracy, one.auc))
    lines = [f"input of {name}, on {len(own.right):,} pairs: accuracy, AUC in per cent"]
    lines += [
        f"  {100 * one.accuracy:6.2f}  {100 * one.auc:6.2f}  {one.form}{' (its own)' if one is own else ''}"
        for one in tried
    ]
    if not best.surely_better(own):
        return [*lines, "  its own form fits; no other does better by more than chance"]
    form, change = best.form, []
    if form.colour != own.form.colour:
        change.append(f"--colour {form.colour}")
    if (form.mean, form.deviation) != (own.form.mean, own.form.deviation):
        change.append(f"--mean {form.mean:g} --deviation {form.deviation:g}")
    if form.mirrored:
        change.append("mirrored pictures (look at the template, or at what mirrored them)")
    return [*lines, f"  best: {form}, surely better than its own: give {' and '.join(change)}"]


def drawn_pairs(runs: Mapping[str, Run], bins: Sequence[Path], form: Preprocessing) -> Pairs:
    """Draw at most `PAIRS` pairs of one person and as many of two, always the same ones.

    Raises:
        UserError: there are too few pictures of which it is known whom they show.
    """
    if bins:
        return _of_bin(bin_pairs.read(bins)[0], form)
    for protocol, run in runs.items():
        pairs = _of_people(evaluated_pictures({protocol: run}, form))
        if min(pairs.same.sum(), (~pairs.same).sum()) >= _FEWEST:
            return pairs
    raise UserError(
        f"--check-input found fewer than {_FEWEST} pairs of one person, or of two, in the data sets given; "
        "give one whose folders name people, such as --orl, --lfw or --gallery and --probes, or --bin"
    )


def _of_people(pictures: Sequence[EvaluatedPicture]) -> Pairs:
    random = np.random.default_rng(0)
    by_person: dict[str, list[Picture]] = {}
    for shown in pictures:
        if shown.person:
            by_person.setdefault(shown.person, []).append(shown.picture)
    people = sorted(by_person)
    for person in people:
        # A few each, so that all people come in.
        own = by_person[person]
        by_person[person] = [own[row] for row in random.permutation(len(own))[:4].tolist()]
    one = [pair for person in people for pair in combinations(by_person[person], 2)]
    two = [
        (by_person[first][0], by_person[second][0])
        for first, second in zip(people, [*people[1:], *people[:1]], strict=True)
        if first != second
    ]
    for step in range(2, min(len(people) // 2, 50)):
        two += [
            (by_person[person][0], by_person[people[(row + step) % len(people)]][-1])
            for row, person in enumerate(people)
        ]
    chosen = [[pairs[row] for row in sorted(random.permutation(len(pairs))[:PAIRS].tolist())] for pairs in (one, two)]
    both = chosen[0] + chosen[1]
    same = np.repeat([True, False], [len(chosen[0]), len(chosen[1])])
    return Pairs([first for first, _ in both], [second for _, second in both], same)


def _of_bin(data: bin_pairs.Data, form: Preprocessing) -> Pairs:
    truths = np.array(data.pairs.same, dtype=bool)
    random = np.random.default_rng(0)
    rows = np.concatenate([random.permutation(np.flatnonzero(truths == truth))[:PAIRS] for truth in (True, False)])
    left, right = ([bin_pairs.picture(data, 2 * row + side, form.size) for row in rows.tolist()] for side in range(2))
    return Pairs(left, right, truths[rows])


def _try(model: PictureEmbedder, form: Form, pairs: Pairs) -> Tried:
    shown = [
        replace(picture, preparation=replace(picture.preparation, mirrored=form.mirrored))
        for picture in (*pairs.left, *pairs.right)
    ]
    embedded = model.embed(shown)
    count = len(pairs.same)
    used = embedded.usable[:count] & embedded.usable[count:]
    scores, same = pair_cosines(embedded.vectors[:count][used], embedded.vectors[count:][used]), pairs.same[used]
    if not same.any() or same.all():
        raise UserError("--check-input: the pictures of the pairs cannot be used; the report names them")
    return Tried(form, auc(scores[same], scores[~same]), best_decisions(scores, same))
