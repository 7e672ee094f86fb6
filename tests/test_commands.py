"""Every command answers --help without loading what it does not need for that."""

import importlib
import re
import resource
from argparse import Action
from collections.abc import Callable

import pytest

from tests.entry_points import MODULE_OF
from training.settings.config import Config

COMMANDS = sorted(MODULE_OF)
HEAVY = {"torch", "cv2", "nvidia.dali", "pandas", "scipy", "matplotlib", "numba", "duckdb", "sklearn", "onnxruntime"}
UNITS = re.compile(
    r"pixels?|photos?|pictures?|people|pairs|identities|classes|steps?|rounds?|runs?|batch(es)?|process(es)?|threads?|"
    r"tars?|checkpoints|seconds|MiB|GiB|levels|numbers|radians|units|sides?|views|parts|"
    r"probability|share|factor|weight|exponent|gain|quality|seeds?|\d (to|or more)|\d\.\.\d"
)
"""What a number may count or measure, and how its help says so."""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_option_within_a_second_and_loads_nothing_heavy(name: str, start: Callable) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = start(name, "--help", PYTHONPROFILEIMPORTTIME="1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # Time on a core: the machine may have other work.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "shards.command" in imported
    assert not imported & HEAVY
    assert "usage: " in done.stdout
    entries = re.split(r"\n  (?=-)", done.stdout.partition("options:")[2])[1:]
    assert entries[0].startswith("-h, --help")
    for entry in entries[1:]:
        words = " ".join(entry.split())
        assert "(required)" in words or "(default: " in words or ", default: " in words, words


def is_number(action: Action) -> bool:
    values = action.default if isinstance(action.default, list | tuple) else [action.default]
    number = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return action.nargs != 0 and (number or action.type in (int, float))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_the_unit_of_every_number(name: str) -> None:
    module = importlib.import_module(MODULE_OF[name])
    parser = module.parser(Config()) if name == "training/main.py" else module.parser()
    unclear = {
        action.option_strings[-1]: action.help
        for action in parser._actions
        if is_number(action) and "seed" not in action.dest and not UNITS.search(action.help)
    }
    assert not unclear


def test_an_unknown_option_ends_in_one_line(start: Callable, refused: Callable[..., str]) -> None:
    arguments = "shards.verify", "folder", "--nothing"
    done = start(*arguments)
    assert done.returncode == 2
    assert done.stderr == refused(*arguments) + "\n"
    assert "--nothing" in done.stderr
