"""What a run folder and an evaluation hold, how each is read, and how it is damaged; see `mutate_models` beside it."""

import io
import json
import random
import warnings
from functools import partial
from pathlib import Path

from tests.campaigns.damaged_models import config, ends, form, other_checkpoint, write_checkpoint
from tests.campaigns.mutations import Reader, mutated, other_fields, other_json


def run_files(run_dir: Path) -> dict[str, Reader]:
    """Write a run's folder, which is continued, and whose page is written."""
    from training.checkpoints.run_folder import checkpoint_path
    from training.monitoring.run_page import note_start

    (run_dir / "checkpoints").mkdir(parents=True)
    for step in (0, 3):
        write_checkpoint(checkpoint_path(run_dir, step), step)
    (run_dir / "config.json").write_text(json.dumps({"recipe": "tiny", "config": config().to_dict()}, indent=1))
    lines: list[dict[str, float]] = [{"step": step, "loss": 9.5 - step, "learning_rate": 0.1} for step in range(1, 6)]
    lines.insert(3, {"step": 3, "validation/rank-1": 0.5})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    origin = {"identities": 5, "preprocessing": form().to_dict(), "shards_sha256": "0" * 64}
    note_start(run_dir, origin, step=0, processes=1, device="cpu")
    resume, page = partial(_resume, run_dir), partial(_page, run_dir)
    newest = checkpoint_path(run_dir, 3)
    return {
        "resume: checkpoint": Reader(newest, resume, damage=ends),
        "resume: values": Reader(newest, resume, damage=other_checkpoint),
        "resume: config.json": Reader(run_dir / "config.json", resume, damage=other_json),
        "resume: metrics.jsonl": Reader(run_dir / "metrics.jsonl", resume, damage=_other_lines),
        "resume: provenance.json": Reader(run_dir / "provenance.json", resume, damage=other_json),
        "page: config.json": Reader(run_dir / "config.json", page, damage=other_json),
        "page: metrics.jsonl": Reader(run_dir / "metrics.jsonl", page, damage=_other_lines),
        "page: provenance.json": Reader(run_dir / "provenance.json", page, damage=other_json),
    }


def result_files(scratch: Path) -> dict[str, Reader]:
    """Write embeddings and the results of an evaluation."""
    import numpy as np

    from evaluation.metrics.figures import Figure, Outcome
    from evaluation.models.stored_embeddings import StoredEmbeddings, write_embeddings
    from evaluation.reporting.results import Model, Report, Settings, thresholds_of, write_results
    from training.networks.backbone_file import load_backbone

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


def _resume(run_dir: Path) -> None:
    """Continue a run, up to what needs its shards."""
    from training.checkpoints.run_folder import METRICS
    from training.engine.run import Run, locked_run
    from training.engine.training_state import new_state
    from training.monitoring.metrics_log import truncate_metrics
    from training.monitoring.run_page import note_start
    from training.ranks.world import ALONE

    kept = {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    try:
        with locked_run(Run(config(), "tiny", (run_dir,), run_dir, resume=True), ALONE) as begun:
            if begun is not None:
                new_state(config(), begun.identities if begun.identities == 5 else 5, ALONE).restore(begun)
        truncate_metrics(run_dir / METRICS, 3)
        note_start(run_dir, {"identities": 5}, step=3, processes=1, device="cpu")
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def _page(run_dir: Path) -> None:
    from training.monitoring.run_page import write_page

    with warnings.catch_warnings():
        # Of axes that have no width.
        warnings.simplefilter("ignore")
        write_page(run_dir)


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
