"""The exported file beside the network that it came from, in float32 and in 8 bits: what an export costs, by size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.metrics.paired import Difference, differences_of
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.options import open_embedder
from evaluation.models.quantised import Quantised
from evaluation.models.recorded import Recorded
from evaluation.reporting.differences import told
from evaluation.reporting.results import Model, Report
from shards.command import UserError
from shards.writer import write_atomically
from training.networks.backbone_file import LoadedBackbone
from training.networks.export_formats import onnx_bytes
from training.networks.exported_file import load_trainable
from training.networks.input_adapter import adapt_input

_LOWER_IS_BETTER = "EER"


def exported_columns(
    options: Any, device: str, network: LoadedBackbone, model: Model, recorded: Recorded
) -> list[tuple[PictureEmbedder, Model]]:
    """Return the file in float32, and its 8-bit version, which is made when it is first asked.

    Args:
        options: of `python -m evaluation`; `parity` names the file, "" has it exported into the report's folder.
        device: "cpu" or "gpu".
        network: that it came from.
        model: the same, as the report describes it.
        recorded: the network while it is measured; what it sees the 8 bits are calibrated on.

    Raises:
        UserError: the network cannot be exported, or the file takes other pictures.
    """
    folder = options.out / "parity"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another --out") from error
    exported = Path(options.parity or folder / f"{Path(options.checkpoint[0]).stem}.onnx")
    if not options.parity:
        _export(Path(options.checkpoint[0]), exported, network, averaged=options.averaged)
    embedder, loaded = open_embedder(str(exported), options, device, beside_others=True)
    for name in ("template", "size"):
        own, other = (getattr(one.preprocessing, name) for one in (network, loaded))
        if own != other:
            raise UserError(f"{exported} takes pictures of {name} {other}, {model.file} of {own}; export it again")
    eight = folder / f"{exported.stem}-int8.onnx"
    quantised = Quantised(
        exported,
        eight,
        loaded.preprocessing,
        lambda: recorded.sample,
        lambda path: open_embedder(str(path), options, device, beside_others=True)[0],
    )
    about = replace(Model.of(exported, loaded), label=f"{model.label}, exported")
    return [(embedder, about), (quantised, replace(about, label=f"{about.label}, 8 bits", file=eight.name, sha256=""))]


def _export(checkpoint: Path, out: Path, network: LoadedBackbone, *, averaged: bool) -> None:
    """Write the network as `python -m training.export` does, with the form of its pictures as they are evaluated."""
    if not checkpoint.is_file():
        raise UserError(f"--parity with {checkpoint}, which is no file; export it yourself and give --parity FILE.onnx")
    loaded = replace(load_trainable(checkpoint, averaged), preprocessing=network.preprocessing)
    adapt_input(loaded.backbone, None)
    write_atomically(out, onnx_bytes(loaded))


def described(columns: list[tuple[PictureEmbedder, Model]]) -> tuple[Model, ...]:
    """Return the models with the SHA-256 of the files that were made while they were measured."""
    return tuple(
        replace(model, sha256=embedder.sha256()) if isinstance(embedder, Quantised) else model
        for embedder, model in columns
    )


def losses(report: Report) -> list[str]:
    """Say of every model that is compared with another which figure it loses most of, beyond chance."""
    lines = []
    for one, other in report.compared:
        worst: tuple[str, Difference] | None = None
        for protocol, outcomes in report.outcomes.items():
            for found in differences_of(outcomes[one].figures, outcomes[other].figures):
                if found.excludes_zero and _loss(found) > (_loss(worst[1]) if worst else 0):
                    worst = protocol, found
        label = report.models[one].label
        lost = (
            f"loses most in {worst[0]}, {worst[1].figure}: {told(worst[1])}" if worst else "loses nothing beyond chance"
        )
        lines.append(f"{label}: {lost}")
    return lines


def _loss(difference: Difference) -> float:
    return difference.value if _LOWER_IS_BETTER in difference.figure else -difference.value
