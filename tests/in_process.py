"""Commands called in this process: what a user would see, without Python and PyTorch starting anew for each."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from shards.command import run
from tests.entry_points import MODULE_OF, ROOT


@contextmanager
def _settings_of_process_kept() -> Iterator[None]:
    arguments, environment, folder, hook = sys.argv, dict(os.environ), Path.cwd(), threading.excepthook
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            yield
    finally:
        sys.argv, threading.excepthook = arguments, hook
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _settings_of_torch_kept() -> Iterator[None]:
    import torch

    from training.ranks.machine import return_freed_memory

    threads, random = torch.get_num_threads(), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random)
        torch.use_deterministic_algorithms(deterministic, warn_only=warned_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        return_freed_memory()


@contextmanager
def undisturbed(*, by_torch: bool) -> Iterator[None]:
    """Put back what a command sets for its whole process, which ends with it when a user starts it."""
    with _settings_of_process_kept(), _settings_of_torch_kept() if by_torch else nullcontext():
        yield


def call(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command of this name as `python -m name` would, and return its exit status and what it printed.

    An exception that the command does not turn into a line is a defect, and goes through.
    """
    module = importlib.import_module(MODULE_OF[name])
    status = 0
    kept = undisturbed(by_torch=not name.startswith("shards."))
    with kept, redirect_stdout(StringIO()) as stdout, redirect_stderr(StringIO()) as stderr:
        sys.argv = [name, *arguments]
        os.environ.update(environment)
        os.chdir(ROOT)
        try:
            run(module.main)
        except SystemExit as ended:
            assert ended.code is None or isinstance(ended.code, int), ended
            status = ended.code or 0
    return subprocess.CompletedProcess([name, *arguments], status, stdout.getvalue(), stderr.getvalue())
