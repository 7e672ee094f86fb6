"""Training: `torchrun --nproc-per-node 2 training/main.py --recipe quickstart --shards DIR --run-dir DIR`.

The recipe sets a value for every setting; each can be overridden on the command line, for example
`--optimizer.learning_rate 0.05`. SIGTERM and Ctrl-C save and leave; `--resume` continues.
"""

import io
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from shards.command import Parser, UserError, run
from shards.storage.options import add_shards, keeping, named_folders
from shards.storage.places import shard_folder
from training.settings.config import Config, flat
from training.settings.import_path import PLAIN
from training.settings.recipes import MODES, RECIPES, recipe

VALIDATION = "evaluation.validate:held_out"


def parser(defaults: Config) -> Parser:
    """Return the command's parser; the recipe's values are the defaults."""
    command = Parser(prog="training/main.py", description=__doc__, parser_mode=PLAIN)
    command.add_argument("--recipe", required=True, help=f"one of {', '.join(RECIPES)}")
    add_shards(command)
    command.add_argument(
        "--mix", type=float, nargs="+", help="share of each shard folder in a batch, in proportion (default: equal)"
    )
    command.add_argument(
        "--crops",
        type=shard_folder,
        help="shard folder of real small pictures of the same people, by name: they stand in for reduced views with "
        "the probability --crop_share (default: none)",
    )
    command.add_argument("--run-dir", type=Path, required=True, help="folder of the run")
    command.add_argument(
        "--init-from",
        type=Path,
        default=None,
        help="file of a recogniser, of ours or another project, whose backbone a new run begins with; the head is new "
        "(default: none)",
    )
    command.add_argument(
        "--teacher",
        type=Path,
        default=None,
        help="file of a frozen recogniser to learn from, for --recipe adapt: a checkpoint of ours or another project, "
        "safetensors or ONNX; the run begins with its weights, or with those of --init-from, and takes its backbone, "
        "size and length of embeddings (default: none)",
    )
    command.add_argument(
        "--mode",
        choices=list(MODES),
        default=None,
        help="of --recipe adapt: fresh, for galleries that are enrolled again, or compatible, for galleries that stay "
        "enrolled with the teacher (default: compatible)",
    )
    command.add_argument("--resume", action="store_true", help="continue the run, or start it if there is none")
    command.add_argument(
        "--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: GPUs if there is one for each process"
    )
    command.add_argument(
        "--validation-shards",
        type=shard_folder,
        help="folder of people held out, written by pipeline.shard; for --validate_every (default: none)",
    )
    command.add_argument(
        "--validation-by",
        default=VALIDATION,
        metavar="MODULE:FUNCTION",
        help=f"what validates, by its import path (default: {VALIDATION})",
    )
    command.add_class_arguments(Config, as_group=False, skip={"mix"})
    command.set_defaults(flat(defaults.to_dict()))
    for group in command._actions:
        if group.help == "Path to a configuration file.":
            group.help = "YAML or JSON file of the settings below (default: none)"
    return command


def read_command_line(arguments: list[str]) -> tuple[Any, Config]:
    """Return the options and the configuration: the recipe's, with the overrides of the command line."""
    first = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe", nargs="?")
    first.add_argument("--mode", nargs="?")
    first.add_argument("--teacher", nargs="?", type=Path)
    first.add_argument("--init-from", nargs="?", type=Path)
    named = first.parse_known_args(arguments)[0]
    defaults = recipe(named.recipe, named.mode) if named.recipe else Config()
    model = named.init_from or named.teacher
    if named.teacher and model.is_file() and not {"-h", "--help"} & set(arguments):
        from training.networks.initial_weights import following

        # An adapted network is the one that came in: its settings are not the recipe's.
        defaults = following(defaults, model)
    command = parser(defaults)
    options = command.parse_args(arguments)
    made = command.instantiate(options)
    fields = {name: getattr(made, name) for name in Config.__dataclass_fields__}
    return options, Config(**{**fields, "mix": tuple(options.mix or ())})


@contextmanager
def only_first_process_reports() -> Iterator[None]:
    """Let only the first process report an error that all processes make before they are connected."""
    if int(os.environ.get("RANK", "0")) == 0:
        yield
        return
    try:
        with redirect_stderr(io.StringIO()):
            yield
    except (SystemExit, UserError) as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        # torchrun ends all processes once one has ended: give the first time to report.
        time.sleep(20)
        raise SystemExit(2) from None


def main() -> None:
    """Train a recipe."""
    with only_first_process_reports():
        options, told = read_command_line(sys.argv[1:])
        from training.settings.epochs import in_steps

        shards = named_folders(options)
        config = in_steps(told, shards)
    from training.engine.loop import train
    from training.engine.run import Run
    from training.engine.validation import validation_of_run
    from training.ranks.machine import chosen_device, prepare_machine, processes_here
    from training.ranks.stop_signals import end_with_launcher
    from training.ranks.world import joined_world

    end_with_launcher()
    with only_first_process_reports():
        device = chosen_device(options.device, processes=processes_here())
    prepare_machine(device)
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    again = options.resume or restarted
    crops = options.crops and keeping(options.crops, options)
    job = Run(config, options.recipe, tuple(shards), options.run_dir, again, options.init_from, options.teacher, crops)
    with joined_world(device, config.timeout) as world:
        held_out = options.validation_shards and keeping(options.validation_shards, options)
        validate = validation_of_run(job, world, held_out, options.validation_by)
        steps = train(job, world, validate)
    if world.is_main:
        print(f"{steps} of {config.steps} steps done: {options.run_dir}")


if __name__ == "__main__":
    run(main)
