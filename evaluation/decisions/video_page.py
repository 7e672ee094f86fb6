"""What identification in a video writes, for the owner alone: tables of tracks and faces, a page with a timeline."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.decisions.decision import CANDIDATES, Decision
from evaluation.decisions.face_tracks import TrackSpan, TrackTables
from evaluation.decisions.identify_page import record_of, shown_decision
from evaluation.decisions.video_parts import VideoFaces
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.pages import as_csv, decisions_environment, write_private
from shards.format import Preprocessing

_MOST_ON_PAGE = 300
_ROW = 22
_LABEL = 170
_WIDTH = 1000


@dataclass(frozen=True)
class VideoDecisions:
    """What was decided on the tracks of a video.

    Attributes:
        tracks: the tracks.
        faces: of which they are.
        decisions: on each, by the weighted embedding.
        plain: on each, by the plain mean.
        faults: what is wrong with the video.
    """

    tracks: TrackTables
    faces: VideoFaces
    decisions: tuple[Decision, ...]
    plain: tuple[Decision, ...]
    faults: tuple[str, ...]


def write_video(out: Path, done: VideoDecisions, gallery: FaceTable, notes: Sequence[str], form: Preprocessing) -> Path:
    """Write tracks.csv, tracks.json, faces.csv and video.html into a folder; return the page's path.

    Args:
        out: the folder.
        done: what was decided.
        gallery: that was searched.
        notes: sentences for whoever reads the decisions.
        form: what the model's pictures go through, to show enrolled people as it sees them.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    table, spans = done.tracks.weighted, done.tracks.spans
    norms = table.norms
    records = [
        _record(table, row, float(norms[row]), span, done.decisions[row], done.plain[row], gallery)
        for row, span in enumerate(spans)
    ]
    write_private(out / "faces.csv", as_csv(_face_rows(done.faces)))
    write_private(out / "tracks.csv", as_csv(_track_rows(records)))
    counts = dict(Counter(decision.verdict for decision in done.decisions))
    seconds = float(done.faces.seconds[-1])
    told = {
        "frames": len(done.faces.frames),
        "seconds": round(seconds, 3),
        "faults": list(done.faults),
        "short_tracks": done.tracks.short,
        "counts": counts,
        "notes": list(notes),
    }
    whole = {"made": table.made, **told, "tracks": records}
    write_private(out / "tracks.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    page = out / "video.html"
    shown = [
        _shown(record, decision, span, gallery, form)
        for record, decision, span in list(zip(records, done.decisions, spans, strict=True))[:_MOST_ON_PAGE]
    ]
    text = (
        decisions_environment()
        .get_template("video.html")
        .render(
            **told | {"faults": {}},
            clock=clock,
            wrong=done.faults,
            total=len(spans),
            people=len(set(gallery.people)),
            enrolled=len(gallery),
            timeline=timeline(shown, seconds),
            shown=shown,
        )
    )
    write_private(page, text)
    return page


def clock(seconds: float) -> str:
    """Return a time as people read it.

    >>> clock(0.5), clock(75.25), clock(3723)
    ('0:00.5', '1:15.2', '1:02:03.0')
    """
    tenths = int(seconds * 10)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    beginning = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{beginning}:{rest // 10:02d}.{rest % 10}"


def timeline(shown: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what is drawn of tracks over time: a row for each person decided on, and one for each other track.

    Args:
        shown: records of tracks.
        seconds: length of the video.
    """
    rows: dict[str, int] = {}
    bars = []
    for one in shown:
        row = rows.setdefault(one["person"] or f"{one['decision']}, track {one['track']}", len(rows))
        begin, end = (_LABEL + (_WIDTH - _LABEL) * one[name] / max(seconds, 1e-9) for name in ("start", "end"))
        bars.append({"one": one, "x": round(begin, 1), "y": _ROW * row + 4, "width": round(max(3.0, end - begin), 1)})
    marks = [
        {"x": round(_LABEL + (_WIDTH - _LABEL) * part / 5, 1), "text": clock(seconds * part / 5)} for part in range(6)
    ]
    labels = [{"text": name, "y": _ROW * row + 16} for name, row in rows.items()]
    return {"width": _WIDTH, "height": _ROW * len(rows) + 24, "bars": bars, "labels": labels, "marks": marks}


def _record(
    table: FaceTable, row: int, norm: float, span: TrackSpan, decision: Decision, plain: Decision, gallery: FaceTable
) -> dict[str, Any]:
    found = record_of(table, row, norm, decision, gallery)
    del found["face"], found["photo"]
    return {
        "video": table.photos[row],
        "track": span.number,
        "start": round(span.began, 3),
        "end": round(span.ended, 3),
        "frames": span.frames,
        "embedded": span.embedded,
        "smallest": round(span.smallest, 1),
        "largest": round(span.largest, 1),
        "best_times": [round(crop.seconds, 3) for crop in span.crops],
        **found,
        "plain_decision": plain.verdict,
        "plain_person": plain.person,
        "plain_candidates": [{"person": one.person, "score": round(one.score, 6)} for one in plain.candidates],
    }


def _track_rows(records: Sequence[dict[str, Any]]) -> list[list[object]]:
    plain = (
        *("video", "track", "start", "end", "frames", "embedded", "smallest", "largest", "side", "sharpness", "norm"),
        *("decision", "person", "plain_decision", "plain_person"),
    )
    places = range(1, CANDIDATES + 1)
    named = [f"{name}_{place}" for place in places for name in ("candidate", "score", "llr")]
    first = ["plain_candidate_1", "plain_score_1"]
    rows: list[list[object]] = [[*plain, *first, *named]]
    for record in records:
        found = [value for one in record["candidates"] for value in (one["person"], one["score"], one["llr"])]
        best = [value for one in record["plain_candidates"][:1] for value in (one["person"], one["score"])]
        rows.append([*(record[name] for name in plain), *(best or ["", ""]), *found, *[""] * (len(named) - len(found))])
    return rows


def _face_rows(faces: VideoFaces) -> list[list[object]]:
    rows: list[list[object]] = [["frame", "seconds", "track", "left", "top", "width", "height", "score"]]
    columns = (faces.numbers, faces.times(faces.numbers), faces.tracks, faces.boxes, faces.scores)
    for number, seconds, track, box, score in zip(*(column.tolist() for column in columns), strict=True):
        rows.append([number, f"{seconds:.3f}", track, *(f"{value:.1f}" for value in box), f"{score:.4f}"])
    return rows


def _shown(
    record: dict[str, Any], decision: Decision, span: TrackSpan, gallery: FaceTable, form: Preprocessing
) -> dict[str, Any]:
    return record | shown_decision(decision, gallery, form) | {"crops": span.crops}
