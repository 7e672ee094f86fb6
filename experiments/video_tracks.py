"""What a track is worth: `python -m experiments.video_tracks --model FILE --template centred --size 112`.

Renders people, some of them with photos to enrol, and videos in which they and strangers walk. Prints how well faces
are followed (CLEAR MOT, IDF1), and the rate at which enrolled people are found at FPIR 10 % by single faces and by
tracks, pooled by size and norm and by the plain mean, by the size of the faces; and, with a calibration on other
rendered people, the decisions on tracks.
"""

import csv
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.enrolled.options import add_enrol_sizes
from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from shards.command import Parser, UserError, run
from shards.cores import usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evaluation.decisions.video_parts import VideoFaces
    from evaluation.enrolled.face_table import FaceTable
    from evaluation.enrolled.measuring import Measuring
    from pipeline.tracking.switches import Boxes

_FPIR = 0.1
_EDGES = (8, 16, 24, 32, 1000)
# Of the truth: narrower faces and hidden ones need not be followed.
_NARROWEST, _MOST_HIDDEN = 12, 0.5


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m experiments.video_tracks", description=__doc__)
    add = command.add_argument
    add("--model", required=True, metavar="MODEL", help=CHECKPOINT_HELP)
    add("--people", type=int, default=48, help="number of people who walk, every third a stranger")
    add("--seed", type=int, default=0, help="of everything that is rendered")
    add("--data", type=Path, metavar="DIR", help="folder for what is rendered and found (default: kept nowhere)")
    add("--calibration", type=Path, metavar="FILE", help="of evaluation.calibrate, for decisions (default: none)")
    add_enrol_sizes(command)
    add_model_options(command, kept=False)
    return command


def main() -> None:
    """Render, follow, pool, compare and print."""
    options = parser().parse_args()
    if options.people < 6:
        raise UserError(f"--people {options.people}; give at least 6")
    from evaluation.enrolled.measuring import measuring
    from evaluation.models.preparation import require_template

    embedder, loaded = open_embedder(options.model, options, device_of(options), watched=False)
    require_template(loaded.preprocessing, "the experiment")
    how = measuring(options.model, embedder, loaded, {"flip": options.flip, "precision": options.precision},
                    aligned=False, least_score=0.9, sizes=options.enrol_sizes)  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch)
        _measure(folder, how, options)


def _measure(folder: Path, how: "Measuring", options: Any) -> None:
    from evaluation.enrolled.enrolment import enrol_folder
    from pipeline.synthetic.write import write_dataset

    root = folder / "Video"
    if not root.is_dir():
        write_dataset(folder, "video", identities=options.people, photos=3, seed=options.seed, workers=usable_cores())
    gallery = enrol_folder(root / "gallery", folder / "gallery.safetensors", how).table
    videos = sorted((root / "walks").glob("*.avi"))
    found = [_faces_of(video, folder, how) for video in videos]
    truths = [_truth(video.with_suffix(".csv"), faces) for video, faces in zip(videos, found, strict=True)]
    _print_following(truths, found)
    people = [_people_of(faces, truth) for faces, truth in zip(found, truths, strict=True)]
    _print_rates(found, people, gallery)
    if options.calibration:
        _print_decisions(found, people, gallery, how, options.calibration)


def _faces_of(video: Path, folder: Path, how: "Measuring") -> "VideoFaces":
    """Return what was found in a video, now or in an earlier run."""
    from evaluation.decisions.video_faces import watch
    from evaluation.decisions.video_parts import read_part, write_part
    from pipeline.tracking.face_follower import Search

    kept = folder / f"{video.stem}.faces"
    faces = read_part(kept)
    if faces is None:
        faces = watch(video, how, Search(), folder / f"{video.stem}.work").faces
        write_part(kept, faces)
    return faces


def _truth(path: Path, faces: "VideoFaces") -> "list[Boxes]":
    """Return the people of each frame, wide enough and not hidden."""
    from pipeline.tracking.switches import Boxes

    rows: dict[int, list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if float(row["hidden"]) < _MOST_HIDDEN and float(row["width"]) >= _NARROWEST:
                rows[int(row["frame"])].append(row)
    return [
        Boxes(
            tuple(row["person"] for row in rows[number]),
            np.array([[float(row[name]) for name in ("left", "top", "width", "height")] for row in rows[number]]),
        )
        for number in faces.frames.tolist()
    ]


def _found_boxes(faces: "VideoFaces") -> "list[Boxes]":
    from pipeline.tracking.switches import Boxes

    ends = np.searchsorted(faces.numbers, [faces.frames, faces.frames + 1]).T.tolist()
    return [Boxes(tuple(faces.tracks[begin:end].tolist()), faces.boxes[begin:end]) for begin, end in ends]


def _print_following(truths: "list[list[Boxes]]", found: "list[VideoFaces]") -> None:
    from pipeline.tracking.switches import measure_following

    videos = [measure_following(truth, _found_boxes(faces)) for truth, faces in zip(truths, found, strict=True)]
    names = ("faces", "misses", "false", "switches", "tracks")
    total = {name: sum(getattr(video, name) for video in videos) for name in names}
    people = len({name for truth in truths for boxes in truth for name in boxes.names})
    print(f"{people} people in {len(videos)} videos: " + ", ".join(f"{name} {total[name]:,}" for name in names))
    print(f"IDF1 {np.mean([video.idf1 for video in videos]):.3f}, MOTA {np.mean([video.mota for video in videos]):.3f}")


def _people_of(faces: "VideoFaces", truth: "list[Boxes]") -> list[str]:
    """Return whom each face with an embedding shows, "" of one that is nobody's, by the largest overlap."""
    from pipeline.tracking.tracker import overlap

    places = np.searchsorted(faces.frames, faces.numbers[faces.rows]).tolist()
    people = []
    for row, place in zip(faces.rows.tolist(), places, strict=True):
        boxes = truth[place]
        shared = overlap(faces.boxes[row][None], boxes.boxes.reshape(-1, 4))[0]
        people.append(boxes.names[int(shared.argmax())] if len(shared) and shared.max() >= 0.3 else "")
    return [str(person) for person in people]


def _print_rates(found: "list[VideoFaces]", people: list[list[str]], gallery: "FaceTable") -> None:
    """Print TPIR of single faces and of what each track shows within a class of sizes."""
    from evaluation.metrics.pooling import pool

    print(f"\nTPIR at FPIR {_FPIR:.0%}, rank 1, %, and numbers of probes (enrolled, strangers)")
    print(f"{'pixels':<12}{'faces':>14}{'single':>8}{'tracks':>12}{'weighted':>10}{'plain':>8}{'rank-1':>24}")
    for low, high in [*pairwise(_EDGES), (0, 1000)]:
        single: list[Any] = []
        pooled: dict[str, list[Any]] = {"weighted": [], "plain": []}
        for faces, shown in zip(found, people, strict=True):
            names = np.array(shown, dtype=np.str_)
            some = np.flatnonzero((faces.sizes >= low) & (faces.sizes < high) & (names != ""))
            if not len(some):
                continue
            single += list(zip(faces.vectors[some], names[some], faces.sizes[some], strict=True))
            numbers, track = np.unique(faces.tracks[faces.rows[some]], return_inverse=True)
            of_track = [Counter(names[some][track == one].tolist()).most_common(1)[0][0] for one in range(len(numbers))]
            both = pool(faces.vectors[some], faces.sizes[some], track, len(numbers))
            sizes = np.bincount(track, faces.sizes[some]) / np.bincount(track)
            for way, vectors in (("weighted", both.weighted), ("plain", both.plain)):
                pooled[way] += list(zip(vectors, of_track, sizes, strict=True))
        rates = {way: _rate(probes, gallery) for way, probes in (("single", single), *pooled.items())}
        name = f"{low} to {high - 1}" if high < 1000 else f"{low} and more" if low else "all"
        firsts = " / ".join(f"{100 * rates[way][1]:.1f}" for way in rates)
        print(
            f"{name:<12}{rates['single'][2]:>14}{100 * rates['single'][0]:>8.1f}{rates['weighted'][2]:>12}"
            f"{100 * rates['weighted'][0]:>10.1f}{100 * rates['plain'][0]:>8.1f}{firsts:>24}"
        )


def _rate(probes: list[Any], gallery: "FaceTable") -> tuple[float, float, str]:
    """Return TPIR, rank-1 and the numbers of probes."""
    from evaluation.metrics.identification import best_scores, mated_ranks, rank_rate, tpir_at_fpir

    enrolled = set(gallery.people)
    mated = [probe for probe in probes if probe[1] in enrolled]
    strangers = [probe for probe in probes if probe[1].startswith("stranger")]
    if not mated or not strangers:
        return float("nan"), float("nan"), f"{len(mated)}, {len(strangers)}"
    ids = np.array([person for _, person, _ in mated])
    faces = _side_by_side(gallery)
    ranked = mated_ranks(_in_its_place(mated, gallery), ids, faces, np.array(gallery.people))
    best, _ = best_scores(_in_its_place(strangers, gallery), faces)
    rate = tpir_at_fpir(ranked, best, _FPIR, rank=1)
    return rate, rank_rate(ranked.ranks, 1), f"{len(mated)}, {len(strangers)}"


def _side_by_side(gallery: "FaceTable") -> "NDArray[np.float64]":
    """Return the embeddings of each photo in full and at each size, one behind the other: (N, places D)."""
    from evaluation.enrolled.sized_search import vectors_at
    from evaluation.metrics.identification import l2_normalised

    places = range(len(gallery.enrol_sizes) + 1)
    return np.concatenate([l2_normalised(vectors_at(gallery, place)) for place in places], axis=1)


def _in_its_place(probes: list[Any], gallery: "FaceTable") -> "NDArray[np.float64]":
    """Return each probe where the embeddings of its size stand, among zeros: its cosines, but for one factor of all."""
    from evaluation.enrolled.sized_search import places_of

    vectors = np.stack([vector for vector, _, _ in probes])
    wide = np.zeros((len(vectors), len(gallery.enrol_sizes) + 1, vectors.shape[1]))
    wide[np.arange(len(vectors)), places_of([size for _, _, size in probes], gallery)] = vectors
    # (P, places, D) -> (P, places D)
    return wide.reshape(len(vectors), -1)


def _print_decisions(
    found: "list[VideoFaces]", people: list[list[str]], gallery: "FaceTable", how: "Measuring", path: Path
) -> None:
    """Print what is decided on tracks with a calibration that was fitted on single photos."""
    from evaluation.decisions.calibration import read_calibration
    from evaluation.decisions.decision import identify
    from evaluation.decisions.face_tracks import tracks_of

    calibration = read_calibration(path)
    print("\ndecisions on tracks at FPIR 1 %: person right, person wrong, nobody, too small")
    counts: dict[str, Counter[str]] = {}
    for faces, shown in zip(found, people, strict=True):
        tables = tracks_of(faces, ("", "", ""), how.made, 3, 0)
        names = np.array(shown, dtype=np.str_)
        for way, table in (("weighted", tables.weighted), ("plain", tables.plain)):
            for span, one in zip(tables.spans, identify(table, gallery, calibration, 0.01), strict=True):
                whose = Counter(names[faces.tracks[faces.rows] == span.number].tolist()).most_common(1)[0][0]
                who = "enrolled" if whose in set(gallery.people) else "strangers"
                verdict = one.verdict if one.verdict != "person" else "right" if one.person == whose else "wrong"
                counts.setdefault(f"{way}, {who}", Counter())[verdict] += 1
    for name, count in counts.items():
        print(
            f"{name:<22}"
            + ", ".join(f"{count[one]}" for one in ("right", "wrong", "nobody we know", "too small to tell"))
        )


if __name__ == "__main__":
    run(main)
