"""Rendered people: the real layouts, true landmarks, the same bytes by seed, and people one can tell apart."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image
from sklearn.linear_model import LogisticRegression

from pipeline.alignment.align import align
from pipeline.synthetic.identity import make_identity
from pipeline.synthetic.pose import Shot
from pipeline.synthetic.render import Photo, photo_generator, render
from pipeline.synthetic.write import write_dataset
from shards.command import UserError


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_seed_gives_the_bytes_whoever_renders(tmp_path: Path) -> None:
    for name, workers, seed in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4)):
        write_dataset(tmp_path / name, "vggface2", identities=3, photos=3, seed=seed, workers=workers)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")


def test_a_photo_does_not_depend_on_how_many_are_asked_for(tmp_path: Path) -> None:
    write_dataset(tmp_path / "few", "vggface2", identities=2, photos=2, seed=3)
    write_dataset(tmp_path / "many", "vggface2", identities=4, photos=5, seed=3)
    few, many = files(tmp_path / "few" / "VGGFace2" / "train"), files(tmp_path / "many" / "VGGFace2" / "train")
    assert all(many[name] == content for name, content in few.items())


def pixels_of(photo: Photo, colour: tuple[int, int, int], centre: np.ndarray, reach: float) -> np.ndarray:
    """(N, 2) x, y of the pixels of about a colour; clothes and background may have it too, further away."""
    near = np.argwhere((np.abs(photo.picture.astype(int) - colour) < 90).all(axis=2))[:, ::-1]
    return near[np.linalg.norm(near - centre, axis=1) < reach]


@pytest.mark.slow
@pytest.mark.parametrize("eyes", [150.0, 20.0])
def test_landmarks_are_where_the_face_is(eyes: float) -> None:
    """A person with magenta irises and green lips: the landmarks must lie where these colours are."""
    found = 0
    for number in range(12):
        person = replace(make_identity(5, number), iris=np.array([255, 0, 255]), lips=np.array([0, 255, 0]), glasses=0)
        side = int(4 * eyes)
        shot = Shot(side, side, eyes, (side / 2, side / 2.5), wear=0.0)
        photo = render(person, shot, photo_generator(5, number, 0))
        irises = pixels_of(photo, (255, 0, 255), photo.landmarks[:2].mean(axis=0), 0.75 * eyes)
        lips = pixels_of(photo, (0, 255, 0), photo.landmarks[3:].mean(axis=0), 0.7 * eyes)
        middle = photo.landmarks[:2].mean(axis=0)[0]
        for eye, mine in zip(photo.landmarks, (irises[:, 0] < middle, irises[:, 0] >= middle), strict=False):
            if mine.sum() < 3:
                continue  # nearly closed
            found += 1
            # The gaze moves an iris within its eye.
            np.testing.assert_allclose(irises[mine].mean(axis=0), eye, atol=0.13 * eyes)
        along = (photo.landmarks[4] - photo.landmarks[3]) / np.linalg.norm(photo.landmarks[4] - photo.landmarks[3])
        corners = lips[[np.argmin(lips @ along), np.argmax(lips @ along)]]
        np.testing.assert_allclose(corners, photo.landmarks[3:], atol=0.1 * eyes + 2)  # thin at their ends
        nose, mouth = photo.landmarks[2], photo.landmarks[3:].mean(axis=0)
        assert middle - eyes < nose[0] < middle + eyes
        assert photo.landmarks[:2, 1].mean() < nose[1] < mouth[1]
    assert found >= 16


def test_scface_stands_at_the_real_distances(rendered: Path) -> None:
    for name, median in (
        ("scface_mugshot", 324),
        ("scface_distance1", 10),
        ("scface_distance2", 17),
        ("scface_distance3", 30.2),
    ):
        with (rendered / "lists" / f"{name}.csv").open() as file:
            rows = np.array([row[1:] for row in csv.reader(file)], dtype=float).reshape(-1, 5, 2)
        eyes = np.linalg.norm(rows[:, 1] - rows[:, 0], axis=1)
        # A turned head's eyes stand closer.
        assert 0.85 * median < np.median(eyes) < 1.1 * median
    folder = rendered / "SCface" / "SCface_database"
    assert len(list((folder / "surveillance_cameras_all").glob("*_cam?_?.jpg"))) == 5 * 15
    assert not (rendered / "lists" / "scface_distance1.csv").read_bytes().endswith(b"\n")


def test_survface_has_the_real_sizes(rendered: Path) -> None:
    sizes = np.array([Image.open(p).size for p in (rendered / "QMUL-SurvFace").rglob("*.jpg")])
    assert 24 <= np.median(sizes[:, 1]) <= 30
    assert 19 <= np.median(sizes[:, 0]) <= 25
    assert (sizes.min(axis=0) >= (5, 7)).all()
    assert (sizes.max(axis=0) <= (106, 117)).all()


def test_mat_files_name_pictures_that_are_there(rendered: Path) -> None:
    top = rendered / "QMUL-SurvFace" / "QMUL-SurvFace"
    verification = top / "Face_Verification_Test_Set"
    for kind in ("positive", "negative"):
        cells = scipy.io.loadmat(verification / f"{kind}_pairs_names.mat")[f"{kind}_pairs_names"]
        assert cells.shape[1] == 2
        for a, b in cells:
            assert (verification / "verification_images" / a[0]).is_file()
            assert (a[0].split("_")[0] == b[0].split("_")[0]) == (kind == "positive")
    tiny = rendered / "TinyFace" / "Testing_Set"
    for folder, file, what in (
        (top / "Face_Identification_Test_Set" / "gallery", "gallery_img_ID_pairs.mat", "gallery"),
        (top / "Face_Identification_Test_Set" / "mated_probe", "mated_probe_img_ID_pairs.mat", "mated_probe"),
        (tiny / "Gallery_Match", "gallery_match_img_ID_pairs.mat", "gallery"),
        (tiny / "Probe", "probe_img_ID_pairs.mat", "probe"),
    ):
        variables = scipy.io.loadmat(folder.parent / file)
        names = [str(cell[0][0]) for cell in variables[f"{what}_set"]]
        assert sorted(names) == sorted(path.name for path in folder.iterdir())
        assert len(variables[f"{what}_ids"]) == len(names)
    assert list((top / "Face_Identification_Test_Set" / "unmated_probe").glob("distractors_*.jpg"))


@pytest.mark.slow
def test_people_can_be_learnt(tmp_path: Path) -> None:
    """A linear classifier on aligned 16 x 16 faces knows unseen photos far above the chance of 1 in 12."""
    write_dataset(tmp_path, "vggface2", identities=12, photos=12, seed=2, workers=2)
    table = pd.read_csv(tmp_path / "VGGFace2" / "bb_landmark" / "loose_landmark_train.csv")
    pixels, people = [], []
    for row in table.itertuples(index=False):
        photo = cv2.imread(str(tmp_path / "VGGFace2" / "train" / f"{row[0]}.jpg"))
        face = align(photo, np.array(row[1:], dtype=float).reshape(5, 2), 64)
        small = cv2.resize(face, (16, 16), interpolation=cv2.INTER_AREA).astype(float)
        pixels.append(((small - small.mean()) / small.std()).ravel())
        people.append(str(row[0]).split("/")[0])
    held_out = np.arange(len(people)) % 4 == 0
    data, names = np.array(pixels), np.array(people)
    classifier = LogisticRegression(C=0.01, max_iter=300).fit(data[~held_out], names[~held_out])
    score = classifier.score(data[held_out], names[held_out])
    assert score > 0.5
    assert score < 1 or len(names) < 200, "or it would be no task"


def test_a_used_folder_and_too_few_people_are_refused(rendered: Path, refused: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="exists already"):
        write_dataset(rendered, "lfw", identities=2, photos=2, seed=0)
    assert "at least 2 of each" in refused("pipeline.synthetic", "--out", rendered / "x", "--identities", 1)
