"""What an embedding depends on besides the picture: the model, the libraries, the processor."""

from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
import PIL
import torch

from training.networks.backbone_file import LoadedBackbone


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that shape pictures and embeddings."""
    return {
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "torch": str(torch.__version__),
    }


def model_identity(loaded: LoadedBackbone, device: str, flip: bool, precision: str) -> dict[str, Any]:
    """Return what the embedding of a face depends on besides the face."""
    hardware = torch.cuda.get_device_name() if device == "gpu" else torch.backends.cpu.get_cpu_capability()
    return {
        "sha256": loaded.sha256,
        "backbone": loaded.name,
        "preprocessing": loaded.preprocessing.to_dict(),
        "flip": flip,
        "precision": precision,
        "device": f"{device}, {hardware}",
        "libraries": {**library_versions(), "onnxruntime": version("onnxruntime")},
    }
