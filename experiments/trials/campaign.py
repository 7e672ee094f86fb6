"""All trials of an ablation: prepared, dealt to processes, and continued where they were interrupted."""

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.trials.populations import Population, orl_population, rendered_population, test_people
from experiments.trials.settings import Ablation, Part
from experiments.trials.trial import Trial, run_trial
from experiments.trials.variants import Variant, configuration
from pipeline.jobs.executors import local_processes, work_through
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import without_identities
from shards.command import UserError
from shards.json_file import read_object
from shards.writer import write_atomically
from training.settings.config import refuse_changes


@dataclass(frozen=True)
class Result:
    """What a trial found.

    Attributes:
        trial: which it was.
        people: names of the people tested.
        figures: side in pixels -> name of the figure -> 0..1 of each of the people.
        training: step, loss and triplet loss, as they were logged.
    """

    trial: Trial
    people: tuple[str, ...]
    figures: dict[int, dict[str, list[float]]]
    training: list[dict[str, float]]


def prepare(ablation: Ablation, variants: Sequence[Variant], out: Path, workers: int) -> list[Trial]:
    """Render and shard what is not there yet, and list all trials: each population's, a whole seed before the next.

    Args:
        ablation: how many of what.
        variants: to compare.
        out: folder of everything.
        workers: processes.
    """
    trials: list[Trial] = []
    for part in ablation.parts:
        people = _population(part, out, workers)
        of_folds = []
        for fold, tested in enumerate(test_people(people.people, part.folds)):
            chosen, name = set(tested), f"{part.name}-fold{fold}"
            photos = tuple(photo for photo in people.photos if photo[0] in chosen)
            of_folds.append(
                (_shards(people, _unseen(people, tested, part), part, out / "shards" / name, workers), photos)
            )
        trials += [
            Trial(
                part.name,
                variant.name,
                fold,
                seed,
                configuration(variant, part.config, seed),
                shards,
                photos,
                ablation.sizes,
                part.teacher,
                variant.trained,
            )
            for seed in range(ablation.seeds)
            for fold, (shards, photos) in enumerate(of_folds)
            for variant in variants
        ]
    return trials


def run_trials(trials: Sequence[Trial], out: Path, workers: int) -> None:
    """Run the trials that have no result yet, each in a process with one thread.

    Raises:
        UserError: a result there is of other settings, or a trial failed.
    """
    left = [trial for trial in trials if read_result(trial, out) is None]
    start, done = time.monotonic(), 0

    def tell(name: str) -> None:
        nonlocal done
        done += 1
        seconds = time.monotonic() - start
        eta = (len(left) - done) * seconds / done
        print(f"trials: {done}/{len(left)} done, {seconds:,.0f} s, {eta:,.0f} s left: {name}", file=sys.stderr)

    if left:
        print(f"trials: {len(trials) - len(left)} of {len(trials)} were done before", file=sys.stderr)
        with local_processes(workers) as workplace:
            work_through(workplace, run_trial, ((trial, out) for trial in left), tell, kept="finished trials are kept")
    # A trial that was killed between its result and its tidying left its folder.
    shutil.rmtree(out / "runs", ignore_errors=True)


def read_result(trial: Trial, out: Path) -> Result | None:
    """Read a trial's result, None if there is none.

    Raises:
        UserError: the result is damaged, or of other settings.
    """
    path = trial.result_path(out)
    if not path.is_file():
        return None
    try:
        data = read_object(path)
        figures = {int(size): named for size, named in data["figures"].items()}
        result = Result(trial, tuple(data["people"]), figures, data["training"])
        begun = data["config"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no result of this command ({error}); remove it") from error
    _refuse_others(begun, trial, path)
    if set(result.people) != {person for person, _, _ in trial.photos}:
        raise UserError(f"{path} tested other people; name another --out")
    return result


def complete_results(trials: Sequence[Trial], out: Path) -> list[Result]:
    """Read the results of the seeds of which every trial on a population is done.

    Raises:
        UserError: there is no such seed.
    """
    found = [read_result(trial, out) for trial in trials]
    lacking = {(trial.population, trial.seed) for trial, result in zip(trials, found, strict=True) if result is None}
    complete = [
        result for result in found if result is not None and (result.trial.population, result.trial.seed) not in lacking
    ]
    if not complete:
        raise UserError(f"{out} holds no seed of which all trials are done; run the command without --tables-only")
    return complete


def _refuse_others(begun: dict[str, Any], trial: Trial, path: Path) -> None:
    wanted = trial.config.to_dict()
    try:
        refuse_changes(begun, wanted)
        if begun["steps"] != wanted["steps"]:
            raise UserError(f"it has steps {begun['steps']}, now {wanted['steps']} is given")
    except UserError as error:
        raise UserError(f"{path} is of other settings ({error}); name another --out") from error


def _population(part: Part, out: Path, workers: int) -> Population:
    if not part.identities:
        return orl_population()
    folder = out / "people" / part.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    return rendered_population(folder, identities=part.identities, photos=part.photos, seed=0, workers=workers)


def _unseen(people: Population, tested: Sequence[str], part: Part) -> list[str]:
    """Return the people who are not trained on: those tested and, where few are to be trained on, others too."""
    rest = [person for person in people.people if person not in set(tested)]
    return [*tested, *rest[part.trained :]] if part.trained else list(tested)


def _shards(people: Population, unseen: Iterable[str], part: Part, out: Path, workers: int) -> Path:
    """Shard the photos of all people but some, without loss."""
    out.parent.mkdir(parents=True, exist_ok=True)
    listed = out.with_suffix(".unseen.txt")
    write_atomically(listed, "".join(f"{person}\n" for person in unseen).encode())
    settings = Settings(size=part.config.size, codec="png", template=part.template)
    plan = Plan(without_identities(people.source(), listed), settings)
    shard(plan, out, workers=workers)
    return out
