"""How large an ablation is: a named choice of people, folds, seeds and steps."""

from dataclasses import dataclass, replace

from shards.command import UserError
from training.config import Config, Model, Optimizer


@dataclass(frozen=True)
class Part:
    """The trials on one population.

    Attributes:
        config: of every run, but for what makes a variant.
        folds: number of folds; everyone is tested once a seed.
        identities: rendered people; unused for ORL.
        photos: of each rendered person.
    """

    config: Config
    folds: int
    identities: int = 0
    photos: int = 0


@dataclass(frozen=True)
class Ablation:
    """A whole ablation.

    Attributes:
        orl: the trials on ORL.
        rendered: the trials on rendered people.
        seeds: number of seeds of every trial.
        sizes: sides in pixels of reduced probes; full size is always added.
    """

    orl: Part
    rendered: Part
    seeds: int
    sizes: tuple[int, ...] = (8, 12, 16, 20)

    def part(self, population: str) -> Part:
        """Return the trials on a population, "orl" or "rendered"."""
        return {"orl": self.orl, "rendered": self.rendered}[population]


def _schedule(steps: int) -> Optimizer:
    """Return the quickstart's schedule over another number of steps.

    The rate is the better of 0.1 and 0.3 for cross entropy and for the full method alike, on one fold and with a seed
    that no table uses.
    """
    return Optimizer(learning_rate=0.3, milestones=(steps * 60 // 100, steps * 85 // 100))


_RUN = Config(
    model=Model(backbone="experiments.small_net:small_net", embedding_size=128),
    size=32,
    log_every=50,
    checkpoint_every=1_000,
    keep_checkpoints=1,
)

HOUR = Ablation(
    orl=Part(replace(_RUN, batch=15, steps=250, optimizer=_schedule(250)), folds=4),
    rendered=Part(replace(_RUN, batch=24, steps=300, optimizer=_schedule(300)), folds=2, identities=500, photos=8),
    seeds=3,
)
"""An hour on two CPU cores."""

_SECONDS = replace(_RUN, steps=2, batch=4, log_every=1, checkpoint_every=2)

TINY = Ablation(
    orl=Part(_SECONDS, folds=2),
    rendered=Part(_SECONDS, folds=2, identities=8, photos=4),
    seeds=1,
    sizes=(8,),
)
"""Two steps a trial: shows that everything fits together, and nothing else."""

SIZES = {"hour": HOUR, "tiny": TINY}


def sized(name: str, seeds: int | None = None) -> Ablation:
    """Return an ablation by the name of its size.

    Args:
        name: in `SIZES`.
        seeds: number of seeds, None for the size's own.

    Raises:
        UserError: an unknown name; lists the valid ones. Fewer than one seed.
    """
    if name not in SIZES:
        raise UserError(f"no size {name!r}; choose one of {', '.join(SIZES)}")
    if seeds is not None and seeds < 1:
        raise UserError(f"{seeds} seeds; give at least 1")
    return replace(SIZES[name], seeds=seeds or SIZES[name].seeds)
