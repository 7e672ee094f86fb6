"""Checkpoints and data sets to figures, and recognisers from Python: `docs/python.md` shows the names exported here.

They are imported when they are first used, so that importing this package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.interface import Recogniser, evaluate, load_recogniser, read_results, search, similarity

__all__ = ["Recogniser", "evaluate", "load_recogniser", "read_results", "search", "similarity"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'evaluation' has no attribute {name!r}; it exports {', '.join(__all__)}")
    from evaluation import interface

    return getattr(interface, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
