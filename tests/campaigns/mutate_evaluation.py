"""Damage every file that an evaluation reads: `python -m tests.campaigns.mutate_evaluation --cases 5000`.

Each case damages one file and lets the real reader have it. It must be read, name what is missing, or end as a mistake
told in one line. Anything else is a finding, printed with the numbers that repeat it.
"""

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shards.command import UserError
from tests.campaigns.mutations import mutated


@dataclass(frozen=True)
class Reader:
    """A file, and what reads it."""

    path: Path
    read: Callable[[], object]


def readers(scratch: Path) -> dict[str, Reader]:
    """Write sound inputs and return who reads them."""
    # Deferred: every process that reads a .mat file imports this module anew.
    import numpy as np
    import torch

    from evaluation import lfw, scface, survface, survface_openset, tinyface
    from evaluation.pictures import read_picture
    from evaluation.stored import StoredEmbeddings
    from pipeline.synthetic.write import write_dataset
    from training.checkpoint import load_backbone
    from training.model import build_backbone

    for layout in ("lfw", "scface", "survface", "tinyface"):
        write_dataset(scratch, layout, identities=4, photos=4, seed=0)
    lists, surveillance = scratch / "lists", scratch / "QMUL-SurvFace"

    def mat(name: str) -> Path:
        return next(scratch.rglob(name))

    state, vectors = scratch / "net_backbone.pth", scratch / "vectors.npz"
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), state)
    np.savez(vectors, names=np.array(["a.jpg", "b.jpg"]), vectors=np.ones((2, 8), np.float32))
    picture = next((scratch / "LFW").rglob("*.jpg"))
    return {
        "pairs.txt": Reader(lists / "lfw_pairs.txt", lambda: lfw.read(scratch / "LFW", [lists])),
        "LFW.csv": Reader(lists / "LFW.csv", lambda: lfw.read(scratch / "LFW", [lists])),
        "scface.csv": Reader(lists / "scface_distance1.csv", lambda: scface.read(scratch / "SCface", [lists])),
        "name pairs.mat": Reader(mat("positive_pairs_names.mat"), lambda: survface.read(surveillance, [])),
        "open set.mat": Reader(mat("gallery_img_ID_pairs.mat"), lambda: survface_openset.read(surveillance, [])),
        "tinyface.mat": Reader(mat("probe_img_ID_pairs.mat"), lambda: tinyface.read(scratch / "TinyFace", [])),
        "state dict.pth": Reader(state, lambda: load_backbone(state)),
        "embeddings.npz": Reader(vectors, lambda: StoredEmbeddings(vectors)),
        "picture.jpg": Reader(picture, lambda: read_picture(picture)),
    }


def run(chosen: dict[str, Reader], cases: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Damage files in turn; return how often each reader came to what, and the findings."""
    outcomes: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    names = list(chosen)
    for case in range(cases):
        name = names[case % len(names)]
        one = chosen[name]
        sound = one.path.read_bytes()
        one.path.write_bytes(mutated(sound, random.Random(f"{seed} {case}")))
        try:
            outcome = _outcome(one)
        except Exception:
            outcome = "FINDING"
            findings.append(f"{name}, seed {seed}, case {case}:\n{traceback.format_exc(limit=-4)}")
        finally:
            one.path.write_bytes(sound)
        outcomes[name, outcome] += 1
    return outcomes, findings


def _outcome(one: Reader) -> str:
    from evaluation.pictures import PictureError

    try:
        one.read()
    except UserError as mistake:
        assert str(mistake).strip()
        return "one line"
    except PictureError:
        return "named with its reason"
    return "read"


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.mutate_evaluation", description=__doc__)
    parser.add_argument("--cases", type=int, default=5_000, help="damaged files (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default: 0)")
    parser.add_argument("--only", default="", help="readers whose name holds this (default: all)")
    parser.add_argument("--show", type=int, default=5, help="findings to print in full (default: 5)")
    options = parser.parse_args()
    # What the decoders say of damage would bury the table.
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        chosen = {name: one for name, one in readers(Path(scratch)).items() if options.only in name}
        outcomes, findings = run(chosen, options.cases, options.seed)
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:18} {outcome:24} {count:6}")
    for finding in findings[: options.show]:
        print(finding)
    print(f"{options.cases} cases in {time.monotonic() - start:.0f} s, {len(findings)} findings")
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
