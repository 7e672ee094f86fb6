"""A contact sheet of what training sees: `python -m pipeline.preview --shards DIR --out preview.png`.

Rows are identities, columns are the views, each as the network receives it, with its size above.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shards.command import Parser, UserError, run
from shards.storage.options import add_shards, named_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.loading.batch import Batch


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.preview", description=__doc__)
    add_shards(command)
    command.add_argument(
        "--mix", type=float, nargs="+", help="share of each shard folder in a batch, in proportion (default: equal)"
    )
    command.add_argument("--out", type=Path, required=True, help="PNG file to write")
    command.add_argument(
        "--identities", type=int, default=8, help="rows of the sheet, at most the people there are (default: 8)"
    )
    command.add_argument(
        "--sizes",
        type=str,
        nargs="+",
        help="side of each view in pixels, or a range such as 8..32 from which every picture draws its own "
        "(default: the stored size, 8, 12 and 16)",
    )
    command.add_argument(
        "--mirror", type=float, nargs="+", default=[0.5], help="probability 0..1 of each view, or of all (default: 0.5)"
    )
    command.add_argument(
        "--photos",
        choices=["different", "same"],
        default="different",
        help="whether the views of an identity each draw a photo of their own (default: different)",
    )
    command.add_argument(
        "--sampling",
        choices=["identity", "photo"],
        default="identity",
        help="an epoch visits every identity once, or shows every photo once (default: identity)",
    )
    command.add_argument(
        "--degrade",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="0..1, of a reduced view to be degraded as recipe surveillance does (default: 0, none)",
    )
    command.add_argument(
        "--augment",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="0..1, of each of AdaFace's three augmentations of a photo (default: 0, none)",
    )
    command.add_argument(
        "--affine",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="0..1, of a photo to be scaled, turned and moved as CVLface does (default: 0, none)",
    )
    command.add_argument("--points", action="store_true", help="mark the five points, where the folders hold them")
    command.add_argument("--seed", type=int, default=0, help="of the draw, 0 or more (default: 0)")
    command.add_argument("--step", type=int, default=0, help="of training whose batch is shown (default: 0)")
    command.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where DALI decodes (default: cpu)")
    return command


def draw_sheet(batch: "Batch", name_of: Callable[[int], str]) -> "Figure":
    """Lay a batch out as a sheet, one row per identity and one column per view.

    Args:
        batch: to be shown.
        name_of: returns an identity's name by its label.
    """
    from matplotlib.figure import Figure

    rows, columns = len(batch.labels), len(batch.views)
    sides = batch.sides()
    mixed = any(len(column.unique()) > 1 for column in sides.T)
    figure = Figure(figsize=(1.35 * columns, (1.5 if mixed else 1.35) * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    # (V B, 3, S, S) -> (V, B, S, S, 3), back from [-1, 1] to [0, 1]
    pictures = (batch.network_input().unflatten(0, (columns, rows)).permute(0, 1, 3, 4, 2) + 1) / 2
    for column in range(columns):
        for row in range(rows):
            side = int(sides[row, column])
            if row == 0 or len(sides[:, column].unique()) > 1:
                axes[row][column].set_title(f"{side} x {side}", fontsize=9, pad=2)
            axes[row][column].imshow(pictures[column, row].clamp(0, 1).cpu().numpy(), interpolation="none")
            if batch.points is not None:
                marks = batch.points[row, column].cpu().numpy() * batch.size
                axes[row][column].plot(*marks.T, "o", color="lime", markersize=2, scalex=False, scaley=False)
            axes[row][column].set(xticks=[], yticks=[])
    for row, label in enumerate(batch.labels.tolist()):
        axes[row][0].set_ylabel(name_of(label).rsplit("/", 1)[-1], fontsize=8)
    return figure


def main() -> None:
    """Draw one batch of shard folders as a contact sheet."""
    options = parser().parse_args()
    from pipeline.loading.loader import Loader
    from pipeline.sampling.augmentation import Augmentation
    from pipeline.sampling.degradation import Degradation
    from pipeline.sampling.shard_folders import ShardFolders
    from pipeline.sampling.views import Views
    from shards.writer import write_atomically

    shards = named_folders(options)
    folders = ShardFolders.open(shards)
    if not options.out.absolute().parent.is_dir():
        raise UserError(f"no folder {options.out.absolute().parent} to write {options.out.name} in; make it")
    sizes = tuple(options.sizes or (folders.preprocessing.size, 8, 12, 16))
    mirror = options.mirror[0] if len(options.mirror) == 1 else tuple(options.mirror)
    loader = Loader(
        shards,
        Views(
            sizes,
            mirror,
            options.photos,
            Degradation(probability=options.degrade),
            Augmentation(options.augment, options.augment, options.augment, affine=options.affine),
        ),
        seed=options.seed,
        global_batch=min(options.identities, folders.identities),
        sampling=options.sampling,
        mix=options.mix or (),
        start_step=options.step,
        device=options.device,
        points=options.points,
    )
    batch = next(loader)
    loader.close()
    figure = draw_sheet(batch, folders.name)
    write_atomically(options.out, lambda file: figure.savefig(file, format="png", dpi=130))
    print(f"{len(batch.labels)} identities x {len(batch.views)} views: {options.out}")


if __name__ == "__main__":
    run(main)
