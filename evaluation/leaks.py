"""Which test pictures were trained on?: `python -m evaluation.leaks --shards DIR --out DIR --lfw DIR`.

Takes data sets as `python -m evaluation` does, and names their pictures that also stand in the training shards: the
same bytes, the same pixels after alignment (mirror images, too), much alike by a model's embeddings (--checkpoint), the
same identity name. Writes leaks.csv and leaks.html, readable by their owner alone; `python -m evaluation` gives the
figures without those pictures with --leave-out leaks.csv.
"""

import sys
from collections import Counter
from pathlib import Path

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from evaluation.protocols.options import add_data_options, check_data_options, protocol_options
from shards.command import Parser, UserError, run


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.leaks", description=__doc__)
    add = command.add_argument
    add("--shards", type=Path, nargs="+", required=True, metavar="DIR", help="shard folders that models are trained on")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the list and the page")
    add("--checkpoint", metavar="MODEL", help=f"{CHECKPOINT_HELP} (default: embeddings are not compared)")
    add("--alike", type=float, default=0.9, help="cosine from which two pictures are much alike, above 0, at most 1")
    add_data_options(command)
    add_model_options(command)
    return command


def main() -> None:
    """Search the shards for the pictures of every data set given."""
    options = parser().parse_args()
    check_data_options(options)
    if not 0 < options.alike <= 1:
        raise UserError(f"--alike {options.alike}; give a cosine above 0 and at most 1")
    from evaluation.checks.evaluated_pictures import evaluated_pictures
    from evaluation.checks.leak_report import counts, write_leaks
    from evaluation.checks.leaks import find_leaks
    from evaluation.enrolled.options import private_folder
    from evaluation.protocols.selection import plan
    from pipeline.sampling.shard_folders import ShardFolders

    folders = ShardFolders.open(options.shards)
    folders.check_tars()
    out = private_folder(options.out)
    runs, _ = plan(protocol_options(options, options.out / "landmarks"))
    model = open_embedder(options.checkpoint, options, device_of(options))[0] if options.checkpoint else None
    tests = evaluated_pictures(runs, folders.preprocessing)
    notes = []
    for_model = None
    if model is not None:
        for_model = (model, evaluated_pictures(runs, model.preprocessing))
        notes += [
            f"The shards were cut otherwise than the model takes faces, which makes the same photo less alike: {found}."
            for found in folders.preprocessing.differences(model.preprocessing)
            if not found.startswith("size")
        ]
    else:
        notes.append("No model was given: pictures that are much alike were not searched for.")
    found = find_leaks(tests, folders, for_model, least=options.alike)
    table, page = write_leaks(out, found, tests, folders, notes)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if found.unread:
        print(f"warning: {len(found.unread):,} training faces could not be read", file=sys.stderr)
    totals = Counter(test.protocol for test in tests)
    for protocol, of_kind in counts(found.leaks, tests).items():
        told = ", ".join(f"{count:,} {kind}" for kind, count in of_kind.items() if count) or "none found"
        print(f"{protocol}: of {totals[protocol]:,} pictures {told}")
    if found.unusable:
        print(f"{len(found.unusable):,} test pictures could not be used; the page names them")
    print(f"list        {table}")
    print(f"page        {page}")


if __name__ == "__main__":
    run(main)
