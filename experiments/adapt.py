"""What an adaptation gains: `python -m experiments.adapt --model FILE --out runs/adaptation`.

Adapts a recogniser on the ORL people of all folds but one and tests it on those of that fold, before and after, for
every fold and seed, in several ways. Without --model a small recogniser is trained on rendered people in full size
first, and adapted on other rendered people. The command may be interrupted: the same command continues. Writes
`results.json`, `tables.md` and plots into the folder, and with --page also into a page between its marks.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, UserError, run
from shards.cores import usable_cores

if TYPE_CHECKING:
    from experiments.trials.settings import Ablation

_ORL_PEOPLE = 40


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m experiments.adapt", description=__doc__)
    add = command.add_argument
    add("--out", type=Path, required=True, help="folder of everything: shards, results, tables, plots")
    add("--model", type=Path, help="file of the recogniser to adapt (default: a small one, trained on rendered people)")
    add(
        "--variants",
        nargs="+",
        metavar="NAME",
        default=["before", "fresh", "compatible"],
        help="before, fresh, compatible; octuplet, distillation, fine-tuning, lora; what choices do: moving, end, "
        "no-anchor",
    )
    add(
        "--people",
        type=int,
        nargs="+",
        help="people to adapt on in a fold; several: a learning curve (default: all)",
    )
    add("--steps", type=int, nargs="+", help="steps of training; several: a learning curve (default: the recipe's)")
    add("--folds", type=int, default=4, help="number of folds of people; everyone is tested once a seed")
    add("--seeds", type=int, default=3, help="seeds of every trial, at least 1")
    add("--rendered", type=int, default=120, help="number of rendered people, without --model")
    add("--recogniser-steps", type=int, default=200, help="steps of the small recogniser's training, without --model")
    add("--workers", type=int, default=usable_cores(), help="processes, of one thread each")
    add("--tables-only", action="store_true", help="train nothing; make tables of the seeds that are complete")
    add("--page", type=Path, metavar="MD", help="page to write the tables into, its plots beside it (default: none)")
    return command


def main() -> None:
    """Run all trials and write what they found."""
    options = parser().parse_args()
    # Each process has one thread of its own.
    os.environ["OMP_NUM_THREADS"] = "1"
    from experiments.findings.report import run_and_report
    from experiments.trials.adaptation_variants import ADAPTATION_CONTRASTS, ADAPTATIONS
    from experiments.trials.variants import chosen

    _check(options)
    variants = chosen(options.variants, ADAPTATIONS)
    run_and_report("adapt", variants, ADAPTATION_CONTRASTS, options, lambda: _study(options))


def _check(options: Any) -> None:
    numbers = [options.seeds, options.workers, options.rendered, options.recogniser_steps]
    numbers += [*(options.people or ()), *(options.steps or ())]
    if min(numbers) < 1 or options.folds < 2:
        raise UserError("a number of seeds, workers, people or steps below 1, or fewer than 2 --folds; give more")
    all_people, least = _people(options)
    if (most := max(options.people or [0])) > least:
        raise UserError(
            f"--people {most}, and {least} are left to adapt on where a fold is tested; give {least} at most"
        )
    if all_people < 2 * options.folds:
        raise UserError(f"{options.folds} folds of {all_people} people; each must hold two people at least")


def _people(options: Any) -> tuple[int, int]:
    """Return the number of all people, and the smallest that is left to adapt on where a fold is tested."""
    all_people = _ORL_PEOPLE if options.model else options.rendered
    return all_people, all_people - -(-all_people // options.folds)


def _study(options: Any) -> "Ablation":
    """Return a part for every number of people and of steps."""
    from dataclasses import replace

    from experiments.trials.rendered_recogniser import rendered_recogniser
    from experiments.trials.settings import Ablation, Part
    from training.networks.exported_file import load_trainable
    from training.networks.initial_weights import following
    from training.settings.recipes import ADAPT_FRESH

    model = options.model or rendered_recogniser(
        options.out / "recogniser", options.rendered, options.workers, options.recogniser_steps
    )
    form = load_trainable(model).preprocessing
    base = replace(following(ADAPT_FRESH, model), log_every=20, keep_checkpoints=1)
    faces = {} if options.model else {"identities": options.rendered, "photos": 8}
    parts = [
        Part(
            f"{'orl' if options.model else 'rendered'}-{people or 'all'}-{steps}",
            f"{'ORL faces' if options.model else 'Rendered people'}, {people or 'all other'} people, {steps} steps",
            replace(base, steps=steps, batch=min(base.batch, people or _people(options)[1]), checkpoint_every=steps),
            folds=options.folds,
            trained=people,
            teacher=model,
            template=form.template,
            **faces,
        )
        for people in options.people or [0]
        for steps in options.steps or [base.steps]
    ]
    return Ablation(tuple(parts), options.seeds, tuple(size for size in (8, 12, 16, 20) if size < form.size))


if __name__ == "__main__":
    run(main)
