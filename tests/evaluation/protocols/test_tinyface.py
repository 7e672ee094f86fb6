"""TinyFace on rendered people, against an evaluation probe by probe."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.models.pictures import read_picture
from evaluation.models.preparation import picture_names
from evaluation.protocols.selection import tinyface
from pipeline.sources.picture_files import PICTURE_SUFFIXES
from tests.evaluation.by_hand import figures, read, resized, vector
from tests.evaluation.conftest import SIZE


def test_rank_1_probe_by_probe(rendered: Path, embedder: Embedder, backbone: nn.Module) -> None:
    outcome = tinyface.measure(tinyface.read(rendered / "TinyFace", []), embedder)
    folder = rendered / "TinyFace" / "Testing_Set"
    gallery = [
        (path.name.split("_")[0] if part == "Gallery_Match" else None, vector(backbone, resized(read(path), SIZE)))
        for part in ("Gallery_Match", "Gallery_Distractor")
        for path in (folder / part).iterdir()
    ]
    hits = []
    for path in (folder / "Probe").iterdir():
        e = vector(backbone, resized(read(path), SIZE))
        best = max(gallery, key=lambda entry: entry[1] @ e)
        hits.append(best[0] == path.name.split("_")[0])
    assert figures(outcome)["rank-1"] == pytest.approx(np.mean(hits))
    sides = np.array([min(read(path).size) for path in (folder / "Probe").iterdir()])
    small = np.array(hits)[sides < 16]
    assert 0 < len(small) < len(hits)
    assert figures(outcome)["rank-1, smaller side under 16 px"] == pytest.approx(small.mean())
    assert sum(figure.n for figure in outcome.figures if "px" in figure.name) == len(hits)
    assert outcome.counts == {"probes": 24, "mated gallery": 36, "distractors": 60}


def test_without_distractors_it_is_easier(copy: Path, embedder: Embedder) -> None:
    whole = figures(tinyface.measure(tinyface.read(copy / "TinyFace", []), embedder))
    for path in (copy / "TinyFace" / "Testing_Set" / "Gallery_Distractor").iterdir():
        path.write_bytes(b"no picture")
    outcome = tinyface.measure(tinyface.read(copy / "TinyFace", []), embedder)
    assert [figure.n for figure in outcome.figures if "px" not in figure.name] == [24] * 5
    assert figures(outcome)["rank-1"] >= whole["rank-1"] > 0


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_distractors_of_every_kind_of_file_are_found(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix.upper()}").touch()
    (tmp_path / "a.txt").touch()
    assert picture_names(tmp_path) == ([f"a{suffix.upper()}"], 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".gif"])
def test_distractors_of_the_usual_kinds_are_read(rendered: Path, tmp_path: Path, suffix: str) -> None:
    (path,) = sorted((rendered / "TinyFace" / "Testing_Set" / "Probe").iterdir())[:1]
    Image.open(path).convert("RGB").save(tmp_path / f"a{suffix.upper()}")
    assert read_picture(tmp_path / f"a{suffix.upper()}").shape == (*cv2.imread(str(path)).shape[:2], 3)


def test_hidden_files_among_the_distractors_are_passed_over_and_counted(copy: Path, embedder: Embedder) -> None:
    clean = tinyface.measure(tinyface.read(copy / "TinyFace", []), embedder)
    distractors = copy / "TinyFace" / "Testing_Set" / "Gallery_Distractor"
    for name in ("._1.jpg", "._2.JPG", ".DS_Store"):
        (distractors / name).write_bytes(b"no picture")
    outcome = tinyface.measure(tinyface.read(copy / "TinyFace", []), embedder)
    assert figures(outcome) == figures(clean)
    assert not outcome.incomplete
    assert any(note.startswith("2 hidden files of Gallery_Distractor") for note in outcome.notes)
