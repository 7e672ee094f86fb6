"""What a score means at each size: `python -m evaluation.calibrate --model MODEL --people PEOPLE --out FILE.json`.

--people is a folder of people set aside, PEOPLE/NAME/PHOTO.jpg with two photos or more each; nobody of them is in a
gallery that the calibration is used with. Each photo, in full and reduced, is compared with every other. Writes a
calibration for `python -m evaluation.identify --calibration`, and prints what it is worth on people it was not fitted
on, half of the people against the other half.
"""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.enrolled.options import add_face_options, open_measuring
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.decisions.calibration_report import CalibrationReport


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.calibrate", description=__doc__)
    add = command.add_argument
    add("--people", type=Path, required=True, metavar="DIR", help="folder of people set aside, with their photos")
    add("--out", type=Path, required=True, metavar="FILE", help="the calibration, a .json; an older one is replaced")
    add("--fpir", type=float, default=0.01, help="share of strangers at which it is tested, above 0, below 1")
    add_face_options(command)
    return command


def main() -> None:
    """Fit a calibration and say what it is worth."""
    options = parser().parse_args()
    if options.out.suffix != ".json" or not options.out.absolute().parent.is_dir():
        raise UserError(f"{options.out} cannot be written; name a .json file in a folder that is there")
    if not 0 < options.fpir < 1:
        raise UserError(f"--fpir {options.fpir}; give a share above 0 and below 1")
    how = open_measuring(options)
    from evaluation.decisions.calibration import fit, write_calibration
    from evaluation.decisions.calibration_report import FEW_PEOPLE, provenance, report
    from evaluation.decisions.calibration_trials import trials_of
    from evaluation.enrolled.enrolment import photos_of_people
    from evaluation.enrolled.measuring import measure

    photos, faults = photos_of_people(options.people)
    work = options.out.with_name(f".{options.out.name}.work")
    table, lost = measure(photos, how, work, enrolled=True)
    for photo, reason in (faults | lost).items():
        print(f"not used: {photo}: {reason}", file=sys.stderr)
    table = table.by_person()
    trials = trials_of(table, how, options.people)
    found = report(trials, options.fpir)
    write_calibration(options.out, fit(trials, how.made, provenance(table, trials, found)))
    shutil.rmtree(work)
    if found.people < FEW_PEOPLE:
        print(
            f"note: {found.people} people: wide intervals; thresholds are raised by a standard error", file=sys.stderr
        )
    _print(found, options.fpir)
    print(f"calibration {options.out}")


def _print(found: "CalibrationReport", fpir: float) -> None:
    costs = f"Cllr {found.cllr:.3f}, at best {found.min_cllr:.3f}"
    print(f"people held out, half of {found.people}: {costs}; FPIR of {fpir:.1%} wanted")
    titles = ("strangers", "FPIR", "95 % interval", "TPIR", "FPIR, one", "TPIR, one", "Cllr", "too small")
    widths = (10, 8, 18, 8, 11, 11, 7, 11)
    print(f"{'pixels':<10}" + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))
    for one in found.classes:
        name = "all" if one is found.classes[-1] else _pixels(one.low, one.high)
        interval = f"{one.fpir_interval[0]:.2%} to {one.fpir_interval[1]:.2%}" if one.fpir_interval else ""
        print(
            f"{name:<10}{one.strangers:>10,}{one.fpir:>8.2%}{interval:>18}{one.tpir:>8.1%}{one.fpir_one:>11.2%}"
            f"{one.tpir_one:>11.1%}{one.cllr:>7.3f}{one.too_small:>11.1%}"
        )
    print("log likelihood ratio, as said and as found:")
    for low, high, count, said, seen in found.reliability:
        print(f"{low:>6.0f} to {high:<4.0f}{count:>12,} trials{said:>8.2f}{seen:>8.2f}")


def _pixels(low: float, high: float) -> str:
    return f"{low:.0f} up" if high > 1e8 else f"{low:.0f} to {high - 1:.0f}"


if __name__ == "__main__":
    run(main)
