"""What a shard folder holds: `python -m shards.info DIR`."""

from shards.command import Parser, run
from shards.storage.places import shard_folder

_BINS = (1, 4, 10, 20, 50, 100, 200, 500, 1000)


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m shards.info", description=__doc__)
    command.add_argument(
        "folder", type=shard_folder, help="shard folder, or its address in a bucket or on a web server"
    )
    return command


def main() -> None:
    """Print identities, photos, bytes, rejects and parameters of a folder."""
    options = parser().parse_args()
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from shards.index import ShardIndex

    index = ShardIndex.open(options.folder)
    manifest, form = index.manifest, index.manifest.preprocessing
    counts = np.diff(index.first)
    sizes = [tar.bytes for tar in manifest.tars] or [0]
    print(options.folder)
    table = Table(show_header=False)
    rows = [
        ("identities", f"{index.identities:,}, and {len(manifest.dropped_identities):,} dropped"),
        ("photos", f"{index.photos:,} of {manifest.input_records:,} in the input"),
        (
            "photos per identity",
            f"{counts.min()} to {counts.max()}, median {np.median(counts):g}" if counts.size else "-",
        ),
        ("tars", f"{len(manifest.tars):,}, {sum(sizes) / 2**20:,.1f} MiB, of {min(sizes):,} to {max(sizes):,} bytes"),
        ("face", f"{form.size} x {form.size} pixels, template {form.template}, {form.warp}"),
        ("stored views", ", ".join(f"{side} px" for side in manifest.stored_views) or "none"),
        ("codec", f"{manifest.codec}{f', quality {manifest.quality}' if manifest.quality else ''}"),
        ("sources", "; ".join(str(source["dataset"]) for source in manifest.sources)),
        (
            "asked for",
            f"seed {manifest.seed}, at least {manifest.min_photos} photos an identity and {manifest.min_tars} "
            f"tars, at most {manifest.tar_mb} MiB a tar",
        ),
        ("written with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
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
