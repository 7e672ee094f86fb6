"""The page of a run: complete, in one file, and there after an interruption too."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from shards.command import UserError
from training.monitoring.curves import draw_curves, read_curves
from training.monitoring.run_page import note_start, summarised, try_to_write_page, write_page
from training.settings.recipes import TINY

ORIGIN = {
    "identities": 12,
    "preprocessing": {"template": "paper", "points": [], "size": 32, "warp": "plain"},
    "shards_sha256": "ab" * 32,
}


class Sources(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"src", "href"} and value]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run stopped after 20 of 30 steps, validated at 10 and 20, its last line of metrics cut off."""
    config = replace(TINY, batch=6)
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "tiny", "config": config.to_dict()}))
    lines = []
    for step in range(1, 21):
        lines.append({"step": step, "loss": 20 - step / 2, "classification/8px": 19.0, "learning_rate": 0.02})
        if step % 10 == 0:
            lines.append({"step": step, "validation/rank-1": 1 - step / 40, "validation/AUC/8px": 0.9})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 21, "lo')
    note_start(tmp_path, ORIGIN, step=0, processes=2, device="a device <of sorts>")
    note_start(tmp_path, ORIGIN, step=11, processes=1, device="another")
    return tmp_path


@pytest.mark.slow
def test_a_stopped_run_has_its_page(run_dir: Path) -> None:
    page = write_page(run_dir).read_text()
    for text in ("Not finished: 20 of 30 steps", "a device &lt;of sorts&gt;", "another", "ab" * 32, "at step 10"):
        assert text in page, text
    sources = Sources()
    sources.feed(page)
    assert sources.found
    assert all(source.startswith("data:") for source in sources.found), "the page needs no other file"
    pictures = sorted((run_dir / "curves").iterdir())
    assert [path.name for path in pictures] == [
        "learning-rate.png",
        "losses.png",
        "validation-0.png",
        "validation-1.png",
        "views.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_the_figures_are_those_of_the_metrics(run_dir: Path) -> None:
    curves = read_curves(run_dir / "metrics.jsonl")
    assert curves["loss"].steps == tuple(range(1, 21))
    found = summarised(json.loads((run_dir / "config.json").read_text()), curves, {})
    assert (found.step, found.steps, found.best_step, found.last_step) == (20, 30, 10, 20)
    assert found.changed == {"batch"}
    assert found.losses["loss"] == 10.0
    assert found.validation == {"rank-1": (0.75, 0.5), "AUC, 8 px": (0.9, 0.9)}


@pytest.mark.slow
def test_the_same_metrics_give_the_same_pictures(run_dir: Path) -> None:
    curves = read_curves(run_dir / "metrics.jsonl")
    assert draw_curves(curves, 10) == draw_curves(curves, 10)


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="holds no run"):
        write_page(tmp_path)
    try_to_write_page(tmp_path)
    assert "warning: no summary.html" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "tiny", "config": TINY.to_dict()}))
    assert "No step has been logged yet" in write_page(tmp_path).read_text()


@pytest.mark.slow
def test_half_a_character_is_damage(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance, config = run_dir / "provenance.json", run_dir / "config.json"
    provenance.write_text(provenance.read_text().replace('"another"', r'"\ud800"'))
    write_page(run_dir)
    assert f"{provenance} is damaged (it holds half a character)" in capsys.readouterr().err
    config.write_text(config.read_text().replace('"tiny"', r'"\udfff"'))
    with pytest.raises(UserError, match="it holds half a character"):
        write_page(run_dir)
