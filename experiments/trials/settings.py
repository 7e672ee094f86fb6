"""How large an ablation is: a named choice of people, folds, seeds and steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shards.command import UserError
from training.settings.config import Config, Model, Optimizer


@dataclass(frozen=True)
class Part:
    """The trials on one population.

    Attributes:
        name: in file names and on the command line.
        title: in tables.
        config: of every run, but for what makes a variant.
        folds: number of folds; everyone is tested once a seed.
        identities: number of rendered people; 0 for the 40 people of ORL.
        photos: of each rendered person.
        trained: number of people trained on in each fold; 0 for all who are not tested.
        teacher: file of the recogniser that is adapted, None where a network is trained from nothing.
        template: where the faces' landmarks go.
    """

    name: str
    title: str
    config: Config
    folds: int
    identities: int = 0
    photos: int = 0
    trained: int = 0
    teacher: Path | None = None
    template: str = "paper"


@dataclass(frozen=True)
class Ablation:
    """A whole ablation.

    Attributes:
        parts: its populations.
        seeds: number of seeds of every trial.
        sizes: sides in pixels of reduced probes; full size is always added.
    """

    parts: tuple[Part, ...]
    seeds: int
    sizes: tuple[int, ...] = (8, 12, 16, 20)


def _schedule(steps: int) -> Optimizer:
    """Return the quickstart's schedule over another number of steps.

    The rate is the better of 0.1 and 0.3 for cross entropy and for the full method alike, on one fold and with a seed
    that no table uses.
    """
    return Optimizer(learning_rate=0.3, milestones=(steps * 60 // 100, steps * 85 // 100))


_RUN = Config(
    model=Model(backbone="experiments.trials.small_net:small_net", embedding_size=128),
    size=32,
    log_every=50,
    checkpoint_every=1_000,
    keep_checkpoints=1,
)

_FEW = replace(_RUN, batch=15, steps=250, optimizer=_schedule(250))
_MANY = replace(_RUN, batch=24, steps=300, optimizer=_schedule(300))

HOUR = Ablation(
    (
        Part("orl", "ORL faces", _FEW, folds=4),
        Part("rendered", "Rendered people", _MANY, folds=2, identities=500, photos=8),
        # As many to train on as ORL has, with ORL's settings: tells the effect of number from that of looks.
        Part("few", "Few rendered people", _FEW, folds=2, identities=60, photos=10),
    ),
    seeds=3,
)
"""An hour on two CPU cores."""

_SECONDS = replace(_RUN, steps=2, batch=4, log_every=1, checkpoint_every=2)

TINY = Ablation(
    (
        Part("orl", "ORL faces", _SECONDS, folds=2),
        Part("rendered", "Rendered people", _SECONDS, folds=2, identities=8, photos=4),
        Part("few", "Few rendered people", _SECONDS, folds=2, identities=8, photos=4),
    ),
    seeds=1,
    sizes=(8,),
)
"""Two steps a trial: shows that everything fits together, and nothing else."""

SIZES = {"hour": HOUR, "tiny": TINY}


def ablation_of_size(name: str, seeds: int | None = None, parts: Sequence[str] | None = None) -> Ablation:
    """Return an ablation by the name of its size.

    Args:
        name: in `SIZES`.
        seeds: number of seeds, None for the size's own.
        parts: names of the parts, None for all.

    Raises:
        UserError: an unknown name; lists the valid ones. Fewer than one seed.
    """
    if name not in SIZES:
        raise UserError(f"no size {name!r}; choose one of {', '.join(SIZES)}")
    if seeds is not None and seeds < 1:
        raise UserError(f"{seeds} seeds; give at least 1")
    whole = SIZES[name]
    known = [part.name for part in whole.parts]
    if unknown := next((part for part in parts or () if part not in known), None):
        raise UserError(f"no people {unknown!r}; choose from {', '.join(known)}")
    wanted = tuple(part for part in whole.parts if parts is None or part.name in parts)
    return replace(whole, parts=wanted, seeds=seeds or whole.seeds)
