"""Which protocols run on the data that is given; every list is read before the first picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.lists.ijb_lists import read_ijb_lists, read_search_lists
from evaluation.lists.text_lists import find_folder, find_list, has_folder
from evaluation.metrics.figures import Outcome
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import MatchGallery
from evaluation.protocols import (
    bin_pairs,
    ijb,
    ijb_search,
    lfw,
    orl,
    own_pairs,
    own_people,
    scface,
    survface,
    survface_openset,
    tinyface,
)
from evaluation.scoring.faces import WHOLE, FaceSource
from shards.command import UserError

XQLFW = "XQLFW"
LOW_SIZES = (8, 12, 16, 20)
"""Of the published method."""


@dataclass(frozen=True)
class ProtocolOptions:
    """What the user gave: a folder a data set, or None, and how to measure on it.

    Attributes:
        lfw: folder.
        scface: folder.
        survface: folder.
        tinyface: folder.
        orl: whether to use the ORL faces, which are installed.
        lists: folders of landmark and pair lists.
        sizes: of reduced pictures, in pixels; None: those of each data set's own protocol.
        match_gallery: reduce the gallery to the size of the probes, or take the mean of both; None: in full.
        gallery: folder of one's own people.
        probes: folder of other photos of them.
        strangers: folder of people who are not in the gallery.
        pairs: list of one's own pairs.
        root: folder that their names are relative to.
        xqlfw: folder of XQLFW.
        ijb: folder of IJB-B or IJB-C.
        bins: pair sets in the form of InsightFace.
        faces: where the faces stand, of pictures for which no data set's own list says it.
        tracks: folders below those of one's own people are tracks.
    """

    lfw: Path | None
    scface: Path | None
    survface: Path | None
    tinyface: Path | None
    orl: bool
    lists: Sequence[Path]
    sizes: Sequence[int] | None
    match_gallery: MatchGallery | None
    gallery: Path | None = None
    probes: Path | None = None
    strangers: Path | None = None
    pairs: Path | None = None
    root: Path | None = None
    xqlfw: Path | None = None
    ijb: Path | None = None
    bins: Sequence[Path] = ()
    faces: FaceSource = WHOLE
    tracks: bool = False


Run = Callable[[PictureEmbedder], Outcome]


def plan(given: ProtocolOptions) -> tuple[dict[str, Run], dict[str, str]]:
    """Return the protocols to run by their names, and those without data with the option that gives it.

    Raises:
        UserError: a list of any data set is missing or cannot be read, the ORL faces are not installed, or a gallery is
            to be matched with probes of which none is reduced.
    """
    if given.match_gallery and given.sizes is None and (given.gallery or given.pairs or given.xqlfw or given.bins):
        raise UserError(
            "--match-gallery reduces a gallery as its probes are, and without --sizes none of them is; "
            "give --sizes 8 12 16 20"
        )
    found: dict[str, tuple[str, Run | None]] = {
        lfw.PROTOCOL: ("--lfw", _lfw(given, given.lfw) if given.lfw else None),
        scface.PROTOCOL: ("--scface", _scface(given, given.scface) if given.scface else None),
        **_survface(given),
        tinyface.PROTOCOL: ("--tinyface", _tinyface(given, given.tinyface) if given.tinyface else None),
        orl.PROTOCOL: ("--orl", _orl(given) if given.orl else None),
    }
    if given.xqlfw:
        found[XQLFW] = ("", _xqlfw(given, given.xqlfw))
    if given.ijb:
        found |= _ijb(given, given.ijb)
    own = {own_people.PROTOCOL: _own_people(given), own_pairs.PROTOCOL: _own_pairs(given)}
    # Nobody misses a report of people whom nobody named.
    found |= {protocol: ("", run) for protocol, run in own.items() if run}
    found |= {data.protocol: ("", _bin_pairs(given, data)) for data in bin_pairs.read(given.bins)}
    skipped = {protocol: option for protocol, (option, run) in found.items() if run is None}
    return {protocol: run for protocol, (_, run) in found.items() if run}, skipped


def _lfw(given: ProtocolOptions, root: Path) -> Run:
    data = lfw.read(root, given.lists, given.faces.not_found)
    return lambda model: lfw.measure(data, model, sizes=_low_sizes(given), match_gallery=given.match_gallery)


def _scface(given: ProtocolOptions, root: Path) -> Run:
    data = scface.read(root, given.lists, given.faces.not_found)
    return lambda model: scface.measure(data, model, match_gallery=given.match_gallery)


def _survface(given: ProtocolOptions) -> dict[str, tuple[str, Run | None]]:
    """QMUL-SurvFace comes in parts: each of its tasks is run where it was unpacked, or named where none was."""
    root, lists = given.survface, given.lists
    pairs = openset = None
    if root and has_folder(root, *survface_openset.FOLDERS):
        openset_data = survface_openset.read(root, lists, given.faces)
        openset = lambda model: survface_openset.measure(openset_data, model)  # noqa: E731
    if root and (openset is None or has_folder(root, *survface.FOLDERS)):
        pairs_data = survface.read(root, lists, given.faces)
        pairs = lambda model: survface.measure(pairs_data, model)  # noqa: E731
    option = "--survface, a folder with "
    return {
        survface.PROTOCOL: (f"{option}Face_Verification_Test_Set", pairs),
        survface_openset.PROTOCOL: (f"{option}Face_Identification_Test_Set", openset),
    }


def _tinyface(given: ProtocolOptions, root: Path) -> Run:
    data = tinyface.read(root, given.lists, given.faces)
    return lambda model: tinyface.measure(data, model)


def _orl(given: ProtocolOptions) -> Run:
    photos = orl.read()
    return lambda model: orl.measure(photos, model, sizes=_low_sizes(given), match_gallery=given.match_gallery)


def _own_people(given: ProtocolOptions) -> Run | None:
    if given.gallery is None or given.probes is None:
        return None
    data = own_people.read(given.gallery, given.probes, given.strangers, given.faces, tracks=given.tracks)
    return lambda model: own_people.measure(data, model, sizes=given.sizes or (), match_gallery=given.match_gallery)


def _own_pairs(given: ProtocolOptions) -> Run | None:
    if given.pairs is None or given.root is None:
        return None
    data = own_pairs.read(given.pairs, given.root, given.faces)
    return lambda model: own_pairs.measure(data, model, sizes=given.sizes or (), match_gallery=given.match_gallery)


def _xqlfw(given: ProtocolOptions, root: Path) -> Run:
    """XQLFW: LFW's pictures, most of them degraded, with pairs of one good and one bad; measured as own pairs are."""
    folder = find_folder(root, "lfw_original_imgs_min_qual0.85variant11", "xqlfw_aligned_112", "xqlfw", "lfw", ".")
    pairs = find_list("xqlfw_pairs.txt", [*given.lists, root, folder, Path("data")])
    data = own_pairs.read(pairs, folder, given.faces, protocol=XQLFW)
    return lambda model: own_pairs.measure(data, model, sizes=given.sizes or (), match_gallery=given.match_gallery)


def _ijb(given: ProtocolOptions, root: Path) -> dict[str, tuple[str, Run | None]]:
    """IJB's pairs, and its search where its lists are there."""
    lists = read_ijb_lists(root)
    search, sizes = read_search_lists(root, lists), given.sizes or ()
    return {
        "IJB 1:1": ("", lambda model: ijb.measure(lists, model, sizes=sizes)),
        "IJB 1:N": (
            "--ijb, a folder with meta/ijbc_1N_gallery_G1.csv",
            (lambda model: ijb_search.measure(lists, search, model, sizes=sizes)) if search else None,
        ),
    }


def _bin_pairs(given: ProtocolOptions, data: bin_pairs.Data) -> Run:
    return lambda model: bin_pairs.measure(data, model, sizes=given.sizes or (), match_gallery=given.match_gallery)


def _low_sizes(given: ProtocolOptions) -> Sequence[int]:
    return LOW_SIZES if given.sizes is None else given.sizes
