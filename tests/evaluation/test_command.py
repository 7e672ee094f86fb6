"""The command: from checkpoints to a report that holds what was measured."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from evaluation.reporting.best_known import BEST_KNOWN
from pipeline.alignment.align import preprocessing
from training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from training.engine.step import build_learner
from training.networks.backbones import build_backbone
from training.settings.recipes import TINY

LOOKS_AT_PLOTS = True


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of ours and one plain state dict."""
    folder = tmp_path_factory.mktemp("checkpoints")
    learner = build_learner(TINY, 10)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
    first = Checkpoint(
        0,
        TINY.to_dict(),
        "tiny",
        preprocessing("paper", 32),
        10,
        "0",
        learner.backbone.state_dict(),
        learner.head.state_dict(),
        optimizer.state_dict(),
    )
    save_checkpoint(folder / "first.pt", first)
    save_checkpoint(folder / "second.pt", replace(first, step=9))
    torch.save(build_backbone("spherenet4", 48).state_dict(), folder / "0100000_net_backbone.pth")
    return [folder / name for name in ("second.pt", "first.pt", "0100000_net_backbone.pth")]


@pytest.fixture(scope="module")
def report(
    checkpoints: list[Path], rendered: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable
) -> Path:
    out = tmp_path_factory.mktemp("report")
    named = [word for path in checkpoints for word in ("--checkpoint", path)]
    data = ["--orl", "--scface", rendered / "SCface", "--survface", rendered / "QMUL-SurvFace"]
    done = command("evaluation", *named, *data, "--lists", rendered / "lists", "--sizes", 8, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "LFW, HR to LR: skipped, no data; give it with --lfw" in done.stdout
    assert str(out / "report.html") in done.stdout
    (out / "printed.txt").write_text(done.stdout)
    return out


@pytest.mark.slow
def test_results_hold_every_figure(report: Path) -> None:
    data = json.loads((report / "results.json").read_text())
    assert data["schema"] == 1
    assert [model["label"] for model in data["models"]] == ["second, step 9", "untrained", "0100000_net_backbone"]
    assert [model["preprocessing"]["size"] for model in data["models"]] == [32, 32, 48]
    protocols = {protocol["protocol"]: protocol["results"] for protocol in data["protocols"]}
    assert list(protocols) == [
        "SCface",
        "QMUL-SurvFace verification",
        "QMUL-SurvFace open-set identification",
        "ORL, held-out people, HR to LR",
    ]
    for results in protocols.values():
        assert len(results) == 3
        for figure in results[0]["figures"]:
            assert figure["value"] is None or 0 <= figure["value"] <= 1
    survface = {figure["name"]: figure for figure in protocols["QMUL-SurvFace verification"][0]["figures"]}
    assert survface["TAR at FAR 1 %"]["paper"] == 0.2141
    assert survface["TAR at FAR 1 %"]["rerun"] == 0.2871
    for protocol, results in protocols.items():
        measured = {figure["name"]: figure["best"] for figure in results[0]["figures"]}
        for name, best in BEST_KNOWN.get(protocol, {}).items():
            assert measured[name] == best.value
    assert data["settings"] == {
        "device": "cpu",
        "flip": False,
        "sizes": [8],
        "match_gallery": None,
        "precision": "float32",
    }
    assert [skipped["option"] for skipped in data["skipped"]] == ["--lfw", "--tinyface"]


@pytest.mark.slow
def test_what_is_printed_is_what_was_measured(report: Path) -> None:
    data = json.loads((report / "results.json").read_text())
    printed = (report / "printed.txt").read_text()
    value = data["protocols"][0]["results"][0]["figures"][0]["value"]
    assert f"{100 * value:.2f}" in printed
    assert f"{100 * value:.2f}" in (report / "report.md").read_text()
    for told in (printed, (report / "report.md").read_text(), (report / "report.html").read_text()):
        assert "inverted slope" in told, "a reader compares TARs with the published ones"


@pytest.mark.slow
def test_the_page_needs_nothing_else(report: Path) -> None:
    page = (report / "report.html").read_text()
    HTMLParser().feed(page)
    assert "SCface" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page), "a reference to something outside"
    assert not re.search(r"https?://(?!www.w3.org)", page)
    assert not re.search(r"<(script|iframe|object)|@import|url\((?!#)", page)
    assert page.count("<svg") >= 4
    assert page.count("data:image/jpeg;base64,") >= 20


@pytest.mark.slow
def test_plots_are_pictures_named_in_the_text(report: Path) -> None:
    text = (report / "report.md").read_text()
    named = re.findall(r"\]\((plots/[^)]+)\)", text)
    drawn = {path.relative_to(report).as_posix() for path in (report / "plots").iterdir()}
    assert drawn == {*named, *(name.replace(".png", ".svg") for name in named)}
    assert {name.rsplit("-", 1)[-1] for name in named} <= {
        *(f"{kind}.png" for kind in ("roc", "set", "cmc", "resolution", "det", "discard")),
        *(f"{model}.png" for model in range(3)),
    }
    assert {name[9:] for name in named if name.startswith("plots/02")} == {
        "open-set.png",
        "cmc.png",
        "open-set-det.png",
        "discard.png",
        *(f"scores-{model}.png" for model in range(3)),
    }
    for name in named:
        Image.open(report / name).verify()


def test_mistakes_end_in_one_line(checkpoints: list[Path], tmp_path: Path, refused: Callable[..., str]) -> None:
    one = ["evaluation", "--checkpoint", checkpoints[0], "--out", tmp_path]
    assert "no data set given" in refused(*one)
    assert "no checkpoint" in refused("evaluation", "--checkpoint", tmp_path / "a.pt", "--out", tmp_path, "--orl")
    assert "no folder" in refused(*one, "--lfw", tmp_path / "nowhere")
    assert "no folder" in refused(*one, "--orl", "--lists", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(*one[:3], "--out", tmp_path / "file", "--orl")
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert "text.pt" in refused("evaluation", "--checkpoint", tmp_path / "text.pt", "--out", tmp_path, "--orl")
    (tmp_path / "LFW" / "lfw").mkdir(parents=True)
    assert "no LFW.csv" in refused(*one, "--lfw", tmp_path / "LFW")
