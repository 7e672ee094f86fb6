"""Who is this?: `python -m evaluation.identify --model MODEL --gallery PEOPLE --photos PHOTOS --out DIR`.

The same with --video FILE instead of --photos: faces are followed from frame to frame, and each track is decided on.

--gallery is a folder of people, PEOPLE/NAME/PHOTO.jpg, which is enrolled once into DIR/gallery.safetensors, or such a
file. The faces in every photo of --photos are compared with it. Writes decisions.csv, decisions.json and
identify.html into DIR: for each face the five people most alike, with pictures and scores, and the decision; of a
video tracks.csv, tracks.json, faces.csv and video.html, with a timeline. Files are readable by their owner alone:
embeddings and faces are personal data. The command may be killed at any moment: the same command continues.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.enrolled.options import add_face_options, open_measuring, private_folder
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.decisions.decision import Decision
    from evaluation.enrolled.enrolment import Enrolled
    from evaluation.enrolled.measuring import Measuring


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.identify", description=__doc__)
    add = command.add_argument
    add("--gallery", type=Path, required=True, metavar="DIR|FILE", help="a folder of people, or an enrolment file")
    add("--photos", type=Path, metavar="DIR", help="folder of photos to identify the faces of (default: none)")
    add("--video", type=Path, metavar="FILE", help="a video to follow and identify the faces of (default: none)")
    add(
        "--search-every",
        type=float,
        default=0.3,
        metavar="SECONDS",
        help="seconds between searches of whole frames; 0: all",
    )
    add(
        "--smallest", type=float, default=10, metavar="PIXELS", help="pixels of the smallest face looked for in a video"
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the tables, the page and the enrolment")
    add("--add", type=Path, metavar="DIR", help="folder of people to add to the enrolment (default: none)")
    add("--remove", nargs="+", default=[], metavar="NAME", help="people to remove from the enrolment (default: none)")
    add("--re-enrol", action="store_true", help="enrol the kept photos again where the file is of another model")
    add("--leave-out", type=Path, metavar="FILE", help="photos not to compare with, one a line (default: none)")
    add("--calibration", type=Path, metavar="FILE", help="of evaluation.calibrate (default: nobody is decided on)")
    add("--fpir", type=float, default=0.01, help="share of strangers that may be taken for somebody, above 0, below 1")
    add_face_options(command)
    return command


def main() -> None:
    """Enrol people, and identify the faces in photos."""
    options = parser().parse_args()
    if not (options.photos or options.video or options.add or options.remove or options.gallery.is_dir()):
        raise UserError("nothing to do; give --photos DIR, --video FILE, --add DIR or --remove NAME")
    if options.remove and options.gallery.is_dir():
        raise UserError(f"--remove takes people from an enrolment file, {options.gallery} is a folder: name the file")
    if not 0 < options.fpir < 1:
        raise UserError(f"--fpir {options.fpir}; give a share above 0 and below 1")
    if not options.search_every >= 0 or not 4 <= options.smallest <= 10_000:
        raise UserError(
            f"--search-every {options.search_every}, --smallest {options.smallest}; give seconds from 0, pixels from 4 "
            "to 10000"
        )
    if options.video:
        from pipeline.tracking.video import Video

        # Before anybody is enrolled: what is no video is refused at once.
        Video(options.video)
    how = open_measuring(options)
    out = private_folder(options.out)
    from evaluation.enrolled.enrolment import left_out
    from evaluation.enrolled.gallery_check import checked

    file, enrolled = _enrolled(options, out, how)
    table, notes = enrolled.table, list(enrolled.notes)
    if enrolled.new:
        notes += checked(out, enrolled, how)[1]
    if options.leave_out:
        table, unknown = left_out(table, options.leave_out)
        notes.append(f"{len(enrolled.table) - len(table):,} photos are left out as {options.leave_out} says")
        notes += [f"{options.leave_out}: {name} is no photo of the gallery" for name in unknown]
    for photo, reason in enrolled.faults.items():
        print(f"not enrolled: {photo}: {reason}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"enrolled    {len(set(table.people)):,} people, {len(table):,} photos: {file}")
    if options.photos or options.video:
        _identify(options, table, how, out, notes)


def _enrolled(options: Any, out: Path, how: "Measuring") -> "tuple[Path, Enrolled]":
    """Return the enrolment file and what it holds, after people were added and removed."""
    from evaluation.enrolled.enrolment import add_people, gallery_of, in_use, remove_people

    file, enrolled = gallery_of(options.gallery, out, how, again=options.re_enrol)
    faults, notes, new = dict(enrolled.faults), list(enrolled.notes), enrolled.new
    with in_use(file):
        for change in [lambda: remove_people(options.remove, file)] * bool(options.remove) + [
            lambda: add_people(options.add, file, how)
        ] * bool(options.add):
            enrolled = change()
            faults.update(enrolled.faults)
            notes += enrolled.notes
            new += enrolled.new
    return file, type(enrolled)(enrolled.table, faults, tuple(notes), new)


def _identify(options: Any, table: Any, how: "Measuring", out: Path, notes: list[str]) -> None:
    from evaluation.decisions.calibration import read_calibration
    from evaluation.decisions.calibration_report import caveat
    from evaluation.enrolled.face_table import require_same

    calibration = read_calibration(options.calibration) if options.calibration else None
    if calibration is not None:
        require_same(options.calibration, calibration.made, how.made, "calibrate this model")
        notes = [*notes, *caveat(calibration, options.fpir, len(table))]
    if options.photos:
        from evaluation.decisions.identification import identify_folder

        done = identify_folder(options.photos, table, how, out, notes, calibration, options.fpir)
        for photo, reason in done.faults.items():
            print(f"no face: {photo}: {reason}", file=sys.stderr)
        _print(done.decisions)
        if done.faults:
            print(f"{'without a face':<20}{len(done.faults):,} photos")
        print(f"page        {done.page}")
        print(f"table       {out / 'decisions.csv'}")
    if options.video:
        from evaluation.decisions.identify_video import LEAST_FRAMES, identify_video
        from pipeline.tracking.face_follower import Search

        search = Search(options.smallest, options.score, min(0.6, options.score), options.search_every)
        seen = identify_video(options.video, table, how, out, notes, search, calibration, options.fpir)
        for fault in seen.faults:
            print(f"{options.video}: {fault}", file=sys.stderr)
        print(f"tracks      {len(seen.decisions):,} in {seen.frames:,} frames")
        _print(seen.decisions)
        if seen.tracks.short:
            print(f"{'left out':<20}{seen.tracks.short:,} tracks seen in fewer than {LEAST_FRAMES} frames")
        print(f"page        {seen.page}")
        print(f"table       {out / 'tracks.csv'}")


def _print(decisions: "tuple[Decision, ...]") -> None:
    for verdict, count in Counter(decision.verdict for decision in decisions).items():
        print(f"{verdict:<20}{count:,}")


if __name__ == "__main__":
    run(main)
