"""The options by which a command takes data sets; nothing heavy, so that --help is quick."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, UserError

if TYPE_CHECKING:
    from evaluation.metrics.figures import AlignmentKind
    from evaluation.protocols.selection import ProtocolOptions
    from evaluation.scoring.faces import FaceSource


def add_data_options(command: Parser) -> None:
    """Add what names data sets, and how they are measured."""
    add = command.add_argument
    add("--lfw", type=Path, metavar="DIR", help="folder LFW (default: skipped)")
    add("--scface", type=Path, metavar="DIR", help="folder SCface (default: skipped)")
    add("--survface", type=Path, metavar="DIR", help="folder QMUL-SurvFace (default: skipped)")
    add("--tinyface", type=Path, metavar="DIR", help="folder TinyFace (default: skipped)")
    add("--orl", action="store_true", help="run on the ORL people that the quickstart holds out")
    own = "folder of folders of people, PERSON/PHOTO"
    add("--gallery", type=Path, metavar="DIR", help=f"{own}: whom the system knows (default: skipped)")
    add("--probes", type=Path, metavar="DIR", help=f"{own}: other photos of them, under the same names (default: none)")
    add("--strangers", type=Path, metavar="DIR", help=f"{own}: people who must not be found (default: none)")
    add(
        "--tracks",
        action="store_true",
        help="folders below a person's are tracks, PERSON/TRACK/PICTURE: one probe each",
    )
    add("--pairs", type=Path, metavar="FILE", help="two names and 1 or 0 a line, or LFW's form (default: skipped)")
    add("--root", type=Path, metavar="DIR", help="folder that the names of --pairs are relative to (default: none)")
    xqlfw = "folder XQLFW, with xqlfw_pairs.txt (default: skipped)"
    add("--xqlfw", type=Path, metavar="DIR", help=xqlfw)
    ijb = "folder IJBB or IJBC, with meta and loose_crop (default: skipped)"
    add("--ijb", type=Path, metavar="DIR", help=ijb)
    bins = "pair sets as InsightFace shares them, lfw.bin, cfp_fp.bin and others (default: skipped)"
    add("--bin", type=Path, nargs="+", default=[], metavar="FILE", help=bins)
    _add_face_options(command)
    add(
        "--lists",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of landmark and pair lists (default: each data set's own, and data)",
    )
    add(
        "--sizes",
        type=int,
        nargs="+",
        help="of reduced pictures, in pixels (default: 8 12 16 20 for LFW and ORL, none for your own people and --bin)",
    )
    add(
        "--match-gallery",
        nargs="?",
        choices=["reduced", "both"],
        const="reduced",
        help="reduce gallery pictures to the probes' size, or compare with the mean of their embeddings in full and "
        "reduced (default: in full, as in published figures; without a value: reduced)",
    )


def _add_face_options(command: Parser) -> None:
    """Add what says where the faces stand in pictures for which no data set's own list says it."""
    add = command.add_argument
    where = "of your own people and pairs, TinyFace and QMUL-SurvFace"
    add(
        "--landmarks",
        type=Path,
        nargs="+",
        default=[],
        metavar="CSV",
        help=f"five points a picture {where}: one list, or one each for gallery, probes and strangers "
        "(default: pictures are taken whole)",
    )
    add("--detect", action="store_true", help=f"find the faces {where} with the detector of pipeline.landmarks")
    add("--aligned", action="store_true", help=f"say that the pictures {where} hold aligned faces already")
    add(
        "--several",
        choices=["largest", "central", "none"],
        default="largest",
        help="which face of several --detect takes",
    )
    add("--score", type=float, default=0.9, help="how sure --detect must be of a face, 0 to 1")
    add("--smallest", type=float, default=10.0, help="width in pixels of the smallest face that --detect looks for")
    add(
        "--not-found",
        choices=["error", "whole"],
        default="error",
        help="a picture without a face counts as an error, or is taken whole",
    )


def check_data_options(options: Any) -> None:
    """Refuse options that name no data set, or that do not fit together.

    Raises:
        UserError: naming them.
    """
    _check_own(options)
    own = options.gallery or options.pairs or options.bin or options.xqlfw or options.ijb
    if not (own or options.lfw or options.scface or options.survface or options.tinyface or options.orl):
        raise UserError(
            "no data set given; give at least one of --gallery and --probes, --pairs and --root, --bin, --xqlfw, "
            "--ijb, --lfw, --scface, --survface, --tinyface, --orl"
        )
    if too_small := [size for size in options.sizes or () if size < 1]:
        raise UserError(f"a size of {too_small[0]} pixels; give sizes of at least 1")
    for folder in options.lists:
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; --lists names folders of landmark and pair lists")


def _check_own(options: Any) -> None:
    """Refuse options that go together and do not stand together."""
    for one, other in (("gallery", "probes"), ("probes", "gallery"), ("strangers", "gallery"), ("pairs", "root")):
        if getattr(options, one) and not getattr(options, other):
            raise UserError(f"--{one} without --{other}; give both")
    if options.tracks and not options.gallery:
        raise UserError("--tracks without --gallery and --probes; give them")
    if options.root and not options.pairs:
        raise UserError("--root without --pairs; give both")
    if (options.bin or options.ijb) and options.flip:
        raise UserError(
            "--flip with --bin or --ijb, whose figures are with mirror images and without them anyway; leave --flip out"
        )
    if sum(map(bool, (options.landmarks, options.detect, options.aligned))) > 1:
        raise UserError("--landmarks, --detect and --aligned exclude each other; give one of them")
    if not 0 <= options.score <= 1:
        raise UserError(f"--score {options.score}; give a value from 0 to 1")
    if not 4 <= options.smallest <= 10_000:
        raise UserError(f"--smallest {options.smallest}; give pixels from 4 to 10000")


def protocol_options(options: Any, work: Path) -> "ProtocolOptions":
    """Return what the options name, for `selection.plan`; a detection keeps in a folder what it found."""
    from evaluation.protocols.selection import ProtocolOptions

    return ProtocolOptions(
        options.lfw,
        options.scface,
        options.survface,
        options.tinyface,
        options.orl,
        options.lists,
        options.sizes,
        options.match_gallery,
        options.gallery,
        options.probes,
        options.strangers,
        options.pairs,
        options.root,
        options.xqlfw,
        options.ijb,
        options.bin,
        _faces(options, work),
        options.tracks,
    )


def _faces(options: Any, work: Path) -> "FaceSource":
    """Return where the faces stand, as the options say."""
    from evaluation.scoring.faces import FaceSource
    from shards.cores import usable_cores

    kind: AlignmentKind = "whole"
    if options.landmarks:
        kind = "landmark list"
    elif options.detect:
        kind = "detection"
    elif options.aligned:
        kind = "aligned already"
    return FaceSource(
        kind,
        tuple(options.landmarks),
        options.several,
        options.score,
        options.smallest,
        options.not_found,
        work,
        usable_cores(),
    )
