"""The stages of an adaptation, each a command of this program that can be run by itself."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from shards.command import UserError
from training.settings.config import Config

_TIMED_PICTURES = 4


@dataclass
class Stages:
    """Runs one command after the other, each in a process of its own, and says which it is and how long it took.

    Attributes:
        count: number of stages.
        done: how many of them have been begun.
    """

    count: int
    done: int = 0

    def begin(self, title: str) -> None:
        """Say which stage begins."""
        self.done += 1
        print(f"{self.done}/{self.count} {title}", file=sys.stderr, flush=True)

    def run(self, title: str, module: str, *arguments: object, launcher: Sequence[object] = ()) -> None:
        """Run a command whose output goes where this program's goes.

        Args:
            title: of the stage.
            module: what stands behind `python -m`.
            arguments: of the command.
            launcher: module that starts the command instead, with its own arguments.

        Raises:
            UserError: the command failed; it has said why.
        """
        self.begin(title)
        start = [*launcher, "--module", module] if launcher else [module]
        words = ["-m", *map(str, (*start, *arguments))]
        print(f"    python {shlex.join(words)}", file=sys.stderr, flush=True)
        began = time.monotonic()
        # torchrun would say that it sets it.
        one_thread = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")} if launcher else {}
        status = subprocess.run([sys.executable, *words], env={**os.environ, **one_thread}, check=False).returncode
        if status:
            raise UserError(
                f"stage {self.done} of {self.count} ended with status {status}, for the reason above; when it is "
                "mended, the same command goes on from there"
            )
        print(f"    {time.monotonic() - began:,.0f} s", file=sys.stderr, flush=True)


def seconds_of_training(backbone: nn.Module, size: int, config: Config, threads: int) -> float:
    """Estimate how long a run with a teacher takes on CPU cores, from a few pictures through its network.

    Every view goes forward and back through the student, and every photo in full once more through the teacher.

    Args:
        backbone: the teacher, (N, 3, S, S) to (N, D).
        size: S, side of its pictures in pixels.
        config: of the run.
        threads: cores in use by all processes together.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pictures = torch.zeros(_TIMED_PICTURES, 3, size, size)
        backbone.eval().requires_grad_(True)
        backbone(pictures).sum().backward()
        began = time.perf_counter()
        with torch.no_grad():
            backbone(pictures)
        forward = time.perf_counter() - began
        began = time.perf_counter()
        backbone(pictures).sum().backward()
        both = time.perf_counter() - began
    finally:
        torch.set_num_threads(before)
        backbone.zero_grad()
    views = len(config.views.sizes)
    photos = len(config.views.photo_groups)
    return config.steps * config.batch * (views * both + photos * forward) / _TIMED_PICTURES
