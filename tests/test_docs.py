"""Every command that the documentation shows exists and takes the options it is shown with."""

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documented import ROOT, VENV, Documented, commands, in_page
from tests.entry_points import MODULE_OF, PACKAGES

SHOWN = commands()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def options_of(parser: Any) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def check_python(module_name: str, arguments: list[str], *, whole: bool) -> None:
    module = importlib.import_module(MODULE_OF[module_name])
    if whole:
        read = getattr(module, "read_command_line", None)
        if read is not None:
            read(arguments)
        else:
            module.parser().parse_args(arguments)
        return
    from training.settings.config import Config

    parser = module.parser(Config()) if module_name == "training/main.py" else module.parser()
    shown = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert shown <= options_of(parser)


def after_launcher(words: list[str]) -> tuple[str, list[str]]:
    if "-m" in words:
        return words[words.index("-m") + 1], words[words.index("-m") + 2 :]
    place = next(number for number, word in enumerate(words) if word.endswith(".py"))
    return words[place], words[place + 1 :]


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_documented_command_is_one(shown: Documented) -> None:
    program, *rest = shown.words
    program = program.removeprefix(VENV)
    if program == "python" and rest[0] == "-m":
        if rest[1] in MODULE_OF or rest[1].split(".")[0] in PACKAGES:
            check_python(rest[1], rest[2:], whole=shown.whole)
        elif rest[1].startswith("tests."):
            assert (ROOT / Path(*rest[1].split("."))).with_suffix(".py").is_file()
    elif program in ("torchrun", "python"):
        script, arguments = after_launcher(rest)
        check_python(script, arguments, whole=shown.whole)
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= targets()
    elif program in ("pip", "source", "cp", "docker/check.sh"):
        files = [word for word in shown.words if "/" in word or word.endswith((".txt", ".example"))]
        assert files
        assert all(name.startswith(VENV) or (ROOT / name).is_file() for name in files)
    elif program == "docker":
        services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
        assert rest[0] == "compose"
        assert rest[-1] in services


def test_pages_show_every_command() -> None:
    named = {word for shown in SHOWN for word in shown.words}
    inner = {"training/main.py": {"training/main.py", "training.main"}}
    missing = [name for name in MODULE_OF if not named & inner.get(name, {name})]
    assert not missing, f"no page shows {missing}"


def test_links_of_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_are_found_in_blocks_and_sentences() -> None:
    block = "```\nX=1 make test \\\n  -k  # why\nsaid\n```\n"
    text = f"a\n{block}or `make\nunit`, `docker/check.sh`.\n```sh\n.venv/bin/pip a\n```\n`python`\n"
    found = [(c.line, shlex.join(c.words), c.whole) for c in in_page("page", text)]
    blocks = [(3, "make test -k", True), (10, ".venv/bin/pip a", True)]
    assert found == [*blocks, (7, "make unit", False), (8, "docker/check.sh", False)]


def test_scripts_of_the_project_are_found() -> None:
    assert {"pipeline.shard", "evaluation", "training/main.py"} <= set(MODULE_OF)
    assert all((ROOT / (m.replace(".", "/") + ".py")).exists() for m in MODULE_OF.values())
