"""Benchmarks: `python -m training.bench` and `python -m training.bench scale`.

step: times a step of training with the full loss, and the straightforward way in the same run: a forward pass for each
view, float32, the default memory format, the loss read at every step. Between the two it adds one improvement after
another. All are measured in turn, round by round; ratios are within a round. Then it trains from shards and prints the
share of time spent waiting for data. scale: what grows with the data set, the index, the draws of a step, the check of
a folder and the class matrix, at several sizes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.benchmarks.runner import require_at_least, write_figures
from shards.command import Parser, UserError, run
from shards.cores import usable_cores
from shards.storage.places import shard_folder

if TYPE_CHECKING:
    from training.benchmarks.report import Measured


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m training.bench", description=__doc__)
    whats = ["step", "scale"]
    command.add_argument("what", nargs="?", choices=whats, default="step", help="what to measure (default: step)")
    command.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where to train")
    command.add_argument("--backbone", default="spherenet20", help="as --model.backbone of training")
    command.add_argument("--size", type=int, default=128, help="side of the network's input in pixels")
    command.add_argument("--batch", type=int, default=16, help="identities in a batch")
    command.add_argument("--identities", type=int, default=8631, help="classes of the head (default: 8631, VGGFace2)")
    command.add_argument("--rounds", type=int, default=5, help="rounds in which every way is measured")
    command.add_argument("--steps", type=int, default=1, help="steps of a way in a round")
    command.add_argument("--waiting-steps", type=int, default=10, help="steps over which waiting for data is measured")
    command.add_argument(
        "--shards",
        type=shard_folder,
        help="folder written by pipeline.shard (default: rendered people, written for the run)",
    )
    command.add_argument("--threads", type=int, default=usable_cores(), help="threads of torch (default: all cores)")
    command.add_argument(
        "--parts",
        nargs="+",
        metavar="NAME",
        help="instead of all this, the passes of each of these networks and heads alone (default: none)",
    )
    command.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which takes a minute")
    sizes = [4_200_000, 42_000_000]
    command.add_argument("--photos", type=int, nargs="+", default=sizes, help="scale: photos of each data set")
    command.add_argument("--ranks", type=int, default=8, help="scale: processes that share the class matrix")
    command.add_argument("--sampling", type=float, default=0.1, help="scale: share of the classes that a step sees")
    command.add_argument("--embedding-size", type=int, default=512, help="scale: numbers in a row of the class matrix")
    command.add_argument(
        "--scratch", type=Path, help="scale: folder for indexes (default: the system's for such files)"
    )
    command.add_argument("--out", type=Path, help="folder for the figures as JSON (default: none written)")
    return command


def main() -> None:
    """Measure and report."""
    options = parser().parse_args()
    counts = ("batch", "identities", "rounds", "steps", "waiting_steps", "threads")
    require_at_least(options, dict.fromkeys(counts, 1))
    if options.batch < 2:
        raise UserError("--batch 1; the triplet loss needs at least 2 identities")
    if options.what == "scale":
        _check_scale(options)
        from training.benchmarks.scale import bench_scale

        return bench_scale(options)
    import torch

    from training.networks.backbones import named_with_points
    from training.ranks.machine import chosen_device, prepare_machine

    device = chosen_device(options.device)
    torch.set_num_threads(options.threads)
    prepare_machine(device)
    if options.parts:
        from training.benchmarks.parts import measure_parts, report_parts

        parts = measure_parts(options)
        report_parts(parts, options)
        write_figures(options.out, "parts.json", {name: vars(part) for name, part in parts.items()})
        return None
    if named_with_points(options.backbone):
        raise UserError(f"{options.backbone} takes five points, which the ways compared do not; use --parts")
    measured = _measure(options)
    return write_figures(options.out, "training.json", measured.to_dict())


def _check_scale(options: Any) -> None:
    require_at_least(options, {"ranks": 1, "embedding_size": 1})
    if min(options.photos) < 100:
        raise UserError(f"--photos {min(options.photos)}; give at least 100")
    if not 0 < options.sampling < 1:
        raise UserError(f"--sampling {options.sampling}; give a share above 0 and below 1")
    if options.scratch is not None and not options.scratch.is_dir():
        raise UserError(f"--scratch {options.scratch} is no folder; name one with room for 26 bytes a photo")


def _measure(options: Any) -> "Measured":
    from training.benchmarks.data import bench_loader
    from training.benchmarks.report import Measured, report
    from training.benchmarks.steps import arithmetic, measure_rounds, measure_waiting

    with bench_loader(options) as (loader, config):
        batch = next(loader)
        seconds = measure_rounds(options, config, batch)
        waiting = measure_waiting(options, config, loader)
    measured = Measured(
        device=options.device,
        threads=options.threads,
        identities=options.batch,
        views=len(config.views.sizes),
        seconds=seconds,
        waiting=waiting,
        arithmetic=arithmetic(config, options.batch * len(config.views.sizes), options.device),
    )
    report(measured)
    return measured


if __name__ == "__main__":
    run(main)
