"""A job of many ranks against one process: `python -m tests.campaigns.eight_ranks --out DIR`.

Real gloo processes on this machine stand for the nodes of a cluster. A run with a class matrix that is divided among
the ranks and sampled is done by one process, by eight ranks, and by eight ranks up to its middle, whose checkpoint
three ranks continue. Every loss, and at the end every weight and every row of the class matrix, must be that of the one
process up to rounding. All is computed in double precision: in single precision the hardest triplets enlarge rounding
so much within a few steps that a fault could hide in it.
"""

import json
import time
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.loading.batch import Batch
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from pipeline.synthetic.write import write_dataset
from tests.training.worlds import on_world
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.class_rows import read_rows
from training.checkpoints.run_folder import CHECKPOINTS
from training.engine import training_state
from training.engine.loop import train
from training.engine.run import Run
from training.ranks.world import World
from training.settings.config import Head
from training.settings.recipes import TINY

IDENTITIES = 40
BATCH = 24
"""Identities in a batch, of which each of one, three or eight ranks has an equal share."""
CONFIG = replace(TINY, head=Head(scale=10, sharded=True, sampling=0.3), batch=BATCH, checkpoint_every=1_000)
LARGEST = 1e-12
"""Largest relative difference of a loss, and of the numbers of a tensor together."""


def train_on_rank(world: World, shards: Path, run_dir: Path, steps: int) -> dict[str, torch.Tensor]:
    """Train up to a step, from where the run stands, in double precision."""
    torch.set_default_dtype(torch.float64)
    single, built = Batch.network_input, training_state.build_learner
    # Pictures and weights are made in single precision; from there on all is of the type of these.
    setattr(Batch, "network_input", lambda batch: single(batch).double())  # noqa: B010 - a method is replaced
    training_state.build_learner = lambda *given: built(*given).double()
    done = train(Run(replace(CONFIG, steps=steps), "tiny", (shards,), run_dir, True), world)
    return {"steps": torch.tensor(done)}


def losses(run_dir: Path) -> dict[int, float]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    saved = load_checkpoint(max((run_dir / CHECKPOINTS).glob("step-*.pt")))
    # Each process wrote its own rows of the class matrix, and what the optimiser keeps for them.
    rows = read_rows(run_dir / CHECKPOINTS, saved.rows or [], range(saved.identities))
    parts = {"backbone": saved.backbone, "head": saved.head, "rows": rows}
    return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


def compare(one: Path, other: Path, steps: int) -> tuple[float, float]:
    """Return the largest relative differences of two runs: of a loss, and of a tensor of weights."""
    ours, theirs = losses(one), losses(other)
    assert list(ours) == list(theirs) == list(range(1, steps + 1)), f"{other} has steps {list(theirs)}"
    of_loss = max(abs(ours[step] - theirs[step]) / abs(ours[step]) for step in ours)
    mine, others = weights(one), weights(other)
    assert mine.keys() == others.keys()
    assert all(value.dtype != torch.float32 for value in mine.values()), "not in double precision"
    of_weight = max(
        float((value - others[name]).norm() / value.norm().clamp(min=1e-12))
        for name, value in mine.items()
        if value.is_floating_point()
    )
    return of_loss, of_weight


def render_shards(out: Path) -> Path:
    shards = out / "shards"
    if not (shards / "manifest.json").is_file():
        write_dataset(out, "vggface2", identities=IDENTITIES, photos=4, seed=0)
        lists = out / "VGGFace2" / "bb_landmark" / "loose_landmark_train.csv"
        shard(Plan(vggface2(out / "VGGFace2", [lists]), Settings(size=CONFIG.size)), shards, workers=1)
    return shards


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12, help="steps of a run (default 12)")
    parser.add_argument("--ranks", type=int, default=8, help="processes of the large job (default 8)")
    parser.add_argument("--resumed-by", type=int, default=3, help="processes that continue it (default 3)")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards and runs, which is new or empty")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shards = render_shards(options.out)
    runs = {
        "one process": [(1, options.steps)],
        f"{options.ranks} ranks": [(options.ranks, options.steps)],
        f"{options.ranks} ranks, then {options.resumed_by}": [
            (options.ranks, options.steps // 2),
            (options.resumed_by, options.steps),
        ],
    }
    folders = [options.out / f"run-{number}" for number in range(len(runs))]
    for folder, (name, parts) in zip(folders, runs.items(), strict=True):
        start = time.monotonic()
        for ranks, steps in parts:
            done = on_world(ranks, train_on_rank, options.out, shards, folder, steps)
            assert all(int(rank["steps"]) == steps for rank in done)
        print(f"{name}: {options.steps} steps in {time.monotonic() - start:.0f} s", flush=True)
    for folder, name in list(zip(folders, runs, strict=True))[1:]:
        of_loss, of_weight = compare(folders[0], folder, options.steps)
        print(f"{name}: losses differ by at most {of_loss:.1e}, weights by {of_weight:.1e}")
        assert max(of_loss, of_weight) < LARGEST, f"{name} is another run than one process's"


if __name__ == "__main__":
    main()
