"""The columns of a report: the models that a user names, and those with another model's gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import with_gallery_of
from evaluation.models.options import open_embedder
from evaluation.models.recorded import Recorded
from evaluation.models.stored_embeddings import StoredEmbeddings
from evaluation.reporting.parity import described, exported_columns
from evaluation.reporting.results import Model
from shards.command import UserError


@dataclass(frozen=True)
class Columns:
    """What stands side by side.

    Attributes:
        embedders: one a column.
        models: what each of them is.
        leaks_out: whether every second column leaves out what leaks from the training shards.
        recorded: the first of them, which notes the pictures it is asked for.
        compared: places of two columns each whose differences are shown; None: every one with the first.
    """

    embedders: tuple[PictureEmbedder, ...]
    models: tuple[Model, ...]
    recorded: Recorded
    compared: tuple[tuple[int, int], ...] | None = None
    leaks_out: bool = False

    @property
    def without_leaks(self) -> tuple[bool, ...]:
        """Of every column whether it leaves out what leaks from the training shards."""
        return tuple(self.leaks_out and place % 2 == 1 for place in range(len(self.models)))

    def also_without_leaks(self) -> "Columns":
        """Put a second column after each, which leaves out what leaks from the training shards."""
        models = (one for m in self.models for one in (m, replace(m, label=f"{m.label}, without leaks")))
        pairs = None
        if self.compared is not None:
            pairs = tuple((2 * a + more, 2 * b + more) for a, b in self.compared for more in (0, 1))
        embedders = tuple(one for one in self.embedders for _ in (0, 1))
        return Columns(embedders, tuple(models), self.recorded, pairs, leaks_out=True)

    def described(self) -> tuple[Model, ...]:
        """Return what the models are, once they were measured."""
        return described(list(zip(self.embedders, self.models, strict=True)))


def columns_of(options: Any, device: str) -> Columns:
    """Open every checkpoint, then every file of embeddings, as the options of `python -m evaluation` name them.

    With the gallery of another model each stands twice, with its own and with the other's, and the other one last; with
    --parity behind the one checkpoint its exported file, in float32 and in 8 bits.

    Raises:
        UserError: one cannot be loaded, or does not fit the gallery's model.
    """
    if options.parity is not None and (len(options.checkpoint) != 1 or options.embeddings or options.gallery_model):
        raise UserError("--parity shows one model; give one --checkpoint, and neither --embeddings nor --gallery-model")
    own = _named(options, device)
    if options.gallery_model is None:
        return own
    name = options.gallery_model
    gallery, loaded = open_embedder(name, options, device, beside_others=True)
    *models, old = _unlike([*own.models, Model.of(Path(name), loaded)])
    if any(model.sha256 and model.sha256 == old.sha256 for model in models):
        raise UserError(f"--gallery-model {name} is given as a model, too; leave it out there: it is shown anyway")
    columns: list[tuple[PictureEmbedder, Model]] = []
    compared: list[tuple[int, int]] = []
    last = 2 * len(models)
    for embedder, model in zip(own.embedders, models, strict=True):
        place = len(columns)
        crossed = replace(model, label=f"{model.label}, gallery of {old.label}", gallery=old.label)
        columns += [(embedder, model), (with_gallery_of(model.label, embedder, name, gallery), crossed)]
        compared += [(place + 1, place), (place + 1, last), (place, last)]
    columns.append((gallery, old))
    embedders, shown = zip(*columns, strict=True)
    return Columns(embedders, shown, own.recorded, tuple(compared))


def _named(options: Any, device: str) -> Columns:
    several = len(options.checkpoint) > 1 or options.gallery_model is not None or options.parity is not None
    opened = [open_embedder(name, options, device, beside_others=several) for name in options.checkpoint]
    stored = [StoredEmbeddings(Path(name)) for name in options.embeddings]
    models = [Model.of(Path(name), loaded) for name, (_, loaded) in zip(options.checkpoint, opened, strict=True)]
    models += [
        Model.of_embeddings(Path(name), file.origin) for name, file in zip(options.embeddings, stored, strict=True)
    ]
    embedders: list[PictureEmbedder] = [*(embedder for embedder, _ in opened), *stored]
    embedders[0] = recorded = Recorded(embedders[0])
    columns = list(zip(embedders, _unlike(models), strict=True))
    if options.parity is not None:
        columns += exported_columns(options, device, opened[0][1], models[0], recorded)
    return Columns(tuple(one for one, _ in columns), tuple(model for _, model in columns), recorded)


def _unlike(models: Sequence[Model]) -> tuple[Model, ...]:
    """Number the labels where several models have the same."""
    labels = [model.label for model in models]
    return tuple(
        replace(model, label=f"{model.label} ({number + 1})") if labels.count(model.label) > 1 else model
        for number, model in enumerate(models)
    )
