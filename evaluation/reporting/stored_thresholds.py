"""The thresholds of an evaluation, read back from its results.json."""

from pathlib import Path

from shards.command import UserError
from shards.json_file import read_object
from training.networks.backbone_file import LoadedBackbone


def thresholds_of(path: Path, loaded: "LoadedBackbone", *, flip: bool) -> list[tuple[str, str, float]]:
    """Return protocol, figure and threshold of every figure of a model that has one.

    Args:
        path: results.json of an evaluation.
        loaded: the model.
        flip: whether its embeddings are the mean over the picture and its mirror image.

    Raises:
        UserError: no such file, or it is of another model or other settings, or holds no thresholds.
    """
    try:
        data = read_object(path)
        models = [model["label"] for model in data["models"] if model["sha256"] == loaded.sha256 and loaded.sha256]
        if not models:
            raise UserError(f"{path} is of another model; evaluate {loaded.name} and name that results.json")
        if bool(data["settings"]["flip"]) != flip:
            raise UserError(f"{path} was made {'with' if not flip else 'without'} --flip; compare the same way")
        found = [
            (str(protocol["protocol"]), str(figure["name"]), float(figure["threshold"]))
            for protocol in data["protocols"]
            for result in protocol["results"]
            if result["model"] == models[0]
            for figure in result["figures"]
            if figure.get("threshold") is not None
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is no results.json of an evaluation: {error!r}") from error
    if not found:
        raise UserError(f"{path} holds no threshold; evaluate a verification protocol, such as with --survface")
    return found
