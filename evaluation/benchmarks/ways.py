"""Ways of scoring pairs of pictures, each measured in a process of its own."""

import hashlib
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from evaluation.models.embedder import Embedder
from evaluation.models.preparation import whole
from evaluation.scoring.pairs import score_pairs
from pipeline.alignment.align import preprocessing
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import build_backbone

OURS, BFLOAT16 = "this evaluation", "this evaluation, bfloat16"
Pairs = Sequence[tuple[Path, Path]]
_WARM_UP = 3


@dataclass(frozen=True)
class Task:
    """What every way is given.

    Attributes:
        folder: of the pictures; their names are relative to it.
        pairs: paths of two pictures each.
        sample: number of pairs that the pair-by-pair ways score, drawn again in every round.
        backbone: architecture, with random weights.
        size: side of the network's input in pixels.
        threads: of torch, and of those that read.
        device: "cpu" or "gpu".
        cache: folder of kept embeddings, filled before they are measured.
    """

    folder: Path
    pairs: tuple[tuple[Path, Path], ...]
    sample: int
    backbone: str
    size: int
    threads: int
    device: str
    cache: Path


@dataclass(frozen=True)
class Measured:
    """A run: pairs scored, their rate, peak memory, and how far scores of the sample lie from the pair-by-pair way."""

    pairs: int
    pairs_per_second: float
    peak_mib: float
    largest_difference: float


def measure(way: str, task: Task, number: int) -> Measured:
    """Score pairs in one way, in round `number`."""
    torch.set_num_threads(task.threads)
    rows = np.random.default_rng(number).choice(len(task.pairs), task.sample, replace=False)
    sample = [task.pairs[row] for row in rows.tolist()]
    score, whole_list = WAYS[way]
    pairs = task.pairs if whole_list else sample
    loaded = _model(task)
    run = score(loaded, task)
    start = time.perf_counter()
    scores = run(pairs)
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    few = slice(0, 20)
    check = by_pair(loaded, task)(sample[few])
    own = scores[rows[few]] if whole_list else scores[few]
    return Measured(len(pairs), len(pairs) / seconds, peak_mib, float(np.abs(own - check).max()))


def _model(task: Task) -> LoadedBackbone:
    torch.manual_seed(0)
    backbone = build_backbone(task.backbone, task.size).eval()
    digest = hashlib.sha256(f"{task.backbone} {task.size}".encode()).hexdigest()
    return LoadedBackbone(backbone, preprocessing("paper", task.size), task.backbone, 0, None, digest)


Score = Callable[[Pairs], NDArray[np.float64]]


def by_pair(loaded: LoadedBackbone, task: Task) -> Score:
    """The usual way: for every pair read both pictures, and embed each alone."""
    return _usual(loaded, task, lambda network, a, b: (network(a[None]), network(b[None])))


def by_pair_of_two(loaded: LoadedBackbone, task: Task) -> Score:
    """The usual way, but both pictures of a pair in one batch of two."""
    return _usual(loaded, task, lambda network, a, b: network(torch.stack([a, b])).chunk(2))


def _usual(loaded: LoadedBackbone, task: Task, embed: Callable[[nn.Module, Tensor, Tensor], Sequence[Tensor]]) -> Score:
    device = torch.device("cuda" if task.device == "gpu" else "cpu")
    network = loaded.backbone.to(device)

    def read(path: Path) -> Tensor:
        with Image.open(path) as picture:
            face = picture.convert("RGB").resize((task.size, task.size), Image.Resampling.BICUBIC)
        # (S, S, 3) -> (3, S, S)
        return torch.from_numpy(np.array(face)).permute(2, 0, 1).float().to(device) / 127.5 - 1

    @torch.inference_mode()
    def score(pairs: Pairs) -> NDArray[np.float64]:
        scores = []
        for a, b in pairs:
            left, right = embed(network, read(a), read(b))
            scores.append(torch.cosine_similarity(left, right).item())
        return np.array(scores)

    score(task.pairs[:_WARM_UP])
    return score


def embedded_once(loaded: LoadedBackbone, task: Task) -> Score:
    """The way of this evaluation: every picture once, in batches."""
    return _ours(loaded, task, None)


def embedded_in_bfloat16(loaded: LoadedBackbone, task: Task) -> Score:
    """The way of this evaluation, with --precision bfloat16."""
    return _ours(loaded, task, None, "bfloat16")


def kept(loaded: LoadedBackbone, task: Task) -> Score:
    """The way of this evaluation, the second time."""
    _ours(loaded, task, task.cache)(task.pairs)
    return _ours(loaded, task, task.cache)


def _ours(loaded: LoadedBackbone, task: Task, cache: Path | None, precision: str = "float32") -> Score:
    embedder = Embedder(loaded, device=task.device, precision=precision, cache=cache)

    def score(pairs: Pairs) -> NDArray[np.float64]:
        paths = sorted({path for pair in pairs for path in pair})
        row = {path: number for number, path in enumerate(paths)}
        pictures = [whole(str(path.relative_to(task.folder)), path, loaded.preprocessing) for path in paths]
        embedded = embedder.embed(pictures)
        return score_pairs(embedded, [row[a] for a, _ in pairs], embedded, [row[b] for _, b in pairs]).scores

    if cache is None:
        score(task.pairs[:_WARM_UP])
    return score


WAYS: dict[str, tuple[Callable[[LoadedBackbone, Task], Score], bool]] = {
    "pair by pair": (by_pair, False),
    "pair by pair, in batches of two": (by_pair_of_two, False),
    OURS: (embedded_once, True),
    BFLOAT16: (embedded_in_bfloat16, True),
    "this evaluation, embeddings kept": (kept, True),
}
"""By name: the way, and whether it scores the whole list or a sample of it."""
