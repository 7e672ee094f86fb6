"""Any model: files of every kind, and the user's own code."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from evaluation.models.embedder import Embedder
from evaluation.models.load import load_model
from evaluation.models.options import add_model_options, open_embedder
from evaluation.models.pictures import Picture, Preparation
from shards.command import Parser, UserError
from training.networks.backbones import build_backbone
from training.networks.export_formats import onnx_bytes, safetensors_bytes, torchscript_bytes

SIZE = 32


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("spherenet4", SIZE, 16).eval()


@pytest.fixture(scope="module")
def folder(backbone: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in every kind of file."""
    out = tmp_path_factory.mktemp("models")
    torch.save(backbone.state_dict(), out / "net.pth")
    loaded = load_model(str(out / "net.pth"))
    (out / "net.safetensors").write_bytes(safetensors_bytes(loaded))
    (out / "net.onnx").write_bytes(onnx_bytes(loaded))
    (out / "net.ts").write_bytes(torchscript_bytes(loaded))
    save_file(backbone.state_dict(), out / "plain.safetensors")
    return out


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def embeddings(loaded: object, faces: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return loaded.backbone(faces).numpy()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.onnx", "plain.safetensors"])
def test_every_file_gives_the_same_embeddings(
    folder: Path, backbone: nn.Module, faces: torch.Tensor, name: str
) -> None:
    given = {"template": "paper", "size": SIZE} if name.startswith("plain") else {}
    loaded = load_model(str(folder / name), **given)  # type: ignore[arg-type]
    with torch.inference_mode():
        expected = backbone(faces).numpy()
    np.testing.assert_allclose(embeddings(loaded, faces), expected, atol=1e-5)
    assert loaded.preprocessing == load_model(str(folder / "net.pth")).preprocessing
    assert len(loaded.sha256) == 64


@pytest.mark.slow
def test_what_a_file_does_not_say_is_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(tmp_path / "open.onnx", side="side")
    with pytest.raises(UserError, match=r"--template \(paper, centred, whole\) and --size"):
        load_model(str(tmp_path / "open.onnx"))
    plain = str(folder / "plain.safetensors")
    with pytest.raises(UserError, match="trained with size 32, --size 64 is given"):
        load_model(plain, template="paper", size=64)
    assert load_model(plain, template="centred").preprocessing.template == "centred"
    # A plain state dict implies its size and the published template, which may be told better.
    assert load_model(str(folder / "net.pth"), template="whole").preprocessing.points == ()
    # A file that says how its pictures are prepared is believed.
    assert load_model(str(folder / "net.onnx"), template="paper", size=SIZE).preprocessing.template == "paper"
    for name, given in (
        ("net.onnx", {"template": "whole"}),
        ("net.safetensors", {"size": 64}),
        ("net.pth", {"template": "centred", "size": 64}),
    ):
        (option, value), own = list(given.items())[-1], {"template": "paper", "size": SIZE}
        told = f"trained with {option} {own[option]}, --{option} {value} is given"
        with pytest.raises(UserError, match=told):
            load_model(str(folder / name), **given)  # type: ignore[arg-type]
        loaded = load_model(str(folder / name), beside_others=True, **given)  # type: ignore[arg-type]
        assert loaded.preprocessing.size == SIZE
        assert told in capsys.readouterr().err


def test_torchscript_and_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is TorchScript, a program"):
        load_model(str(folder / "net.ts"))
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="name the code that builds it"):
        load_model(str(tmp_path / "other.safetensors"), template="paper", size=SIZE)
    with pytest.raises(UserError, match="no checkpoint"):
        load_model("nowhere/net.pth")


def foreign(path: Path, *, batch: int | str = "batch", side: int | str = SIZE, outputs: int = 1) -> np.ndarray:
    """Write an ONNX model as another program would: every picture times a matrix."""
    matrix = np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, 8)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["data"], ["flat"])]
    nodes += [helper.make_node("MatMul", ["flat", "w"], [f"fc{k}"]) for k in range(outputs)]
    graph = helper.make_graph(
        nodes,
        "arcface",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(f"fc{k}", TensorProto.FLOAT, [batch, 8]) for k in range(outputs)],
        [numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return matrix


@pytest.mark.parametrize(("batch", "side"), [("batch", SIZE), (1, SIZE), (3, SIZE), ("batch", "height")])
def test_an_onnx_model_of_another_program(
    tmp_path: Path, faces: torch.Tensor, batch: int | str, side: int | str
) -> None:
    matrix = foreign(tmp_path / "net.onnx", batch=batch, side=side)
    with pytest.raises(UserError, match="--template"):
        load_model(str(tmp_path / "net.onnx"))
    loaded = load_model(str(tmp_path / "net.onnx"), template="centred", size=SIZE)
    np.testing.assert_allclose(embeddings(loaded, faces), faces.flatten(1).numpy() @ matrix, rtol=1e-3, atol=1e-3)
    assert loaded.preprocessing.template == "centred"


def test_an_onnx_model_that_is_no_such_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    foreign(path, outputs=2)
    with pytest.raises(UserError, match=r"computes fc0 .*, fc1 .* expected one output"):
        load_model(str(path), template="paper", size=SIZE)
    foreign(path)
    with pytest.raises(UserError, match=r"expected .* \(N, 3, 64, 64\)"):
        load_model(str(path), template="paper", size=64)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        import torch
        from torch import nn
        def network(size, embedding_size=4):
            torch.manual_seed(0)
            return nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(3 * size * size, embedding_size))
        def function():
            return lambda pictures: pictures.mean(dim=(2, 3))
        ready = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        def nothing(): return 7
        def flat(size): return lambda pictures: pictures
        def failing(size):
            return nn.Linear(3, 4)
        number = 3
    """
    (tmp_path / "theirs.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)


def own(name: str) -> object:
    return load_model(f"theirs:{name}", template="whole", size=SIZE)


def test_the_users_own_code(code: None, faces: torch.Tensor) -> None:
    np.testing.assert_array_equal(embeddings(own("function"), faces), faces.mean(dim=(2, 3)).numpy())
    assert embeddings(own("ready"), faces).shape == (5, 12)
    network = own("network")
    np.testing.assert_array_equal(embeddings(network, faces), embeddings(network, faces))


def test_mistakes_in_the_users_own_code_are_told_in_one_line(code: None) -> None:
    for name, says in {
        "nothing": "returned a int",
        "flat": r"gives \(2, 3, 32, 32\) for 2 pictures",
        "failing": r"theirs:failing failed: RuntimeError: .*\(.*, line \d+\)",
        "number": "has no callable number",
        "absent": "has no callable absent",
    }.items():
        with pytest.raises(UserError, match=says):
            own(name)
    with pytest.raises(UserError, match="say it with --template"):
        load_model("theirs:network", size=SIZE)
    with pytest.raises(UserError, match="install the module"):
        load_model("nowhere.to_be:found", template="paper", size=SIZE)


def test_an_onnx_model_is_not_told_to_compute_otherwise(folder: Path) -> None:
    command = Parser()
    add_model_options(command)
    options = command.parse_args(["--precision", "bfloat16", "--no-cache"])
    with pytest.raises(UserError, match="computes as it was written"):
        open_embedder(str(folder / "net.onnx"), options, "cpu")
    assert open_embedder(str(folder / "net.pth"), options, "cpu")[0].preprocessing.size == SIZE


def test_an_onnx_model_embeds_pictures(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = Picture("a", tmp_path / "a.png", Preparation("whole", SIZE))
    vectors = [
        Embedder(load_model(str(folder / name)), device="cpu", flip=True).embed([picture]).vectors
        for name in ("net.pth", "net.onnx")
    ]
    np.testing.assert_allclose(*vectors, atol=1e-5)


@pytest.mark.slow
def test_an_onnx_model_is_opened_without_telling_anyone(folder: Path, tmp_path: Path) -> None:
    unset = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = f"""
        import pathlib, training.networks.onnx_backbone
        training.networks.onnx_backbone.OnnxBackbone(pathlib.Path({str(folder / "net.onnx")!r}), {SIZE})
    """
    environment = {**unset, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True)
    assert not (tmp_path / ".ses").exists(), "onnxruntime began a session of its telemetry"


def test_colours_and_scale_can_be_given(folder: Path, faces: torch.Tensor) -> None:
    plain = load_model(str(folder / "net.pth"))
    other = load_model(str(folder / "net.pth"), colour="BGR", mean=0.0, deviation=255.0)
    assert other.preprocessing.input_told == "BGR, (x - 0) / 255"
    np.testing.assert_allclose(
        embeddings(other, faces), embeddings(plain, (faces.flip(1) * 127.5 + 127.5) / 255), atol=1e-5
    )


def test_an_onnx_file_says_the_size_of_its_pictures(tmp_path: Path) -> None:
    foreign(tmp_path / "fixed.onnx", batch=1)
    assert load_model(str(tmp_path / "fixed.onnx"), template="centred").preprocessing.size == SIZE
