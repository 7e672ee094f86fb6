"""Views of a loader that decodes with OpenCV and reduces with Pillow; imports no other file of the project."""

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor


def decoded(encoded: bytes) -> np.ndarray:
    """Return a photo (S, S, 3) uint8 RGB from the bytes of its file."""
    photo = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert photo is not None
    return photo


def pillow_view(face: np.ndarray, side: int, generator: np.random.Generator) -> Tensor:
    """Return a view of a face, mirrored with probability 1/2: (S, S, 3) uint8 -> (3, S, S) float32 in [-1, 1].

    Args:
        face: RGB.
        side: in pixels, to which it is reduced before it is enlarged to S again.
        generator: decides on the mirroring.
    """
    picture = Image.fromarray(face)
    if generator.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if side < face.shape[0]:
        small = picture.resize((side, side), Image.Resampling.BICUBIC)
        picture = small.resize(picture.size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(127.5).sub_(1)
