"""An ONNX file with the weights that it keeps in files beside it: read from its own folder, and hashed together."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError, Message
from onnx import ModelProto, TensorProto

from shards.command import UserError, first_line
from shards.digest import file_sha256

_MOST_BYTES = 2**31 - 1


class OnnxFile(NamedTuple):
    """An ONNX model, every weight inside it, and the SHA-256 of its file and of all that it reads beside it."""

    model: ModelProto
    sha256: str


def read_onnx_file(path: Path) -> OnnxFile:
    """Read an ONNX model whole.

    Weights beside the file are read from its folder or one below, never from elsewhere and never through a link. The
    SHA-256 of a model in one file is that of the file.

    Raises:
        UserError: it is damaged, is no ONNX model, or its weights lie elsewhere, lack or are larger than 2 GB.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or no ONNX model: {first_line(error)}") from error
    sha256 = file_sha256(path)
    tensors = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    if not tensors:
        return OnnxFile(model, sha256)
    places = {str(_about(tensor).get("location", "")) for tensor in tensors}
    files = {place: _file_inside(path, place) for place in sorted(places)}
    if sum(file.stat().st_size for file in files.values()) > _MOST_BYTES:
        raise UserError(f"{path} keeps more than 2 GB of weights in files beside it, more than an ONNX model can hold")
    for tensor in tensors:
        _fill(tensor, files[str(_about(tensor).get("location", ""))], path)
    told = [sha256, *(f"{place}\0{file_sha256(file)}" for place, file in files.items())]
    return OnnxFile(model, hashlib.sha256("\0".join(told).encode()).hexdigest())


def model_sha256(path: Path) -> str:
    """Return the SHA-256 of a model's file; of an ONNX file together with the weights beside it.

    Raises:
        UserError: an ONNX file that `read_onnx_file` refuses.
        OSError: the file cannot be read.
    """
    return read_onnx_file(path).sha256 if path.suffix == ".onnx" else file_sha256(path)


def _about(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _file_inside(path: Path, place: str) -> Path:
    """Return the file of a name in the model's folder."""
    folder = path.resolve().parent
    try:
        file = (folder / place).resolve()
        # A link is refused too: what it leads to may change without its name.
        inside = file == folder / place and file.is_relative_to(folder) and file != folder
        there = inside and file.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = there = False
    if not inside:
        raise UserError(
            f"{path} keeps weights in {place[:80]!r}, which does not lie in its own folder; "
            "expected a plain file beside it"
        )
    if not there:
        raise UserError(
            f"{path} keeps weights in {place[:80]!r}, which is not beside it; put that file into its folder"
        )
    return file


def _fill(tensor: TensorProto, file: Path, path: Path) -> None:
    """Put the bytes of a tensor into it."""
    about = _about(tensor)
    try:
        offset, length = int(about.get("offset", "0")), int(about.get("length", "-1"))
        size = file.stat().st_size
        length = size - offset if length < 0 else length
        if offset < 0 or offset + length > size:
            raise ValueError(f"bytes {offset} to {offset + length} of {size}")
        with file.open("rb") as opened:
            opened.seek(offset)
            data = opened.read(length)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: its weights {tensor.name[:80]!r} in {file.name} cannot be read: {error}") from error
    tensor.raw_data = data
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Yield every tensor of a model, wherever it stands: initializers, attributes, functions, branches."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            # A field that holds several is a container of them.
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)
