"""Checkpoints of other programs read as numbers only: nothing that a file names is imported or called.

PyTorch's own safe reader refuses a file that holds any other object, such as the hyper-parameters that Lightning keeps
beside the weights. Here every such object becomes an empty stand-in, and the tensors are read.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

_ALLOWED = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
}


class _StandIn:
    """What stands for an object that is not read: takes anything, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_StandIn":
        return _StandIn()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Of a list."""

    def extend(self, values: Any) -> None:
        """Of a list."""

    def add(self, value: Any) -> None:
        """Of a set."""


class _Unpickler(pickle.Unpickler):
    """Knows tensors, their types and ordered dicts; everything else is a stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a file names, if it is a tensor's part."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _StandIn


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def load_numbers(path: Path) -> Any:
    """Load what `torch.save` wrote, without any object that is no tensor, number, text or plain container of them.

    Args:
        path: a file of PyTorch, a zip archive or of the older form.

    Returns:
        the content; stand-ins where other objects were.

    Raises:
        pickle.UnpicklingError: the file is damaged, or torch.save did not write it.
    """
    reader = SimpleNamespace(
        Unpickler=_Unpickler, load=_load, UnpicklingError=pickle.UnpicklingError, __name__="inert_pickle"
    )
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    except Exception as error:  # torch raises anything between RuntimeError and AttributeError
        raise pickle.UnpicklingError(f"no file of torch.save: {error}") from error
