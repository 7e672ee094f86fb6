"""Rendered people in the layouts of the sets that every paper reports: XQLFW, IJB-C, and `.bin` files of pairs."""

import numpy as np

from pipeline.synthetic.layouts import BinFile, Job, LandmarkList, Layout, lfw_pairs, portrait, stream
from pipeline.synthetic.pose import Shot

_XQLFW, _IJB, _BIN = 12_000_000, 13_000_000, 14_000_000
_XQLFW_PICTURES = "lfw_original_imgs_min_qual0.85variant11"


def xqlfw(identities: int, photos: int, seed: int) -> Layout:
    """XQLFW: LFW's names and sizes, every second photo of a person small, blurred by enlarging, and hard compressed."""
    jobs, names, rows = [], [], []
    for number in range(identities):
        name = f"Rendered_Person_{number:04d}"
        names.append(name)
        for photo in range(photos):
            person = _XQLFW + number
            rng = stream(seed, person, photo)
            shot = Shot(250, 250, 45 + rng.normal(0, 2.5), (125 + rng.normal(0, 2.5), 108 + rng.normal(0, 3)))
            path = f"{name}/{name}_{photo + 1:04d}.jpg"
            jobs.append(Job(f"XQLFW/{_XQLFW_PICTURES}/{path}", person, photo, shot, 90 if photo % 2 == 0 else 8))
            rows.append((path, f"XQLFW/{_XQLFW_PICTURES}/{path}"))
    pairs = lfw_pairs(names, photos, stream(seed, _XQLFW))
    return Layout(jobs, (LandmarkList("lists/XQLFW.csv", tuple(rows)),), texts=(("XQLFW/xqlfw_pairs.txt", pairs),))


def ijbc(identities: int, photos: int, seed: int) -> Layout:
    """IJB-C: loose_crop and meta, with 1:1 and 1:N lists; each person has a template to enrol and two to search with.

    A template holds stills, each a medium, and frames of one video, which share a medium.
    """
    jobs: list[Job] = []
    rows: list[tuple[str, str]] = []
    faces: list[str] = []
    subjects: dict[str, list[str]] = {"gallery_G1": [], "gallery_G2": [], "probe_mixed": []}
    of_subject: list[list[int]] = []
    for number in range(identities):
        of_subject.append([3 * number + place + 1 for place in range(3)])
        for place, template in enumerate(of_subject[-1]):
            gallery = "gallery_G1" if number % 2 == 0 else "gallery_G2"
            kind = gallery if place == 0 else "probe_mixed"
            for photo in range(photos):
                name = f"{len(jobs) + 1}.jpg"
                person, taken = _IJB + number, place * photos + photo
                rng = stream(seed, person, taken)
                width = int(rng.integers(60, 161))
                shot = portrait(rng, width, int(width * rng.uniform(1.1, 1.3)))
                jobs.append(Job(f"IJBC/loose_crop/{name}", person, taken, shot, int(rng.integers(60, 95))))
                rows.append((name, f"IJBC/loose_crop/{name}"))
                # The second half of a template's faces are frames of one video.
                medium = 1_000 * template + (photo if photo < photos / 2 else 999)
                faces.append(f"{name} {template} {medium}")
                subjects[kind].append(f"{template},{number + 1},img/{name}")
    scores = stream(seed, _IJB).uniform(0.6, 1.0, len(rows)).tolist()
    meta = "IJBC/meta/ijbc"
    texts = {
        f"{meta}_face_tid_mid.txt": faces,
        f"{meta}_template_pair_label.txt": _template_pairs(of_subject, stream(seed, _IJB, 1)),
        **{f"{meta}_1N_{kind}.csv": ["TEMPLATE_ID,SUBJECT_ID,FILENAME", *lines] for kind, lines in subjects.items()},
    }
    return Layout(
        jobs,
        (LandmarkList(f"{meta}_name_5pts_score.txt", tuple(rows), scores=tuple(scores)),),
        texts=tuple((path, "\n".join(lines) + "\n") for path, lines in texts.items()),
    )


def _template_pairs(of_subject: list[list[int]], rng: np.random.Generator) -> list[str]:
    """Pair each person's enrolled template with both others, and with ten times as many of other people."""
    same = [(own[0], other) for own in of_subject for other in own[1:]]
    lines = [f"{left} {right} 1" for left, right in same]
    for own, _ in same * 10:
        strangers = [other[1:] for other in of_subject if other[0] != own]
        lines.append(f"{own} {rng.choice(strangers[rng.integers(len(strangers))])} 0")
    return lines


def bin_set(identities: int, photos: int, seed: int) -> Layout:
    """`BIN/rendered.bin`: pairs of faces aligned to 112 x 112 by the centred template, and their photos."""
    jobs = []
    for number in range(identities):
        for photo in range(photos):
            rng = stream(seed, _BIN + number, photo)
            width = int(rng.integers(160, 241))
            shot = portrait(rng, width, int(width * 1.25))
            jobs.append(Job(f"BIN/photos/{number:04d}/{photo:02d}.jpg", _BIN + number, photo, shot, 95))
    rng = stream(seed, _BIN)
    pairs, same = [], []
    for number in range(identities):
        for _ in range(photos):
            one, two = rng.choice(photos, 2, replace=False).tolist()
            stranger = (number + int(rng.integers(1, identities))) % identities
            pairs += [(number * photos + one, number * photos + two), (number * photos + one, stranger * photos + two)]
            same += [True, False]
    named = tuple((jobs[left].path, jobs[right].path) for left, right in pairs)
    return Layout(jobs, bins=(BinFile("BIN/rendered.bin", named, tuple(same)),))
