"""What a shard folder holds: `python -m shards.info DIR`."""

from pathlib import Path

from shards.command import Parser, run

_BINS = (1, 4, 10, 20, 50, 100, 200, 500, 1000)


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m shards.info", description=__doc__)
    command.add_argument("folder", type=Path, help="shard folder")
    return command


def main() -> None:
    """Print identities, photos, sizes, rejects and parameters of a folder."""
    options = parser().parse_args()
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from shards.index import ShardIndex

    index = ShardIndex.open(options.folder)
    manifest, form = index.manifest, index.manifest.preprocessing
    counts = np.diff(index.first)
    print(options.folder)
    table = Table(show_header=False)
    rows = [
        ("identities", f"{index.identities:,}"),
        ("photos", f"{index.photos:,}"),
        ("photos per identity", f"{counts.min()} to {counts.max()}, median {np.median(counts):g}"),
        ("tars", f"{len(manifest.tars):,}, {sum(tar.bytes for tar in manifest.tars) / 2**20:,.1f} MiB"),
        ("face", f"{form.size} x {form.size} pixels, template {form.template}, {form.warp}"),
        ("stored views", ", ".join(f"{side} px" for side in manifest.stored_views) or "none"),
        ("codec", f"{manifest.codec}{f', quality {manifest.quality}' if manifest.quality else ''}"),
        ("sources", "; ".join(str(source["dataset"]) for source in manifest.sources)),
        ("seed", str(manifest.seed)),
    ]
    rows += [(f"rejected: {reason}", f"{count:,}") for reason, count in manifest.rejects.items()]
    for name, value in rows:
        table.add_row(name, value)
    table.add_section()
    for low, high in zip(_BINS, (*_BINS[1:], None), strict=True):
        inside = int(((counts >= low) & (counts < (high or np.inf))).sum())
        if inside:
            bar = "█" * max(1, round(30 * inside / len(counts)))
            table.add_row(f"{low} to {high - 1} photos" if high else f"{low} photos or more", f"{inside:,}  {bar}")
    Console(width=100).print(table)


if __name__ == "__main__":
    run(main)
