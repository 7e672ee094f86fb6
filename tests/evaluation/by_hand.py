"""A straightforward evaluation, picture by picture, to hold the protocols against."""

import csv
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from evaluation.metrics.figures import Outcome
from pipeline.alignment.align import similarity, template_points


def figures(outcome: Outcome) -> dict[str, float]:
    return {figure.name: figure.value for figure in outcome.figures}


def landmarks(path: Path) -> dict[str, np.ndarray]:
    with path.open() as file:
        return {row[0]: np.array(row[1:], dtype=float).reshape(5, 2) for row in csv.reader(file)}


def face(path: Path, points: np.ndarray, size: int) -> Image.Image:
    """Align with OpenCV and go on in Pillow."""
    matrix = cv2.invertAffineTransform(similarity(template_points("paper", size), points))
    warped = cv2.warpAffine(cv2.imread(str(path)), matrix, (size, size), flags=cv2.INTER_CUBIC)
    return Image.fromarray(cv2.cvtColor(warped, cv2.COLOR_BGR2RGB))


def read(path: Path) -> Image.Image:
    return Image.fromarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def resized(picture: Image.Image | np.ndarray, side: int) -> Image.Image:
    return (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).resize(
        (side, side), Image.Resampling.BICUBIC
    )


def raw_vector(backbone: nn.Module, picture: Image.Image | np.ndarray) -> np.ndarray:
    """Embed one picture, alone."""
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        e: np.ndarray = backbone(pixels / 127.5 - 1)[0].double().numpy()
    return e


def vector(backbone: nn.Module, picture: Image.Image) -> np.ndarray:
    """Embed one picture, alone, and scale it to length one."""
    e = raw_vector(backbone, picture)
    return e / np.linalg.norm(e)
