"""Every picture below a folder is found, whatever it is called."""

import os
from pathlib import Path

from pipeline.sources.picture_files import PassedOver, is_hidden, leads_out, walk_pictures


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_pictures_are_found_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "top.jpg", "a/1.JPG", "a/note.txt", "a/b/2.png", "c\n\u2028d/3.webp")
    assert list(walk_pictures(tmp_path)) == [
        ("a", "a/1.JPG"),
        ("a/b", "a/b/2.png"),
        ("c\n\u2028d", "c\n\u2028d/3.webp"),
        ("", "top.jpg"),
    ]
    assert list(walk_pictures(tmp_path / "nowhere")) == []


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "b" / "back").symlink_to(tmp_path)
    (tmp_path / "b" / "other").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "across").symlink_to(tmp_path / "b")
    found = [path for _, path in walk_pictures(tmp_path)]
    assert {"a/1.jpg", "a/across/2.jpg", "b/2.jpg", "b/other/1.jpg"} <= set(found)
    assert len(found) < 10


def test_a_name_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "a") + b"/x\xff.jpg")).touch()
    assert list(walk_pictures(tmp_path)) == [("a", "a/x\\xff.jpg")]


def test_what_systems_put_beside_pictures_is_hidden() -> None:
    hidden = ("._1.jpg", ".DS_Store", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN")
    assert all(is_hidden(name) for name in hidden)
    assert not any(is_hidden(name) for name in ("1.jpg", "_1.jpg", "s1", "@home", "a.b.jpg", "#1", "__init__"))


def test_hidden_and_foreign_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    foreign = (
        "a/._1.jpg",
        ".hidden/x.jpg",
        "a/@eaDir/1.jpg/SYNO.jpg",
        "__MACOSX/a/._1.jpg",
        "a/.ipynb_checkpoints/1.png",
    )
    touch(tmp_path, "a/1.jpg", "a/2.HEIC", "a/.DS_Store", *foreign)
    passed_over = PassedOver()
    assert list(walk_pictures(tmp_path, passed_over)) == [("a", "a/1.jpg"), ("a", "a/2.HEIC")]
    assert passed_over.pictures == len(foreign)


def test_names_that_lead_out_are_told() -> None:
    assert all(map(leads_out, ("..", "../a.jpg", "a/../../b.jpg", "/a.jpg")))
    assert not any(map(leads_out, ("a..jpg", "..a/b.jpg", "a/b...jpg")))
