"""Processes that fork from one which has imported all they need: real ones, that start in a moment."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def _prepare() -> None:
    """Load the compiled pixel kernels, and import what the server of this process has not."""
    import numpy as np

    import training.engine.validation  # noqa: F401
    from pipeline.pixels.resample_on_cpu import enlarge_to_range, reduce
    from training.engine import loop

    faces = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    enlarge_to_range(reduce(faces, 4), np.empty((1, 8, 8, 3), dtype=np.float32))
    loop.try_to_write_page = without_page


def without_page(run_dir: Path) -> None:
    """Leave out the page of a run, whose pictures take longer than its few steps; tests/training/monitoring has it."""


@cache
def origin() -> ProcessPoolExecutor:
    """Return the one process from which the others fork; it computes nothing itself, so it has no threads to lose."""
    return ProcessPoolExecutor(1, mp_context=get_context("forkserver"), initializer=_prepare)


def _fork(function: Callable[..., Any], arguments: tuple, settings: dict[str, Any]) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(function, *arguments, **settings).result()


def in_forked_process(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Return what a function returns in a process that did nothing before but import."""
    return origin().submit(_fork, function, arguments, settings).result()


def end() -> None:
    """End that process, where there is one: a process that multiprocessing started itself would wait for it forever."""
    if origin.cache_info().currsize:
        origin().shutdown()
        origin.cache_clear()
