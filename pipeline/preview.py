"""A contact sheet of what training sees: `python -m pipeline.preview --shards DIR --out preview.png`.

Rows are identities, columns are the views, each as the network receives it, with its size above.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.batch import Batch


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.preview", description=__doc__)
    command.add_argument("--shards", type=Path, required=True, help="folder written by pipeline.shard")
    command.add_argument("--out", type=Path, required=True, help="PNG file to write")
    command.add_argument("--identities", type=int, default=8, help="rows of the sheet")
    command.add_argument(
        "--sizes",
        type=str,
        nargs="+",
        help="side of each view in pixels, or a range such as 8..32 from which every picture draws its own "
        "(default: the stored size, 8, 12 and 16)",
    )
    command.add_argument(
        "--degrade",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="0..1, of a reduced view to be degraded as recipe surveillance does (default: 0, none)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the draw")
    command.add_argument("--step", type=int, default=0, help="step of training whose batch is shown")
    command.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where DALI decodes")
    return command


def draw_sheet(batch: "Batch", names: list[str]) -> "Figure":
    """Lay a batch out as a sheet, one row per identity and one column per view."""
    from matplotlib.figure import Figure

    rows, columns = len(batch.labels), len(batch.views)
    figure = Figure(figsize=(1.35 * columns, 1.35 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    # (V B, 3, S, S) -> (V, B, S, S, 3), back from [-1, 1] to [0, 1]
    pictures = (batch.network_input().unflatten(0, (columns, rows)).permute(0, 1, 3, 4, 2) + 1) / 2
    sides = batch.sides()
    for column in range(columns):
        for row in range(rows):
            side = int(sides[row, column])
            if row == 0 or len(sides[:, column].unique()) > 1:
                axes[row][column].set_title(f"{side} x {side}", fontsize=9, pad=2)
            axes[row][column].imshow(pictures[column, row].clamp(0, 1).cpu().numpy(), interpolation="none")
            axes[row][column].set(xticks=[], yticks=[])
    for row, label in enumerate(batch.labels.tolist()):
        axes[row][0].set_ylabel(names[label].rsplit("/", 1)[-1], fontsize=8)
    return figure


def main() -> None:
    """Draw one batch of a shard folder as a contact sheet."""
    options = parser().parse_args()
    from pipeline.degradation import Degradation
    from pipeline.loader import Loader
    from pipeline.views import Views
    from shards.index import ShardIndex

    index = ShardIndex.open(options.shards)
    if not options.out.absolute().parent.is_dir():
        raise UserError(f"no folder {options.out.absolute().parent} to write {options.out.name} in; make it")
    sizes = options.sizes or (index.manifest.preprocessing.size, 8, 12, 16)
    loader = Loader(
        options.shards,
        Views(sizes=tuple(sizes), degradation=Degradation(probability=options.degrade)),
        seed=options.seed,
        global_batch=min(options.identities, index.identities),
        start_step=options.step,
        device=options.device,
    )
    batch = next(loader)
    loader.close()
    figure = draw_sheet(batch, index.names)
    figure.savefig(options.out, dpi=130)
    print(f"{len(batch.labels)} identities x {len(batch.views)} views: {options.out}")


if __name__ == "__main__":
    run(main)
