"""The exported file beside the network that it came from: the same in float32, another in 8 bits, and both told."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from evaluation import __main__ as command
from evaluation.metrics.figures import Figure, Outcome
from evaluation.metrics.intervals import Resampled
from evaluation.models.load import load_model
from evaluation.reporting.parity import losses
from evaluation.reporting.results import Model, Report, Settings
from pipeline.alignment.align import preprocessing
from shards.command import UserError
from tests.evaluation.people import write_people
from tests.training.peers.test_onnx_network import small_network, written

PEOPLE = ["anna", "bert", "carl", "dora"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["evaluation", *map(str, words), "--no-cache", "--device", "cpu"])
    command.main()


@pytest.fixture
def people(tmp_path: Path) -> tuple[object, ...]:
    write_people(tmp_path / "known", PEOPLE, range(1))
    write_people(tmp_path / "seen", PEOPLE, range(1, 4))
    return ("--gallery", tmp_path / "known", "--probes", tmp_path / "seen", "--sizes", 8, "--aligned")


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 1])
def test_three_columns_of_one_network(
    batch: int | None,
    people: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, out = written(small_network(), tmp_path / "net.onnx", batch), tmp_path / "report"
    form = ("--template", "paper", "--colour", "BGR", "--mean", 120, "--deviation", 128)
    run(monkeypatch, "--checkpoint", file, *form, *people, "--parity", "--out", out)
    printed = capsys.readouterr().out
    assert "parity      net, exported: loses nothing beyond chance" in printed
    assert "calibrated on 28 pictures" in printed, "four of the gallery, twelve probes in full and reduced"
    made = [out / "parity" / name for name in ("net.onnx", "net-int8.onnx")]
    data = json.loads((out / "results.json").read_text())
    assert [model["label"] for model in data["models"]] == ["net", "net, exported", "net, exported, 8 bits"]
    assert [m["sha256"] for m in data["models"][1:]] == [hashlib.sha256(f.read_bytes()).hexdigest() for f in made]
    exported, eight = data["protocols"][0]["differences"]
    assert all(abs(figure["value"] or 0) < 1e-9 for figure in exported["figures"])
    assert [one["figure"] for one in eight["figures"]] == [one["figure"] for one in exported["figures"]]
    kinds = {tensor.data_type for tensor in onnx.load(made[1]).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    float32, int8 = (load_model(str(path)) for path in made)
    assert float32.preprocessing == int8.preprocessing
    assert (int8.preprocessing.colour, int8.preprocessing.mean) == ("BGR", 120)
    faces = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        one, other = (torch.nn.functional.normalize(net.backbone(faces)) for net in (float32, int8))
    alike = (one * other).sum(dim=1)
    assert alike.min() > 0.9
    assert (alike < 1 - 1e-6).any(), "eight bits are not float32"


def test_what_does_not_go_together(people: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(small_network(), tmp_path / "net.onnx", 1)
    words = ("--checkpoint", file, "--template", "paper", *people, "--out", tmp_path / "report")
    with pytest.raises(UserError, match="--parity shows one model"):
        run(monkeypatch, *words, "--checkpoint", file, "--parity")
    with pytest.raises(UserError, match=r"none\.onnx is damaged or no ONNX model"):
        (tmp_path / "none.onnx").write_bytes(b"\x08 no network")
        run(monkeypatch, *words, "--parity", tmp_path / "none.onnx")


def test_the_greatest_loss_beyond_chance_is_told() -> None:
    draws = np.linspace(0.4, 0.6, 1000)

    def outcome(**values: float) -> Outcome:
        figures = (Figure(n, v, 9, Resampled((v - 0.1, v + 0.1), draws + v, "a")) for n, v in values.items())
        return Outcome("Own people", tuple(figures))

    model = Model("net", "net.pt", "0", "spherenet4", 1, "x", preprocessing("paper", 32))
    models = (model, Model(**{**vars(model), "label": "net, 8 bits"}), Model(**{**vars(model), "label": "same"}))
    before = outcome(TAR=0.8, EER=0.1, rank=0.9)
    after = outcome(TAR=0.75, EER=0.19, rank=0.95)
    settings = Settings("cpu", False, (8,))
    report = Report(models, {"Own people": (before, after, before)}, {}, settings, {})
    assert losses(report) == [
        "net, 8 bits: loses most in Own people, EER: +9.00 (+9.0 to +9.0) *",
        "same: loses nothing beyond chance",
    ]
