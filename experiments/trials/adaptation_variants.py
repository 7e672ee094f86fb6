"""Ways to adapt a recogniser to small faces: the recipe's two modes, what each of their parts does, and baselines."""

from collections.abc import Callable
from dataclasses import replace

from experiments.trials.variants import Variant
from training.settings.config import Config, Distillation, Head, Losses
from training.settings.recipes import ADAPT_COMPATIBLE, ADAPT_FRESH


def _of(recipe: Config) -> Callable[[Config], Config]:
    """Return what makes a run of a recipe: its losses and optimiser, with the network, views and length of the base."""

    def change(base: Config) -> Config:
        milestones = tuple(step * base.steps // recipe.steps for step in recipe.optimizer.milestones)
        return replace(
            base,
            losses=recipe.losses,
            head=recipe.head,
            distillation=recipe.distillation,
            optimizer=replace(recipe.optimizer, milestones=milestones),
            trained_share=recipe.trained_share,
        )

    return change


_OCTUPLET = replace(ADAPT_FRESH, distillation=Distillation())
_DISTILLATION = replace(
    ADAPT_FRESH, losses=Losses(triplet_weight=0.0), distillation=Distillation(full=1.0, reduced=1.0)
)
_FINE_TUNING = replace(
    ADAPT_FRESH,
    losses=Losses(triplet_weight=0.0),
    distillation=Distillation(),
    head=Head(name="arcface", scale=32.0, margin=0.3),
)
_LORA = replace(_OCTUPLET, optimizer=replace(ADAPT_FRESH.optimizer, name="lora", rank=8, learning_rate=2e-3))
_MOVING = replace(ADAPT_FRESH, optimizer=replace(ADAPT_FRESH.optimizer, frozen_statistics=False))
_WITHOUT_ANCHOR = replace(
    ADAPT_COMPATIBLE,
    distillation=replace(ADAPT_COMPATIBLE.distillation, full_triplet=0.0, reduced_triplet=0.0),
)

ADAPTATIONS = (
    Variant("before", "(a) before", lambda base: base, trained=False),
    Variant("fresh", "(b) fresh", _of(ADAPT_FRESH)),
    Variant("compatible", "(c) compatible", _of(ADAPT_COMPATIBLE)),
    Variant("octuplet", "(d) octuplet loss alone", _of(_OCTUPLET)),
    Variant("distillation", "(e) distillation alone", _of(_DISTILLATION)),
    Variant("fine-tuning", "(f) fine-tuning with a margin head", _of(_FINE_TUNING)),
    Variant("moving", "(g) fresh, moving statistics", _of(_MOVING)),
    Variant("end", "(h) compatible, weights of the end", _of(replace(ADAPT_COMPATIBLE, trained_share=1.0))),
    Variant("no-anchor", "(i) compatible, no triplets among the teacher's", _of(_WITHOUT_ANCHOR)),
    Variant("lora", "(j) octuplet loss, LoRA of rank 8", _of(_LORA)),
)
"""All at equal cost: the same views, batches, steps, rates and beginning."""

ADAPTATION_CONTRASTS = (
    ("fresh", "before"),
    ("compatible", "before"),
    ("fresh", "octuplet"),
    ("fresh", "distillation"),
    ("fresh", "fine-tuning"),
    ("fresh", "lora"),
    ("fresh", "moving"),
    ("compatible", "end"),
    ("compatible", "no-anchor"),
)
