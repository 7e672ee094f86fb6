"""One trial: train a variant without the people of a fold, and test it on them."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.models.embedder import Embedded, Embedder
from evaluation.models.gallery_model import mean_embedding
from evaluation.models.load import load_model
from evaluation.models.preparation import aligned
from experiments.trials.measure import SMALL, open_set_figures, person_figures
from shards.command import UserError
from shards.format import Preprocessing
from shards.writer import write_atomically
from training.checkpoints.run_folder import FINAL, METRICS
from training.engine.loop import train
from training.engine.run import Run
from training.monitoring.metrics_file import read_lines
from training.networks.backbone_file import TRUSTED
from training.networks.exported_file import load_trainable
from training.ranks.world import joined_world
from training.settings.config import Config


@dataclass(frozen=True)
class Trial:
    """What to train and on whom to test it.

    Attributes:
        population: name of the people.
        variant: name.
        fold: whose people are tested.
        seed: of the initial weights and of every draw.
        config: of the run.
        shards: of the people trained on.
        photos: of the people tested: person, path, (5, 2) landmarks in pixels.
        sizes: sides in pixels to which probes are reduced; the network's own size is in full.
        teacher: file of the recogniser that is adapted, None where a network is trained from nothing.
        trained: whether there is anything to train; otherwise the recogniser is tested as it is.
    """

    population: str
    variant: str
    fold: int
    seed: int
    config: Config
    shards: Path
    photos: tuple[tuple[str, Path, NDArray[np.float64]], ...]
    sizes: tuple[int, ...]
    teacher: Path | None = None
    trained: bool = True

    @property
    def name(self) -> str:
        """Name in file names."""
        return f"{self.population}-{self.variant}-fold{self.fold}-seed{self.seed}"

    def result_path(self, out: Path) -> Path:
        """Path of the trial's result once it is done."""
        return out / "trials" / f"{self.name}.json"


def run_trial(trial: Trial, out: Path) -> str:
    """Train and test, continuing what an interrupted trial left; keep the result and return the trial's name.

    Raises:
        UserError: the training was stopped, or cannot continue.
    """
    torch.set_num_threads(1)
    # The same trial gives the same figures, in whichever process and after whatever interruption.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # The checkpoint was written by this very trial, so what it names may be imported.
    os.environ[TRUSTED] = trial.config.model.backbone
    run_dir = out / "runs" / trial.name
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.txt").open("a") as log, contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
        if trial.trained:
            with joined_world("cpu") as world:
                steps = train(_run(trial, run_dir), world)
            if steps < trial.config.steps:
                raise UserError(f"{trial.name} was stopped at step {steps}; run the same command again")
        result = {
            "population": trial.population,
            "variant": trial.variant,
            "fold": trial.fold,
            "seed": trial.seed,
            "config": trial.config.to_dict(),
            "training": _training(run_dir / METRICS) if trial.trained else [],
            **_test(trial, run_dir / FINAL),
        }
    path = trial.result_path(out)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(result) + "\n").encode())
    # A run's folder is there whole or not at all.
    done_with = run_dir.with_name(f".{trial.name}")
    shutil.rmtree(done_with, ignore_errors=True)
    run_dir.rename(done_with)
    shutil.rmtree(done_with)
    return trial.name


def _run(trial: Trial, run_dir: Path) -> Run:
    """Return the run of a trial; a recogniser that nothing is held to is only what it begins with."""
    teacher = trial.teacher if trial.config.distillation.is_on else None
    first = trial.teacher if teacher is None else None
    return Run(trial.config, "ablation", (trial.shards,), run_dir, resume=True, init_from=first, teacher=teacher)


def _test(trial: Trial, checkpoint: Path) -> dict[str, Any]:
    """Return the people and, by size, their figures; of an adapted recogniser also with other galleries."""
    people = np.array([person for person, _, _ in trial.photos])
    old = load_trainable(trial.teacher) if trial.teacher else None
    loaded = load_model(str(checkpoint)) if trial.trained else old
    assert loaded is not None
    embedder = Embedder(loaded, device="cpu")
    form = embedder.preprocessing
    sizes = trial.sizes if old is None else tuple(sorted({*trial.sizes, SMALL}))
    vectors = _embed(trial, embedder, form, sizes)
    enrolled = _embed(trial, Embedder(old, device="cpu"), form, ())[form.size] if old is not None else None
    figures = {}
    for size in (*trial.sizes, form.size):
        full, reduced = vectors[form.size], vectors[size]
        found = person_figures(full, reduced, people)
        if enrolled is not None:
            found |= open_set_figures(full, reduced, vectors[SMALL], people)
            found |= {f"old {name}": own for name, own in person_figures(enrolled, reduced, people).items()}
            both = mean_embedding(Embedded(reduced, {}), Embedded(full, {})).vectors
            of_both = person_figures(both, reduced, people) | open_set_figures(both, reduced, vectors[SMALL], people)
            found |= {f"both {name}": own for name, own in of_both.items()}
        figures[str(size)] = {name: values.tolist() for name, values in found.items()}
    return {"people": np.unique(people).tolist(), "figures": figures}


def _embed(
    trial: Trial, embedder: Embedder, form: Preprocessing, lows: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """Embed the tested photos, reduced to every size and in full: size -> (N, D)."""
    sizes = (*lows, form.size)
    # In one go, so that a photo is read and aligned once.
    embedded = embedder.embed(
        [
            aligned(f"{person}/{path.name}", path, points, form, None if size == form.size else size)
            for person, path, points in trial.photos
            for size in sizes
        ]
    )
    if embedded.faults:
        name, reason = next(iter(embedded.faults.items()))
        raise UserError(f"{len(embedded.faults)} tested photos cannot be used, such as {name} ({reason})")
    return {size: embedded.vectors[place :: len(sizes)] for place, size in enumerate(sizes)}


def _training(metrics: Path) -> list[dict[str, float]]:
    """Return step and losses as the run logged them."""
    kept = ("loss", "triplet")
    return [{"step": line.step, **{name: line.figures[name] for name in kept}} for line in read_lines(metrics)]
