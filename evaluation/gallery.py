"""Which photos of a gallery do harm?: `python -m evaluation.gallery --model MODEL --gallery PEOPLE --out DIR`.

--gallery is a folder of people, PEOPLE/NAME/PHOTO.jpg, which is enrolled into DIR/gallery.safetensors, or such a
file. Each photo is measured: size, sharpness, norm, how like it is to its person's other photos and to other people,
for how many of them it is the nearest, and copies. Writes gallery.csv, gallery.json and gallery.html, which say of each
photo "keep", "look at" or "leave out" and why, and leave-out.txt, which `python -m evaluation.identify --leave-out`
takes. No photo is deleted.
"""

import sys
from pathlib import Path

from evaluation.enrolled.options import add_face_options, open_measuring, private_folder
from shards.command import Parser, run


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.gallery", description=__doc__)
    add = command.add_argument
    add("--gallery", type=Path, required=True, metavar="DIR|FILE", help="a folder of people, or an enrolment file")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the tables, the page and the enrolment")
    add("--re-enrol", action="store_true", help="enrol the kept photos again where the file is of another model")
    add_face_options(command)
    return command


def main() -> None:
    """Judge the photos of a gallery."""
    options = parser().parse_args()
    how = open_measuring(options)
    out = private_folder(options.out)
    from evaluation.enrolled.enrolment import gallery_of
    from evaluation.enrolled.gallery_check import LEAVE_OUT, checked

    file, enrolled = gallery_of(options.gallery, out, how, again=options.re_enrol)
    found, _ = checked(out, enrolled, how)
    for photo, reason in enrolled.faults.items():
        print(f"not enrolled: {photo}: {reason}", file=sys.stderr)
    for note in enrolled.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"enrolled    {len(set(enrolled.table.people)):,} people, {len(enrolled.table):,} photos: {file}")
    for advice in ("keep", "look at", "leave out"):
        print(f"{advice:<12}{sum(health.advice == advice for health in found):,}")
    print(f"page        {out / 'gallery.html'}")
    print(f"list        {out / LEAVE_OUT}")


if __name__ == "__main__":
    run(main)
