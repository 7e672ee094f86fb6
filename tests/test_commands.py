"""Every command answers --help without loading what it does not need for that."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.entry_points import MODULE_OF

COMMANDS = sorted(MODULE_OF)
HEAVY = {"torch", "cv2", "nvidia.dali", "pandas", "scipy", "matplotlib"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_option(name: str, command: Callable) -> None:
    done = command(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    entries = re.split(r"\n  (?=-)", done.stdout.partition("options:")[2])[1:]
    assert entries[0].startswith("-h, --help")
    for entry in entries[1:]:
        words = " ".join(entry.split())
        assert "(required)" in words or "(default: " in words or ", default: " in words, words


@pytest.mark.parametrize("name", COMMANDS)
def test_parsing_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, {MODULE_OF[name]}; print(*sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_unknown_option_ends_in_one_line(refused: Callable[..., str]) -> None:
    assert "--nothing" in refused("shards.verify", "folder", "--nothing")
