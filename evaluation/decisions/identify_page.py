"""What identification writes: a table as CSV and JSON, and a page with pictures; readable by the owner alone."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.decisions.decision import CANDIDATES, Decision
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.measuring import counted, faces_as_seen, jpeg
from evaluation.enrolled.pages import as_csv, decisions_environment, write_private
from shards.format import Preprocessing

_MOST_ON_PAGE = 500
COLOURS = {"person": "good", "nobody we know": "none", "too small to tell": "unsure", "undecided": "unsure"}
"""Name of a colour on pages, by verdict."""


def write_decisions(
    out: Path,
    probes: FaceTable,
    gallery: FaceTable,
    decisions: Sequence[Decision],
    faults: Mapping[str, str],
    notes: Sequence[str],
    form: Preprocessing,
) -> Path:
    """Write decisions.csv, decisions.json and identify.html into a folder; return the page's path.

    Args:
        out: the folder.
        probes: the faces.
        gallery: that was searched.
        decisions: of each face.
        faults: reason by photo of those without a face.
        notes: sentences for whoever reads the decisions.
        form: what the model's pictures go through, to show faces as it sees them.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    norms = probes.norms
    records = [record_of(probes, row, float(norms[row]), decision, gallery) for row, decision in enumerate(decisions)]
    write_private(out / "decisions.csv", as_csv(_csv_rows(records)))
    counts = dict(Counter(decision.verdict for decision in decisions))
    whole = {"made": probes.made, "counts": counts, "notes": list(notes), "faces": records, "not_used": dict(faults)}
    write_private(out / "decisions.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    page = out / "identify.html"
    shown = [
        _shown(record, decision, seen, gallery, form)
        for record, decision, seen in zip(
            records, decisions, faces_as_seen(probes, form, range(min(len(probes), _MOST_ON_PAGE))), strict=False
        )
    ]
    text = (
        decisions_environment()
        .get_template("identify.html")
        .render(
            total=len(decisions),
            photos=len(set(probes.photos)) + len(faults),
            people=len(set(gallery.people)),
            enrolled=len(gallery),
            counts=counts | {f"without a face ({reason})": number for reason, number in counted(faults).items()},
            notes=notes,
            shown=shown,
            faults=faults,
        )
    )
    write_private(page, text)
    return page


def record_of(probes: FaceTable, row: int, norm: float, decision: Decision, gallery: FaceTable) -> dict[str, Any]:
    """Return what tables say of a face and the decision on it."""
    side, sharpness, score, number = probes.measures[row].tolist()
    return {
        "photo": probes.photos[row],
        "face": int(number),
        "box": [round(value, 1) for value in probes.boxes[row].tolist()],
        "side": round(side, 1),
        "sharpness": round(sharpness, 1),
        "detector_score": round(score, 4),
        "norm": round(norm, 4),
        "decision": decision.verdict,
        "person": decision.person,
        "reason": decision.reason,
        "candidates": [
            {
                "person": found.person,
                "photo": gallery.photos[found.row],
                "score": round(found.score, 6),
                "llr": found.llr,
            }
            for found in decision.candidates
        ],
    }


def _csv_rows(records: Sequence[dict[str, Any]]) -> list[list[object]]:
    plain = ("photo", "face", "side", "sharpness", "norm", "decision", "person")
    places = range(1, CANDIDATES + 1)
    named = [f"{name}_{place}" for place in places for name in ("candidate", "score", "llr")]
    rows: list[list[object]] = [[*plain, "left", "top", "width", "height", *named]]
    for record in records:
        found = [value for one in record["candidates"] for value in (one["person"], one["score"], one["llr"])]
        blank = [""] * (3 * CANDIDATES - len(found))
        rows.append([*(record[name] for name in plain), *record["box"], *found, *blank])
    return rows


def _shown(
    record: dict[str, Any], decision: Decision, seen: Any, gallery: FaceTable, form: Preprocessing
) -> dict[str, Any]:
    return record | shown_decision(decision, gallery, form) | {"jpeg": jpeg(seen)}


def shown_decision(decision: Decision, gallery: FaceTable, form: Preprocessing) -> dict[str, Any]:
    """Return what a page shows of a decision: its title, its colour, and the candidates with their pictures."""
    pictures = faces_as_seen(gallery, form, [found.row for found in decision.candidates])
    return {
        "title": decision.person or decision.verdict,
        "colour": COLOURS[decision.verdict],
        "candidates": [
            {"person": found.person, "said": found.said, "jpeg": jpeg(face)}
            for found, face in zip(decision.candidates, pictures, strict=True)
        ],
    }
