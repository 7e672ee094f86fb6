"""The page of a run: `python -m training.summary --run-dir DIR`.

Writes DIR/summary.html and DIR/curves/*.png from what the run has written so far. Training does the same when it ends
or is stopped; this command is for a run that is in progress or was killed.
"""

from pathlib import Path

from shards.command import Parser, run


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m training.summary", description=__doc__)
    command.add_argument("--run-dir", type=Path, required=True, help="folder of the run, as given to training/main.py")
    return command


def main() -> None:
    """Write the page."""
    options = parser().parse_args()
    from training.monitoring.run_page import write_page

    print(write_page(options.run_dir))


if __name__ == "__main__":
    run(main)
