"""Frames of video files with their true times, upright; and files that are none."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.tracking.video import Video
from shards.command import UserError
from tests.pipeline.tracking.mp4 import turned, with_lengths, write_mp4


def test_frames_come_with_their_numbers_times_and_pixels(tmp_path: Path) -> None:
    write_mp4(tmp_path / "v.mp4")
    video = Video(tmp_path / "v.mp4")
    frames = list(video)
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.seconds for frame in frames] == pytest.approx([number / 10 for number in range(20)])
    assert frames[3].pixels.shape == (96, 160, 3)
    assert abs(float(frames[7].pixels[60, 80].mean()) - 70) < 4
    assert (video.named, video.rate, video.fault()) == (20, 10, "")


def test_frames_of_unequal_length_have_their_true_times(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_mp4(path)
    path.write_bytes(with_lengths(path.read_bytes(), [(5, 1), (5, 1.8), (10, 0.6)]))
    lengths = [0.1] * 5 + [0.18] * 5 + [0.06] * 9
    video = Video(path)
    assert [frame.seconds for frame in video] == pytest.approx(np.cumsum([0, *lengths]).tolist(), abs=2e-3)
    assert video.fault() == ""


def test_a_turned_video_is_shown_upright(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_mp4(path)
    path.write_bytes(turned(path.read_bytes()))
    pixels = next(iter(Video(path))).pixels
    assert pixels.shape == (160, 96, 3)
    # The corner that was on the left is on the right.
    assert pixels[10, 85].mean() > 200 and pixels[10, 10].mean() < 50


def test_frames_can_be_passed_over(tmp_path: Path) -> None:
    write_mp4(tmp_path / "v.mp4")
    whole, rest = list(Video(tmp_path / "v.mp4")), list(Video(tmp_path / "v.mp4", begin=13))
    assert [(frame.number, frame.seconds) for frame in rest] == [(f.number, f.seconds) for f in whole[13:]]
    assert all((one.pixels == other.pixels).all() for one, other in zip(rest, whole[13:], strict=True))


def test_a_video_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 96))
    for number in range(30):
        writer.write(np.full((96, 160, 3), 5 * number, dtype=np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video(path)
    read = len(list(video))
    assert 5 < read < 25
    assert video.fault() == f"cut off: {read} of 30 frames could be read"


def test_what_is_no_video_ends_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_mp4(tmp_path / "whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    picture = cv2.imencode(".jpg", np.zeros((20, 20, 3), dtype=np.uint8))[1].tobytes()
    for name, content, told in [
        ("empty.mp4", b"", "is empty"),
        ("cut.mp4", data[: len(data) // 2], "is cut off"),
        ("noise.mp4", np.random.default_rng(0).bytes(5000), "no video"),
        ("text.mp4", b"walks in the park\n" * 9, "no video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n", "no video"),
        ("photo.JPG", picture, "is a photo"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=told):
            list(Video(tmp_path / name))
    with pytest.raises(UserError, match="no file"):
        Video(tmp_path)
    assert capfd.readouterr() == ("", "")
