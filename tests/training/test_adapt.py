"""From a folder of people and a recogniser to the adapted file, in one command."""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from evaluation.checks.leak_report import read_leaks
from pipeline.alignment.align import preprocessing
from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks
from shards.json_file import read_object
from tests.in_process import call
from training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from training.engine.step import build_learner
from training.networks.export_formats import onnx_bytes
from training.networks.exported_file import load_trainable
from training.settings.recipes import TINY

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recogniser") / "recogniser.pt"
    learner = build_learner(TINY, 5)
    saved = Checkpoint(
        step=3,
        config=TINY.to_dict(),
        recipe="tiny",
        preprocessing=preprocessing("paper", TINY.size),
        identities=5,
        shards_sha256="0" * 64,
        backbone=learner.backbone.state_dict(),
        head=learner.head.state_dict(),
        optimizer={},
    )
    save_checkpoint(path, saved)
    return path


@pytest.fixture(scope="module")
def landmarks(rendered: Path, train_list: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list of the rendered people as `pipeline.landmarks` would write it."""
    path = tmp_path_factory.mktemp("list") / "landmarks.csv"
    table = read_landmarks(train_list, header=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [f"{name}.jpg", *points]
            for name, points in zip(table["name"], table[LANDMARK_COLUMNS].to_numpy().tolist(), strict=True)
        )
    return path


@pytest.fixture(scope="module")
def crops(rendered: Path, landmarks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos of everyone at a sixth of their size, as a camera far away has them, and their landmarks."""
    root = tmp_path_factory.mktemp("crops")
    with (root / "landmarks.csv").open("w", newline="") as file:
        for row in read_landmarks(landmarks).itertuples(index=False):
            photo = Image.open(rendered / "VGGFace2" / "train" / row.name)
            (root / row.name).parent.mkdir(exist_ok=True)
            photo.resize((photo.width // 6, photo.height // 6)).save(root / row.name, quality=95)
            csv.writer(file).writerow([row.name, *(float(value) / 6 for value in row[1:])])
    return root, root / "landmarks.csv"


@pytest.fixture(scope="module")
def unlabelled(rendered: Path, landmarks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos in one folder, some of one person, with names that do not say whom they show, and their landmarks."""
    root = tmp_path_factory.mktemp("unlabelled")
    with (root / "landmarks.csv").open("w", newline="") as file:
        for number, row in enumerate(read_landmarks(landmarks).head(6).itertuples(index=False)):
            (root / f"{number}.jpg").symlink_to(rendered / "VGGFace2" / "train" / row.name)
            csv.writer(file).writerow([f"{number}.jpg", *row[1:]])
    return root, root / "landmarks.csv"


@pytest.fixture
def stages_in_process(monkeypatch: pytest.MonkeyPatch, own_cache: dict[str, str]) -> None:
    """Let every stage be the command that it is, called here: Python and PyTorch would start anew for each."""

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        place = words.index("--module" if "--module" in words else "-m") + 1
        module = words[place].replace("training.main", "training/main.py")
        done = call(module, *words[place + 1 :], **own_cache)
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        return done

    monkeypatch.setattr("training.adaptation.stages.subprocess.run", run)
    monkeypatch.setattr("evaluation.reporting.report.draw_plots", lambda report: [])


@pytest.mark.soak
def test_photos_and_a_recogniser_become_an_adapted_file(
    rendered: Path,
    landmarks: Path,
    crops: tuple[Path, Path],
    unlabelled: tuple[Path, Path],
    recogniser: Path,
    command: Command,
    stages_in_process: None,
    tmp_path: Path,
) -> None:
    out = tmp_path / "adapted.onnx"
    words = (
        *("training.adapt", "--model", recogniser, "--photos", rendered / "VGGFace2" / "train", "--out", out),
        *("--crops", crops[0], "--crop-landmarks", crops[1]),
        *("--unlabelled", unlabelled[0], "--unlabelled-landmarks", unlabelled[1]),
        *("--landmarks", landmarks, "--steps", 2, "--set-aside", 0.4, "--sizes", 8),
        *("--processes", 1, "--device", "cpu"),
    )
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "note: " in done.stderr and "people are few" in done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines() if "/13 " in line] == [
        f"{number}/13" for number in range(1, 14)
    ]
    work = tmp_path / "adapted.onnx.work"
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 3, TINY.size, TINY.size)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"]).run(
        None, {"pictures": pictures}
    )
    with torch.no_grad():
        wanted = load_trainable(work / "run" / "final.pt").backbone(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert out.read_bytes() != onnx_bytes(load_trainable(recogniser))
    results = read_object(work / "report" / "results.json")
    assert {Path(model["file"]).name for model in results["models"]} == {"recogniser.pt", "adapted.onnx"}
    leaks = read_leaks(work / "leaks" / "leaks.csv")
    columns = [one["model"] for one in results["protocols"][0]["results"]]
    assert len(columns) == (6 if leaks else 3), "own gallery, old gallery, old model; without leaks, too"
    small = read_object(work / "report-crops" / "results.json")
    assert len(small["protocols"][0]["results"]) >= 3
    assert {"8 px: rank-1"} <= {one["name"] for one in results["protocols"][0]["results"][0]["figures"]}
    held_out = set((work / "test" / "people.txt").read_text().split())
    trained = set((work / "shards" / "identities.txt").read_text().split())
    assert held_out and trained and not held_out & trained
    unnamed = {path.resolve().parent.name for path in unlabelled[0].glob("*.jpg")}
    assert bool(leaks) == bool(unnamed & held_out)
    assert set((work / "crops" / "identities.txt").read_text().split()) == trained
    assert (work / "unlabelled" / "identities.txt").read_text().split() == [f"{number}.jpg" for number in range(6)]

    again = command(*words)
    assert again.returncode == 0, again.stderr
    assert "was finished already" in again.stdout
    assert again.stdout.split("per cent, on")[-1] == done.stdout.split("per cent, on")[-1]
    other = command(*words, "--seed", 1)
    assert other.returncode == 2
    assert "stage 5 of 13 ended with status 2" in other.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--out", "adapted.pt"), "name a file that ends in .onnx"),
        (("--set-aside", "1"), "give a share above 0 and below 1"),
        (("--aligned", "--landmarks", "x.csv"), "--landmarks and --aligned exclude each other"),
        (("--crops", "nowhere"), "no folder nowhere"),
        (("--crop-landmarks", "x.csv"), "--crop-landmarks without --crops"),
        (("--unlabelled", "nowhere"), "no folder nowhere; expected a folder of photos"),
        (("--unlabelled-landmarks", "x.csv"), "--unlabelled-landmarks without --unlabelled"),
        (("--steps", "0"), "give numbers of at least 1"),
        (("--photos", "nowhere"), "no folder nowhere"),
    ],
)
def test_mistakes_end_in_one_line(
    given: tuple[str, ...], told: str, recogniser: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    words = {"--model": str(recogniser), "--photos": str(tmp_path), "--out": str(tmp_path / "adapted.onnx")}
    first = [word for name, value in words.items() if name not in given for word in (name, value)]
    assert told in refused("training.adapt", *first, *given)


@pytest.mark.slow
def test_an_onnx_file_that_does_not_say_its_template_is_asked_for_it(
    recogniser: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    import onnx

    model = onnx.load_from_string(onnx_bytes(load_trainable(recogniser)))
    del model.metadata_props[:]
    bare = tmp_path / "bare.onnx"
    onnx.save(model, bare)
    line = refused("training.adapt", "--model", bare, "--photos", tmp_path, "--out", tmp_path / "adapted.onnx")
    assert "does not say how its pictures are prepared; say it with --template" in line


def test_the_template_of_a_run_is_as_told(recogniser: Path) -> None:
    from training.networks.initial_weights import as_told

    own = load_trainable(recogniser).preprocessing
    assert as_told(own, TINY.model) == own
    told = as_told(own, replace(TINY.model, template="centred", colour="BGR", mean=0.0, deviation=255.0))
    assert (told.template, told.size) == ("centred", own.size)
    assert told.points == preprocessing("centred", own.size).points
    assert (told.colour, told.mean, told.deviation) == ("BGR", 0.0, 255.0)
