"""A video against a gallery: watched, its tracks searched, decided on and written."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.decisions.calibration import Calibration
from evaluation.decisions.decision import Decision, identify
from evaluation.decisions.face_tracks import TrackTables, tracks_of
from evaluation.decisions.video_faces import CROPS, watch
from evaluation.decisions.video_page import VideoDecisions, write_video
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.measuring import Measuring, photo_state
from pipeline.tracking.face_follower import Search
from shards.digest import file_sha256
from shards.lock import locked

LEAST_FRAMES = 3
"""Frames in which a track must be seen to be decided on: a detector's mistake seldom lasts."""


@dataclass(frozen=True)
class VideoIdentified:
    """What was decided.

    Attributes:
        page: the page that shows it.
        tracks: the tracks.
        decisions: one a track.
        frames: number of frames.
        faults: what is wrong with the video.
    """

    page: Path
    tracks: TrackTables
    decisions: tuple[Decision, ...]
    frames: int
    faults: tuple[str, ...]


def identify_video(
    video: Path,
    gallery: FaceTable,
    how: Measuring,
    out: Path,
    notes: Sequence[str],
    search: Search,
    calibration: Calibration | None = None,
    fpir: float = 0.01,
) -> VideoIdentified:
    """Follow the faces in a video, decide on each track and write tables and page; a killed run continues.

    Args:
        video: the file.
        gallery: enrolled people.
        how: the model.
        out: folder to write into.
        notes: sentences on the gallery, for the page.
        search: where and when faces are looked for.
        calibration: of the same model; None decides on nobody.
        fpir: share of strangers that may be taken for somebody, 0..1.

    Raises:
        UserError: no frame can be read; see `watch`.
    """
    work = out / ".video.work"
    with locked(out / ".lock", out, "name another --out"):
        seen = watch(video, how, search, work)
        name = str(video.absolute()), file_sha256(video), photo_state(video)
        tracks = tracks_of(seen.faces, name, how.made, LEAST_FRAMES, CROPS)
        decisions, plain = (
            tuple(identify(table, gallery, calibration, fpir)) for table in (tracks.weighted, tracks.plain)
        )
        done = VideoDecisions(tracks, seen.faces, decisions, plain, seen.faults)
        page = write_video(out, done, gallery, notes, how.embedder.preprocessing)
        shutil.rmtree(work)
    return VideoIdentified(page, tracks, decisions, len(seen.faces.frames), seen.faults)
