"""Damage every file that the offline stage and the shards read: `python -m tests.campaigns.mutate_offline`.

Each case damages one file and lets the real reader have it. It must be read, or end as a reject, as a fault that
`shards.verify` names, or as a mistake told in one line. Anything else is a finding, printed with the number that
repeats it. Damage to a tar, or to a number that the loader follows, must also be noticed.
"""

import io
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from pipeline.alignment.photo_to_face import FaceFormat, make_face
from pipeline.pixels.photo import UnusablePhoto, decode
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import is_done, shard
from pipeline.sharding.source_options import read_source_file
from pipeline.sharding.tar_record import WORK, TarRecord, record_path, write_record
from pipeline.sources.datasets import vggface2, without_identities
from pipeline.sources.landmark_list import read_landmarks
from pipeline.sources.photo_table import PhotoTable
from pipeline.sources.recordio import DamagedRecord, recordio
from pipeline.sources.recordio import read_record as read_rec
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from shards.format import PHOTO_DTYPE, POINTS_DTYPE, tar_name
from shards.verify import find_faults
from tests.campaigns.mutations import Reader, campaign
from tests.pipeline.sources.test_recordio import write_set

_SETTINGS = Settings(size=32, min_tars=2, stored_views=(8,))


def readers(scratch: Path) -> dict[str, Reader]:
    """Write sound inputs and return who reads them."""
    write_dataset(scratch, "vggface2", identities=4, photos=4, seed=0)
    root = scratch / "VGGFace2"
    lists = root / "bb_landmark" / "loose_landmark_train.csv"
    shards = scratch / "shards"
    shard(Plan(vggface2(root, [lists]), _SETTINGS), shards, workers=1)
    write_set(scratch / "set", people=3, photos=2)
    toml, names = scratch / "sources.toml", scratch / "exclude.txt"
    toml.write_text(f'[[source]]\ndataset = "vggface2"\nname = "a"\nroot = "{root}"\nlandmarks = ["{lists}"]\n')
    names.write_text("n000002\nn000003\n")
    done = scratch / "begun"
    (done / WORK).mkdir(parents=True)
    (done / tar_name(0)).write_bytes(bytes(10))
    tables = np.zeros(3, PHOTO_DTYPE), np.zeros(3, POINTS_DTYPE)
    unit = TarRecord(*tables, np.zeros(3, np.int64), [(0, "a", "b", "c")], ["d"], "0" * 64, 10)
    write_record(record_path(done, 0), unit)
    photo = next((root / "train").rglob("*.jpg"))
    found = {f"photo{suffix}": _photo(photo, scratch, suffix) for suffix in (".jpg", ".png", ".webp", ".ppm", ".tif")}
    return {
        **found,
        "part of photo.jpg": _photo(photo, scratch, ".jpg", beside=96),
        "landmark list": Reader(lists, lambda: _list(lists), 3),
        "list to records": Reader(lists, lambda: _records(root, lists)),
        "train.rec": Reader(scratch / "set" / "train.rec", lambda: _set(scratch / "set"), 3),
        "train.idx": Reader(scratch / "set" / "train.idx", lambda: _set(scratch / "set"), 3),
        "property": Reader(scratch / "set" / "property", lambda: _set(scratch / "set")),
        "sources.toml": Reader(toml, lambda: f"read, {len(read_source_file(toml))}", 2),
        "exclude": Reader(names, lambda: _exclude(root, lists, names)),
        "unit record": Reader(record_path(done, 0), lambda: f"done {is_done(done, 0)}", 2),
        **{
            name: Reader(shards / name, lambda: _verify(shards), weight)
            for name, weight in {
                "shard-000000.tar": 3, "shard-000000.idx": 1, "manifest.json": 3, "photos.npy": 3,
                "identities.npy": 2, "identities.txt": 1, "rejects.csv": 1,
            }.items()
        },
    }  # fmt: skip


def _photo(source: Path, scratch: Path, suffix: str, beside: int = 0) -> Reader:
    """Write a photo of a face with as many pixels beside it on every side, and return who makes a face of it."""
    photo = cv2.imread(str(source))
    assert photo is not None
    path = scratch / f"photo-{beside}{suffix}"
    sides = (beside, beside), (beside, beside), (0, 0)
    cv2.imwrite(str(path), np.pad(cv2.resize(photo, (96, 112)), sides, mode="symmetric"))
    points = np.array([[30.0, 51], [65, 51], [48, 71], [33, 92], [62, 92]]) + beside
    form = FaceFormat("paper", 32, "jpg", 95)

    def read() -> str:
        face = make_face(path.read_bytes(), points, form)
        assert decode(face.encoded).shape == (32, 32, 3)
        return "face"

    return Reader(path, read, 4 if suffix == ".jpg" else 1)


def _list(path: Path) -> str:
    return f"read, {len(read_landmarks(path, header=True)) == 16}"


def _records(root: Path, path: Path) -> str:
    with PhotoTable([vggface2(root, [path])]) as records:
        usable = len(records.sample(1000))
        assert records.inputs == usable + sum(records.reasons().values()) == usable + len(list(records.rejects()))
        return ", ".join(records.reasons()) or "all usable"


def _set(root: Path) -> str:
    source = recordio(root)
    outcomes: Counter[str] = Counter()
    with (root / "train.rec").open("rb") as file:
        for table in source.listed():
            for position in table["position"]:
                try:
                    outcomes["picture" if read_rec(file, int(position)).picture else "no picture"] += 1
                except DamagedRecord:
                    outcomes["damaged record"] += 1
    return ", ".join(sorted(outcomes))


def _exclude(root: Path, lists: Path, names: Path) -> str:
    with PhotoTable([without_identities(vggface2(root, [lists]), names)]) as records:
        return ", ".join(records.reasons())


def _verify(folder: Path) -> str:
    return "fault" if any(True for _ in find_faults(folder)) else "no fault"


def judged(name: str, one: Reader, sound: bytes, damaged: bytes) -> str:
    """Have a damaged file read, and see that damage of which nobody takes notice does no harm."""
    try:
        outcome: str = one.read()
    except UserError as mistake:
        assert str(mistake).strip()
        return "one line"
    except UnusablePhoto as reason:
        return f"reject: {reason}"
    if outcome == "no fault":
        _require_harmless(name, sound, damaged)
    return outcome


def _require_harmless(name: str, sound: bytes, damaged: bytes) -> None:
    """Raise AssertionError where damage that verify did not notice would mislead a reader."""
    assert not name.endswith((".tar", ".idx", ".txt")), "damage went unnoticed"
    if name.endswith(".npy"):
        np.testing.assert_array_equal(*(np.load(io.BytesIO(data), allow_pickle=False) for data in (sound, damaged)))


if __name__ == "__main__":
    campaign("python -m tests.campaigns.mutate_offline", __doc__, 10_000, readers, judged)
