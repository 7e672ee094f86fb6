"""The authors' `config.json`, their program's arguments beside a checkpoint, compared with the weights.

Only the weights decide what is built. Nothing in the file is needed, its names are not fixed, and it may belong to
another release: a setting that contradicts the weights is a warning.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shards.json_file import read_object

SETTINGS = "config.json"
_EMBEDDING = re.compile(r"(embedding|embed|emb|feature|feat)s?(_?(size|dims?|dimensions?|length|len))?")
_SIDE = re.compile(r"(image|img|input|face|crop|hr|in)_?(size|res|resolution)|size|resolution")
_BACKBONE = re.compile(r"(backbone|net|network|model|arch|architecture)(_?(name|type))?")


def warn_of_contradicting_settings(checkpoint: Path, *, backbone: str, size: int, embedding_size: int) -> None:
    """Warn of every setting beside a checkpoint that its weights contradict.

    Args:
        checkpoint: the authors' file.
        backbone: name of the network that the weights are of.
        size: side of its input in pixels.
        embedding_size: length of its embedding.
    """
    path = checkpoint.parent / SETTINGS
    for name, value in _settings(path):
        key = re.sub(r"[^a-z_]", "", name.rsplit(".", 1)[-1].lower().replace("-", "_"))
        found: object = None
        if _EMBEDDING.fullmatch(key) and _is_number(value):
            found = embedding_size if value != embedding_size else None
        elif _SIDE.fullmatch(key) and all(map(_is_number, _as_list(value))):
            found = size if any(side != size for side in _as_list(value)) else None
        elif _BACKBONE.fullmatch(key) and isinstance(value, str):
            found = backbone if _contradicts(value, backbone) else None
        if found is not None:
            setting = " ".join(f"{name} {value}".split())[:200]
            print(
                f"warning: {path} says {setting}, but the weights are of {found}; the setting is ignored",
                file=sys.stderr,
            )


def _settings(path: Path) -> list[tuple[str, Any]]:
    """Return the settings of a file by name; none if there is no file, or it cannot be read."""
    if not path.is_file():
        return []
    try:
        return list(_flat(read_object(path), ""))
    except ValueError as error:
        print(f"warning: {path} cannot be read ({error}); it is ignored", file=sys.stderr)
        return []


def _flat(data: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, data


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _contradicts(value: str, backbone: str) -> bool:
    """Tell whether a network's name, such as SphereNet-20 or sphere20a, is of another depth or another family."""
    depth = re.search(r"\d+", value)
    if depth is not None and not backbone.endswith(f"net{depth[0]}"):
        return True
    return bool(re.match(r"(resnet|ir(_?se)?\W?\d)", value.lower()))
