"""Two photos to a score: the cosine of what the protocols would have embedded."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from pipeline.alignment.align import similarity, template_points
from tests.evaluation.conftest import SIZE
from training.networks.backbones import build_backbone


def cosine(checkpoint: Path, faces: list[np.ndarray]) -> float:
    network = build_backbone("spherenet4", SIZE, 16).eval()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    pixels = torch.from_numpy(np.stack(faces).astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        return float(torch.nn.functional.cosine_similarity(*network(pixels), dim=0))


def test_photos_with_landmarks(rendered: Path, checkpoint: Path, command: Callable, tmp_path: Path) -> None:
    with (rendered / "lists" / "LFW.csv").open() as file:
        rows = [row for _, row in zip(range(2), csv.reader(file), strict=False)]
    paths = [rendered / "LFW" / "lfw" / row[0] for row in rows]
    faces = []
    for path, row in zip(paths, rows, strict=True):
        points = np.array(row[1:], dtype=float).reshape(5, 2)
        matrix = cv2.invertAffineTransform(similarity(template_points("paper", SIZE), points))
        photo = np.asarray(Image.open(path).convert("RGB"))
        faces.append(cv2.warpAffine(photo, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC))
    expected = f"score       {cosine(checkpoint, faces):.4f} "
    start = ["evaluation.compare", *paths, "--checkpoint", checkpoint]
    listed = command(*start, "--landmarks", rendered / "lists" / "LFW.csv")
    assert listed.returncode == 0, listed.stderr
    assert expected in listed.stdout
    told = command(*start, "--first", *rows[0][1:], "--second", *rows[1][1:])
    assert told.stdout == listed.stdout


def test_aligned_pictures_and_thresholds(
    checkpoint: Path, command: Callable, tmp_path: Path, refused: Callable
) -> None:
    rng = np.random.default_rng(0)
    faces = [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(2)]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, face in zip(paths, faces, strict=True):
        Image.fromarray(face).save(path)
    score = cosine(checkpoint, faces)
    import hashlib

    figures = [
        {"name": "TAR at FAR 10 %", "value": 0.5, "threshold": score - 0.01},
        {"name": "TAR at FAR 1 %", "value": 0.1, "threshold": score + 0.01},
        {"name": "AUC", "value": 0.9, "threshold": None},
    ]
    results = {
        "models": [{"label": "m", "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}],
        "settings": {"flip": False},
        "protocols": [{"protocol": "QMUL-SurvFace verification", "results": [{"model": "m", "figures": figures}]}],
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    start = ["evaluation.compare", *paths, "--checkpoint", checkpoint]
    done = command(*start, "--results", tmp_path / "results.json")
    assert done.returncode == 0, done.stderr
    assert f"score       {score:.4f} " in done.stdout
    assert "taken whole" in done.stdout
    assert "passes         QMUL-SurvFace verification: FAR 10 %" in done.stdout
    assert "does not pass  QMUL-SurvFace verification: FAR 1 %" in done.stdout
    assert "AUC" not in done.stdout
    assert "without --flip" in refused(*start, "--flip", "--results", tmp_path / "results.json")
    results["models"][0]["sha256"] = "0"  # type: ignore[index]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "of another model" in refused(*start, "--results", tmp_path / "results.json")
    paths[1].write_bytes(b"no picture")
    assert "b.png cannot be used: unreadable" in refused(*start)
