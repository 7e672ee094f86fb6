"""Only the command line itself names code; what a file names is refused before it is imported."""

import sys
from pathlib import Path

import pytest

from shards.command import UserError
from training.main import read_command_line

NEEDED = ["--recipe", "tiny", "--shards", "a", "--run-dir", "b"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module on the path whose import leaves a mark."""
    name = "code_that_nobody_asked_for"
    (tmp_path / f"{name}.py").write_text("class Network: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


@pytest.mark.parametrize("option", ["--model", "--optimizer", "--views", "--views.degradation"])
@pytest.mark.parametrize("inline", [False, True])
def test_a_class_in_settings_is_not_imported(module: str, tmp_path: Path, option: str, inline: bool) -> None:
    text = f"{{class_path: {module}.Network, init_args: {{}}}}"
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(UserError, match="names the class"):
        read_command_line([*NEEDED, option, text if inline else str(tmp_path / "settings.yaml")])
    assert module not in sys.modules


@pytest.mark.parametrize("inline", [False, True])
def test_an_import_path_in_settings_is_refused(module: str, tmp_path: Path, inline: bool) -> None:
    text = f'{{"backbone": "{module}:Network"}}'
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(UserError, match="names the code"):
        read_command_line([*NEEDED, "--model", text if inline else str(tmp_path / "settings.json")])
    assert module not in sys.modules


def test_the_command_line_may_name_code_and_a_file_values(module: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("learning_rate: 1e-3\n")
    named = ["--model.backbone", f"{module}:Network", "--optimizer", str(tmp_path / "settings.yaml")]
    _, config = read_command_line([*NEEDED, *named])
    assert config.model.backbone == f"{module}:Network"
    assert config.optimizer.learning_rate == 1e-3
