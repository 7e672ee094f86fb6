"""What a gallery's check finds: `python -m experiments.gallery_health --model FILE --template centred --size 112`.

Puts small, blurred, mislabelled and doubled photos into galleries of half of the ORL people, or of rendered ones, and
prints how many of them `python -m evaluation.gallery` finds, how many good photos it does not keep, and the rate at
which enrolled people are found at FPIR 1 % with strangers: with those photos, without what the check leaves out,
with what it keeps alone, and without any of them.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.enrolled.face_table import FaceTable
    from evaluation.enrolled.measuring import Measuring
    from experiments.trials.planted_gallery import Split

_FPIR = 0.01


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m experiments.gallery_health", description=__doc__)
    add = command.add_argument
    add("--model", required=True, metavar="MODEL", help=CHECKPOINT_HELP)
    add("--people", choices=["orl", "rendered"], default="orl", help="whose photos")
    add("--trials", type=int, default=3, help="runs, each with other people enrolled and other photos put in")
    add("--each", type=int, default=6, help="bad photos of each kind that are put in")
    add("--sizes", type=int, nargs="+", default=[10, 12, 16, 20], help="of probes in pixels, beside full size")
    add_model_options(command)
    return command


def main() -> None:
    """Run the trials and print the tables."""
    options = parser().parse_args()
    if min(options.trials, options.each, *options.sizes) < 1:
        raise UserError("--trials, --each and --sizes; give numbers of at least 1")
    from evaluation.enrolled.measuring import measuring
    from evaluation.models.preparation import aligned, require_template

    embedder, loaded = open_embedder(options.model, options, device_of(options), watched=False)
    require_template(loaded.preprocessing, "the experiment")
    how = measuring(options.model, embedder, loaded, {}, aligned=True, least_score=0)
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(options.people, Path(folder))
        people = [person for person, _, _ in photos]
        form = loaded.preprocessing
        sizes = [*(size for size in options.sizes if size < form.size), None]
        pictures = [aligned(str(path), path, points, form, size) for size in sizes for _, path, points in photos]
        faces = [picture.load() for picture in pictures[-len(photos) :]]
        # (sizes * N, D) -> (sizes, N, D)
        probes = embedder.embed(pictures).vectors.reshape(len(sizes), len(photos), -1)
        named = [size or form.size for size in sizes]
        trials = [
            _trial(seed, faces, people, probes, named, how, Path(folder), options.each)
            for seed in range(options.trials)
        ]
    _print(trials, named, options.people)


def _photos(kind: str, folder: Path) -> list[Any]:
    from pipeline.sources.datasets import ORL_HELD_OUT_PEOPLE, ORL_TRAIN_PEOPLE, orl_photos

    if kind == "orl":
        return orl_photos((*ORL_TRAIN_PEOPLE, *ORL_HELD_OUT_PEOPLE))
    from pipeline.sources.datasets import vggface2
    from pipeline.sources.landmark_list import LANDMARK_COLUMNS
    from pipeline.synthetic.write import write_dataset

    write_dataset(folder, "vggface2", identities=40, photos=10, seed=0)
    root = folder / "VGGFace2"
    found = []
    for table in vggface2(root, [root / "bb_landmark" / "loose_landmark_train.csv"]).listed():
        points = table[LANDMARK_COLUMNS].to_numpy().reshape(-1, 5, 2)
        found += [
            (person, root / path, own)
            for person, path, own in zip(table["identity"], table["path"], points, strict=True)
        ]
    return found


def _trial(
    seed: int,
    faces: list[Any],
    people: list[str],
    probes: Any,
    sizes: list[int],
    how: "Measuring",
    work: Path,
    each: int,
) -> dict[str, Any]:
    """Plant, check, and measure: counts by kind, and TPIR by gallery and size."""
    from evaluation.enrolled.enrolment import photos_of_people
    from evaluation.enrolled.gallery_check import check_gallery
    from evaluation.enrolled.measuring import measure
    from experiments.trials.planted_gallery import split, write_gallery

    parts = split(people, seed)
    folder = work / f"gallery-{seed}"
    planted, originals = write_gallery(folder, faces, people, parts, seed, each=each)
    table = measure(photos_of_people(folder)[0], how, work / f"work-{seed}", enrolled=True)[0].by_person()
    found, least = check_gallery(table, how)
    names = [str(Path(photo).relative_to(folder)) for photo in table.photos]
    kinds = [planted.get(name, "good") for name in names]
    advice = {name: one.advice for name, one in zip(names, found, strict=True)}
    for copy, original in originals.items():
        # Of two copies either may be the one that is named.
        if advice[copy] == "keep":
            advice[copy], advice[original] = advice[original], "keep"
    galleries = {
        "with them": table,
        "after the check": table.take([row for row, one in enumerate(found) if one.advice != "leave out"]),
        "kept alone": table.take([row for row, one in enumerate(found) if one.advice == "keep"]),
        "clean": table.take([row for row, kind in enumerate(kinds) if kind == "good"]),
    }
    return {
        "least": least,
        "put in": Counter(kinds),
        "found": Counter(kind for kind, name in zip(kinds, names, strict=True) if advice[name] != "keep"),
        "left out": Counter(kind for kind, name in zip(kinds, names, strict=True) if advice[name] == "leave out"),
        "tpir": {name: _tpir(gallery, people, probes, parts, sizes) for name, gallery in galleries.items()},
    }


def _tpir(gallery: "FaceTable", people: list[str], probes: Any, parts: "Split", sizes: list[int]) -> dict[str, float]:
    """Return TPIR at rank 1 at FPIR 1 %, by the probes' size, and of probes of all sizes with one threshold."""
    from evaluation.metrics.identification import best_scores, mated_ranks, tpir_at_fpir

    names = np.array(people)
    together = dict(zip(map(str, sizes), probes, strict=True))
    found = {}
    for name, groups in [*((name, [vectors]) for name, vectors in together.items()), ("all", list(probes))]:
        mated = np.concatenate([vectors[parts.mated] for vectors in groups])
        strangers = np.concatenate([vectors[parts.strangers] for vectors in groups])
        ids = np.tile(names[parts.mated], len(groups))
        ranked = mated_ranks(mated, ids, gallery.vectors, np.array(gallery.people))
        found[name] = tpir_at_fpir(ranked, best_scores(strangers, gallery.vectors)[0], _FPIR, rank=1)
    return found


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _print(trials: list[dict[str, Any]], sizes: list[int], people: str) -> None:
    from experiments.trials.planted_gallery import KINDS

    put, found, left = (_sum(trial[name] for trial in trials) for name in ("put in", "found", "left out"))
    least = ", ".join(map(str, sorted({trial["least"] for trial in trials})))
    print(f"{people}, {len(trials)} galleries; this model confuses people below {least} pixels")
    print(f"{'photos':<14}{'put in':>8}{'found':>8}{'share':>8}{'left out':>10}")
    for kind in (*KINDS, "good"):
        share = f"{found[kind] / put[kind]:.1%}"
        print(f"{kind:<14}{put[kind]:>8}{found[kind]:>8}{share:>8}{left[kind]:>10}")
    bad, hit = sum(put[kind] for kind in KINDS), sum(found[kind] for kind in KINDS)
    print(f"{'all bad ones':<14}{bad:>8}{hit:>8}{hit / bad:>8.1%}")
    print(f"\nTPIR at FPIR {_FPIR:.0%}, rank 1, mean of the galleries, by the probes' size in pixels")
    columns = [*map(str, sizes), "all"]
    print(f"{'gallery':<18}" + "".join(f"{name:>8}" for name in columns))
    for name in trials[0]["tpir"]:
        means = (float(np.mean([trial["tpir"][name][column] for trial in trials])) for column in columns)
        print(f"{name:<18}" + "".join(f"{mean:>8.1%}" for mean in means))


if __name__ == "__main__":
    run(main)
