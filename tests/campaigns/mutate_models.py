"""Damage every file that stands for a model or a run: `python -m tests.campaigns.mutate_models --cases 10000`.

Checkpoints, the authors' weights and the settings beside them, exported files, embeddings, and what a run folder
holds. Their bytes are damaged, and they are written anew, checksums and all, with other values. Each case must be
read, be passed over with a warning, or end as a mistake told in one line. The readers work in a process of their own,
so that a crash or a hang of it is a finding too.
"""

import io
import json
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import time
import warnings
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.campaigns.mutate_evaluation import judged
from tests.campaigns.mutations import Reader, mutated, other_fields, other_json, run

LIMIT = 60.0
"""Seconds after which a case counts as a hang."""
_SIZE, _EMBEDDING = 16, 4
Damage = Callable[[bytes, random.Random], bytes]


def readers(scratch: Path) -> dict[str, Reader]:
    """Write sound inputs and return who reads them."""
    return {**_model_files(scratch), **_run_files(scratch / "run"), **_result_files(scratch)}


def _model_files(scratch: Path) -> dict[str, Reader]:
    """Write every kind of model: of a tiny network of ours, and a SphereNet as the authors have it."""
    import torch

    from evaluation.models import load_model
    from training.checkpoint import load_backbone
    from training.export_formats import FORMATS
    from training.model import build_backbone

    ours = scratch / "ours.pt"
    _write_checkpoint(ours, step=3)
    released, old = scratch / "released" / "net_backbone.pth", scratch / "old.pth"
    released.parent.mkdir()
    network = build_backbone("spherenet4", _SIZE, _EMBEDDING)
    torch.save(network.state_dict(), released)
    torch.save(network.state_dict(), old, _use_new_zipfile_serialization=False)
    settings = released.with_name("config.json")
    settings.write_text(json.dumps({"embedding_size": 4, "image_size": [16, 16], "net": {"backbone": "SphereNet-4"}}))
    exported = {kind: scratch / f"exported.{kind}" for kind in FORMATS}
    for kind, path in exported.items():
        path.write_bytes(FORMATS[kind](load_backbone(ours)))

    def load(path: Path) -> Callable[[], object]:
        return lambda: _used(load_model(str(path), template="paper", size=_SIZE))

    return {
        "ours.pt": Reader(ours, load(ours), damage=_ends),
        "ours.pt, values": Reader(ours, load(ours), damage=_other_checkpoint),
        "authors' .pth": Reader(released, load(released), damage=_ends),
        "authors' .pth, values": Reader(released, load(released), damage=_other_weights),
        "authors' old .pth": Reader(old, load(old), damage=_ends),
        "config.json beside": Reader(settings, load(released), damage=other_json),
        "safetensors": Reader(exported["safetensors"], load(exported["safetensors"]), damage=_other_safetensors),
        "onnx": Reader(exported["onnx"], load(exported["onnx"])),
        "onnx, metadata": Reader(exported["onnx"], load(exported["onnx"]), damage=_other_onnx),
        "torchscript": Reader(exported["torchscript"], load(exported["torchscript"]), damage=_ends),
    }


def _run_files(run_dir: Path) -> dict[str, Reader]:
    """Write a run's folder, which is continued, and whose page is written."""
    from training.checkpoint import checkpoint_path
    from training.run_page import note_start

    (run_dir / "checkpoints").mkdir(parents=True)
    for step in (0, 3):
        _write_checkpoint(checkpoint_path(run_dir, step), step)
    (run_dir / "config.json").write_text(json.dumps({"recipe": "tiny", "config": _config().to_dict()}, indent=1))
    lines: list[dict[str, float]] = [{"step": step, "loss": 9.5 - step, "learning_rate": 0.1} for step in range(1, 6)]
    lines.insert(3, {"step": 3, "validation/rank-1": 0.5})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    origin = {"identities": 5, "preprocessing": _form().to_dict(), "shards_sha256": "0" * 64}
    note_start(run_dir, origin, step=0, processes=1, device="cpu")
    resume, page = partial(_resume, run_dir), partial(_page, run_dir)
    newest = checkpoint_path(run_dir, 3)
    return {
        "resume: checkpoint": Reader(newest, resume, damage=_ends),
        "resume: values": Reader(newest, resume, damage=_other_checkpoint),
        "resume: config.json": Reader(run_dir / "config.json", resume, damage=other_json),
        "resume: metrics.jsonl": Reader(run_dir / "metrics.jsonl", resume, damage=_other_lines),
        "resume: provenance.json": Reader(run_dir / "provenance.json", resume, damage=other_json),
        "page: config.json": Reader(run_dir / "config.json", page, damage=other_json),
        "page: metrics.jsonl": Reader(run_dir / "metrics.jsonl", page, damage=_other_lines),
        "page: provenance.json": Reader(run_dir / "provenance.json", page, damage=other_json),
    }


def _result_files(scratch: Path) -> dict[str, Reader]:
    """Write embeddings and the results of an evaluation."""
    import numpy as np

    from evaluation.figures import Figure, Outcome
    from evaluation.results import Model, Report, Settings, write_results
    from evaluation.stored import StoredEmbeddings, write_embeddings
    from evaluation.thresholds import thresholds_of
    from training.checkpoint import load_backbone

    ours, vectors, results = scratch / "ours.pt", scratch / "vectors.npz", scratch / "results.json"
    loaded = load_backbone(ours)
    write_embeddings(vectors, ["a.jpg", "b.jpg"], np.ones((2, 4), np.float32), loaded, flip=False)
    figures = (Figure("TAR at FAR 10 %", 0.5, 2, threshold=0.25), Figure("AUC", 0.75, 2))
    outcomes = {"pairs": (Outcome("pairs", figures),)}
    models = (Model.of(ours, loaded),)
    write_results(results, Report(models, outcomes, {}, Settings("cpu", False, (8,)), {"torch": "2"}))
    return {
        "embeddings.npz": Reader(vectors, lambda: StoredEmbeddings(vectors)),
        "embeddings.npz, arrays": Reader(vectors, lambda: StoredEmbeddings(vectors), damage=_other_arrays),
        "results.json": Reader(results, lambda: thresholds_of(results, loaded, flip=False), damage=other_json),
    }


def _used(loaded: Any) -> object:
    """Embed a picture, as whatever loads a model does next."""
    import torch

    side = loaded.preprocessing.size
    with torch.inference_mode():
        return loaded.backbone(torch.zeros(1, 3, side, side))


def _resume(run_dir: Path) -> None:
    """Continue a run, up to what needs its shards."""
    from training.distributed import ALONE
    from training.metrics_file import METRICS
    from training.metrics_log import truncate_metrics
    from training.run import Run, held
    from training.run_page import note_start
    from training.saving import new_state

    kept = {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    try:
        with held(Run(_config(), "tiny", (run_dir,), run_dir, resume=True), ALONE) as begun:
            if begun is not None:
                new_state(_config(), begun.identities if begun.identities == 5 else 5, ALONE).restore(begun)
        truncate_metrics(run_dir / METRICS, 3)
        note_start(run_dir, {"identities": 5}, step=3, processes=1, device="cpu")
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def _page(run_dir: Path) -> None:
    from training.run_page import write_page

    with warnings.catch_warnings():
        # Of axes that have no width.
        warnings.simplefilter("ignore")
        write_page(run_dir)


def _config() -> Any:
    from training.recipes import TINY

    return replace(TINY, size=_SIZE, model=replace(TINY.model, backbone="linear", embedding_size=_EMBEDDING))


def _form() -> Any:
    from pipeline.align import preprocessing

    return preprocessing("paper", _SIZE)


def know_linear() -> None:
    """Add a backbone whose files are so small that damage hits every part of them."""
    from torch import nn

    from training.model import BACKBONES

    BACKBONES["linear"] = lambda _, size, length: nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, length))


def _write_checkpoint(path: Path, step: int) -> None:
    import torch

    from training.checkpoint import Checkpoint, save_checkpoint
    from training.distributed import ALONE
    from training.saving import new_state

    torch.manual_seed(0)
    state = new_state(_config(), 5, ALONE)
    for parameter in state.learner.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    gathered = state.gathered()
    assert gathered is not None
    origin = {"config": _config().to_dict(), "recipe": "tiny", "identities": 5, "shards_sha256": "0" * 64}
    save_checkpoint(path, Checkpoint(step=step, preprocessing=_form(), **origin, **gathered))


def _ends(data: bytes, random_: random.Random) -> bytes:
    """Damage a file, of a large one mostly its beginning or its end, where everything but plain numbers is."""
    many = 4096
    if len(data) < 3 * many or random_.random() < 0.2:
        return mutated(data, random_)
    if random_.random() < 0.5:
        return mutated(data[:many], random_) + data[many:]
    return data[:-many] + mutated(data[-many:], random_)


def _other_checkpoint(data: bytes, random_: random.Random) -> bytes:
    """Write a checkpoint anew, with its checksum, and with other values in it."""
    import torch

    from training.checkpoint_file import write_data

    other = other_fields(torch.load(io.BytesIO(data), weights_only=True), random_)
    buffer = io.BytesIO()
    write_data(buffer, other)
    return buffer.getvalue()


def _other_weights(data: bytes, random_: random.Random) -> bytes:
    """Write weights anew with entries missing, added, of another shape or another kind."""
    import torch

    state: dict[Any, Any] = dict(torch.load(io.BytesIO(data), weights_only=True))
    name = random_.choice(list(state))
    value = state.pop(name)
    others = [
        None, value.T if value.ndim == 2 else value[None], value.reshape(-1), value[:0], value.double(), value.long(),
        value.to(torch.complex64), value.bool(), value.flatten()[0], torch.nn.Parameter(value), 3, "x", [value],
    ]  # fmt: skip
    names: list[Any] = [name, name, f"module.{name}", "x", 7, ("a",), "99999999999.weight", f"{name}.weight"]
    state[random_.choice(names)] = random_.choice(others)
    buffer = io.BytesIO()
    torch.save(other_fields(state, random_) if random_.random() < 0.2 else state, buffer)
    return buffer.getvalue()


def _other_safetensors(data: bytes, random_: random.Random) -> bytes:
    """Damage bytes, the header, or the metadata in it."""
    way = random_.random()
    if way < 0.4:
        return mutated(data, random_)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if way < 0.7:
        text = json.dumps(other_fields(header, random_)).encode()
    else:
        (name,) = header["__metadata__"]
        header["__metadata__"][name] = other_json(header["__metadata__"][name].encode(), random_).decode("latin-1")
        text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _other_onnx(data: bytes, random_: random.Random) -> bytes:
    """Write an ONNX model anew with other metadata."""
    import onnx

    model = onnx.load_from_string(data)
    (entry,) = model.metadata_props
    entry.value = other_json(entry.value.encode(), random_).decode("latin-1")
    content: bytes = model.SerializeToString()
    return content


def _other_lines(data: bytes, random_: random.Random) -> bytes:
    """Damage the bytes of a JSON text of lines, or one of its lines."""
    if random_.random() < 0.5:
        return mutated(data, random_)
    lines = data.splitlines()
    place = random_.randrange(len(lines))
    lines[place] = json.dumps(other_fields(json.loads(lines[place]), random_)).encode()
    return b"\n".join(lines) + b"\n"


def _other_arrays(data: bytes, random_: random.Random) -> bytes:
    """Write an .npz anew with an array missing, of another shape or kind, or with another origin."""
    import numpy as np

    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    name = random_.choice(list(arrays))
    value = arrays.pop(name)
    origin = other_json(str(arrays.get("origin", value)).encode(), random_) if name == "origin" else b"x"
    others = [
        value[None], value[..., None], value[:0] if value.ndim else value, value.astype("S"), np.array(3), np.array([]),
        np.zeros((2, 4)), np.full((2, 4), np.nan), np.array(["a", "a"]), np.zeros(2, "M8[s]"),
        np.zeros(2, [("x", "f4")]), np.array(origin.decode("latin-1")),
    ]  # fmt: skip
    arrays[random_.choice([name, name, name, "x"])] = others[-1] if name == "origin" else random_.choice(others)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def isolated(parts: str, cases: int, seed: int) -> Iterator[tuple[Counter[tuple[str, str]], list[str]]]:
    """Run the cases in a process of their own; where it dies or hangs, name the case and go on behind it."""
    context = multiprocessing.get_context("spawn")
    first = 0
    while first < cases:
        current: Synchronized[int] = context.Value("q", -1)  # type: ignore[assignment]
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(parts, range(first, cases), seed, current, theirs))
        worker.start()
        theirs.close()
        seen, since = -1, time.monotonic()
        while not ours.poll(1.0) and worker.is_alive():
            if current.value != seen:
                seen, since = current.value, time.monotonic()
            elif seen >= 0 and time.monotonic() - since > LIMIT:
                worker.kill()
        try:
            while True:
                yield ours.recv()
        except EOFError:
            pass
        worker.join()
        if worker.exitcode == 0:
            return
        assert current.value >= 0, "the process died before the first case"
        end = "hung" if worker.exitcode == -9 else f"died with status {worker.exitcode}"
        yield Counter({("the process", "FINDING"): 1}), [f"seed {seed}, case {current.value}: the process {end}"]
        first = current.value + 1


def _work(parts: str, cases: range, seed: int, current: "Synchronized[int]", results: Any) -> None:
    """Run cases in portions, telling which one is on."""
    know_linear()

    def told() -> Iterator[int]:
        for case in cases:
            current.value = case
            yield case

    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        chosen = {name: one for name, one in readers(Path(scratch)).items() if parts in name}
        # What libraries say of damage would bury the table.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        results.send(run(chosen, told(), seed, judged))


def main() -> None:
    """Run the campaign and print its table."""
    parser = ArgumentParser(prog="python -m tests.campaigns.mutate_models", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="damaged files (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default: 0)")
    parser.add_argument("--only", default="", help="readers whose name holds this (default: all)")
    parser.add_argument("--show", type=int, default=5, help="findings to print in full (default: 5)")
    options = parser.parse_args()
    start = time.monotonic()
    outcomes: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    for counted, found in isolated(options.only, options.cases, options.seed):
        outcomes += counted
        findings += found
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:24} {outcome:24} {count:6}")
    for finding in findings[: options.show]:
        print(finding)
    print(f"{options.cases} cases in {time.monotonic() - start:.0f} s, {len(findings)} findings", file=sys.stdout)
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
