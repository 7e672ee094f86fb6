"""Named runs. Each says what it reaches, where that is known, and on what machine."""

from dataclasses import replace

from pipeline.sampling.augmentation import Augmentation
from pipeline.sampling.degradation import Degradation
from pipeline.sampling.views import Views
from shards.command import UserError
from training.settings.config import Config, Distillation, Head, Losses, Model, Optimizer

PAPER = Config()
"""Exactly the published method (Lai and Lam, 2021), for VGGFace2 shards at 128 x 128.

The authors report SCface rank-1 79.7 / 95.7 / 98.2 % at d1 / d2 / d3 and LFW 94.8 % with the second photo
at 8 x 8. This implementation has not yet been run on VGGFace2.
"""

QUICKSTART = replace(
    PAPER,
    model=Model(backbone="spherenet4"),
    size=64,
    views=Views(sizes=(64, 8, 12, 16)),
    optimizer=Optimizer(learning_rate=0.05, milestones=(180, 260)),
    batch=24,
    steps=300,
    log_every=10,
    checkpoint_every=60,
)
"""A small network on the 25 training people of ORL, for two CPU cores."""

TINY = replace(
    QUICKSTART,
    size=32,
    views=Views(sizes=(32, 8, 12, 16)),
    optimizer=Optimizer(learning_rate=0.02, milestones=(20,)),
    batch=8,
    steps=30,
    log_every=1,
    checkpoint_every=10,
)
"""Thirty steps of seconds, for the tests."""

SURVEILLANCE = replace(
    PAPER,
    views=Views(sizes=(128, "8..12", "12..20", "16..32"), degradation=Degradation(probability=0.8)),
)
"""The published method for pictures of real cameras: low-resolution views of any side from 8 to 32 pixels, four of
five of them degraded by light, blur, noise and compression (`pipeline.sampling.degradation`).

This implementation has not yet been run on VGGFace2; no figure is claimed.
"""

SURVFACE = replace(
    PAPER,
    optimizer=Optimizer(learning_rate=0.01, milestones=(6_000, 9_000), backbone_rate=0.1, frozen_steps=500),
    steps=10_000,
    checkpoint_every=1_000,
)
"""Fine-tuning on the training set of QMUL-SurvFace, alone or mixed with VGGFace2; with --init-from a checkpoint.

The new head is trained alone first, then the backbone with a tenth of its rate. Pictures smaller than a view stay at
their own size. Not yet run on the real set; no figure is claimed.
"""

TINYFACE = replace(SURVFACE, optimizer=replace(SURVFACE.optimizer, milestones=(3_000, 4_500)), steps=5_000)
"""Fine-tuning on the training set of TinyFace, as `survface`, half as long for half the identities.

Not yet run on the real set; no figure is claimed.
"""

SCFACE50 = replace(
    SURVFACE,
    optimizer=replace(SURVFACE.optimizer, learning_rate=0.005, milestones=(1_000, 1_500), frozen_steps=200),
    batch=48,
    steps=2_000,
    checkpoint_every=500,
)
"""Fine-tuning on subjects 1 to 50 of SCface, to be tested on the other 80; a batch holds nearly all of them.

Not yet run on the real set; no figure is claimed.
"""

ADAPT_FRESH = replace(
    PAPER,
    size=112,
    views=Views(sizes=(112, 112, "8..24", "8..24"), photos="paired"),
    head=Head(name="none"),
    losses=Losses(triplet_weight=1.0, triplet_margin=0.3, triplets="octuplet"),
    distillation=Distillation(full=0.1),
    optimizer=Optimizer(
        name="adamw", learning_rate=2e-4, weight_decay=0.0, milestones=(120,), warmup_steps=20, frozen_statistics=True
    ),
    batch=12,
    steps=160,
    log_every=10,
    checkpoint_every=40,
)
"""Adaptation of a trained recogniser (--teacher) to small faces, for galleries that are enrolled again.

Two photos of each identity, each in full and reduced; the octuplet loss among them, and a weak loss that holds the full
views to the teacher's, so that the network keeps what it could do in full. With ten times its weight fewer faces of 8
pixels are found. The values are those of trials on ORL (docs/adapt-trials.md).
"""

ADAPT_COMPATIBLE = replace(
    ADAPT_FRESH,
    distillation=Distillation(full=1.0, full_triplet=1.0, reduced_triplet=4.0),
    trained_share=0.7,
)
"""As `ADAPT_FRESH`, for galleries that stay enrolled with the teacher.

Full views are held to the teacher's more strongly, triplets hold full and reduced views to its embeddings, and final.pt
lies between the weights before and after: on a fold of ORL 0.7 of those after found more small faces than 0.5 with
either gallery, and lost less with the old one than all of them.
"""

ADAFACE = Config(
    model=Model(backbone="adaface-ir101"),
    size=112,
    views=Views(sizes=(112,), augmentation=Augmentation(crop=0.2, low_resolution=0.2, photometric=0.2)),
    sampling="photo",
    head=Head(name="adaface", scale=64.0, margin=0.4, concentration=0.333, norm_rate=0.01, initial="unit"),
    losses=Losses(triplet_weight=0.0),
    optimizer=Optimizer(learning_rate=0.1, milestones=(), milestone_epochs=(12, 20, 24), undecayed="norms"),
    batch=512,
    steps=0,
    epochs=26,
    precision="bfloat16",
)
"""AdaFace as its authors train it on MS1MV2 (Kim et al., 2022, and their script), for shards of 112 x 112, centred.

One view in full of each photo, 26 epochs. Where theirs draws photos, here a batch holds no identity twice; RGB, where
theirs is BGR. Not yet run on a real set; no figure is claimed.
"""

ARCFACE = replace(
    ADAFACE,
    model=Model(backbone="iresnet50"),
    views=Views(sizes=(112,)),
    head=Head(
        name="combined", scale=64.0, m1=1.0, m2=0.5, m3=0.0, straight_gradient=True, initial="normal", sharded=True
    ),
    optimizer=Optimizer(
        learning_rate=0.1, schedule="polynomial", power=1.0, milestones=(), largest_norm=5.0, clipped="backbone"
    ),
    batch=1024,
    epochs=20,
)
"""ArcFace as arcface_torch trains its r50 on MS1MV3 (8 processes of 128), for shards of 112 x 112, centred.

The class matrix is divided among the processes; `--head.sampling 0.1` makes it Partial FC. A batch holds no identity
twice. Not yet run on a real set; no figure is claimed.
"""

VIT = replace(
    ARCFACE,
    model=Model(backbone="vit_b", dropped_paths=0.05, masked_patches=0.05),
    head=replace(ARCFACE.head, m2=0.0, m3=0.4, sampling=0.3),
    optimizer=Optimizer(
        name="adamw",
        learning_rate=1e-3,
        weight_decay=0.1,
        schedule="polynomial",
        power=1.0,
        milestones=(),
        warmup_epochs=4.0,
        largest_norm=5.0,
        clipped="backbone",
    ),
    batch=24_576,
    epochs=40,
    precision="bfloat16",
)
"""ViT-B as arcface_torch trains it on WebFace42M (64 processes of 384), for shards of 112 x 112, centred.

AdamW, a margin on the cosine, Partial FC at 0.3, dropped paths and masked patches. A batch holds no identity twice. Not
yet run on a real set; no figure is claimed.
"""

KPRPE = Config(
    model=Model(backbone="vit_kprpe_base", dropped_paths=0.1),
    size=112,
    views=Views(sizes=(112,), augmentation=Augmentation(affine=1.0)),
    sampling="photo",
    head=ADAFACE.head,
    losses=Losses(triplet_weight=0.0),
    optimizer=Optimizer(
        learning_rate=0.1,
        milestones=(),
        milestone_epochs=(12, 20, 24),
        warmup_epochs=1.0,
        undecayed="norms-and-biases",
        largest_norm=5.0,
        clipped="backbone",
    ),
    batch=1792,
    steps=0,
    epochs=26,
)
"""ViT-B with KP-RPE as CVLface trains it on WebFace4M (Kim et al., 2024; its example script, 7 processes of 256), for
shards of 112 x 112, centred, that hold the five points.

AdaFace's head and CVLface's affine augmentation; its cut-outs, blur and changes of light and its tenth of repeated
photos are left out. A batch holds no identity twice. Not yet run on a real set; no figure is claimed.
"""

MODERN = replace(
    ADAFACE,
    views=Views(sizes=(112, "8..12", "12..20", "16..32"), augmentation=Augmentation(0.2, 0.2, 0.2)),
    sampling="identity",
    losses=Losses(triplet_weight=1.0),
    batch=128,
    epochs=0,
    steps=100_000,
    optimizer=replace(ADAFACE.optimizer, milestone_epochs=(), milestones=(40_000, 60_000, 80_000)),
)
"""The published four views and triplets with AdaFace's network, head and augmentation, for centred 112 x 112 shards.

Chosen by its parts, each of which its authors measured; the whole is not yet run on a real set, no figure is claimed.
"""

MODES = {"fresh": ADAPT_FRESH, "compatible": ADAPT_COMPATIBLE}
"""The recipe `adapt` by what becomes of the gallery."""

RECIPES = {
    "paper": PAPER,
    "quickstart": QUICKSTART,
    "tiny": TINY,
    "surveillance": SURVEILLANCE,
    "survface": SURVFACE,
    "tinyface": TINYFACE,
    "scface50": SCFACE50,
    "adapt": ADAPT_COMPATIBLE,
    "adaface": ADAFACE,
    "arcface": ARCFACE,
    "vit": VIT,
    "kprpe": KPRPE,
    "modern": MODERN,
}


def recipe(name: str, mode: str | None = None) -> Config:
    """Return a named run.

    Args:
        name: of the recipe.
        mode: of the recipe adapt, fresh or compatible; None for its default and for other recipes.

    Raises:
        UserError: unknown name, or a mode that the recipe does not have; lists the valid ones.
    """
    if mode is not None:
        if name != "adapt" or mode not in MODES:
            raise UserError(f"no mode {mode!r} of recipe {name!r}; --recipe adapt has --mode {' or '.join(MODES)}")
        return MODES[mode]
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
