"""Embeddings in files: what evaluation.embed writes gives the figures of the model itself, and other files are read."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.metrics.figures import Outcome
from evaluation.models.embedder import Embedder
from evaluation.models.load import load_model
from evaluation.models.stored_embeddings import StoredEmbeddings
from evaluation.protocols.selection import lfw, scface, survface, survface_openset
from shards.command import UserError


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Embedder:
    return Embedder(load_model(str(checkpoint)), device="cpu")


@pytest.fixture
def embed(command: Callable, checkpoint: Path, tmp_path: Path) -> Callable[..., StoredEmbeddings]:
    def run(*arguments: object) -> StoredEmbeddings:
        done = command("evaluation.embed", "--checkpoint", checkpoint, "--out", tmp_path / "x.npz", *arguments)
        assert done.returncode == 0, done.stderr
        (tmp_path / "stderr.txt").write_text(done.stderr)
        return StoredEmbeddings(tmp_path / "x.npz")

    return run


def figures(outcome: Outcome) -> dict[str, tuple[float, int]]:
    return {figure.name: (figure.value, figure.n) for figure in outcome.figures if figure.n}


def test_a_folder_of_whole_pictures(
    rendered: Path,
    model: Embedder,
    embed: Callable[..., StoredEmbeddings],
    tmp_path: Path,
    command: Callable,
    refused: Callable[..., str],
) -> None:
    stored_path = tmp_path / "x.npz"
    inner = rendered / "QMUL-SurvFace" / "QMUL-SurvFace"
    stored = embed("--images", inner / "Face_Verification_Test_Set" / "verification_images")
    root = rendered / "QMUL-SurvFace"
    assert figures(survface.measure(survface.read(root, []), stored)) == figures(
        survface.measure(survface.read(root, []), model)
    )
    assert stored.preprocessing == model.preprocessing
    assert len(stored.origin.sha256) == 64
    # A file for one of the set's two tasks: the other one is named, and has no figures.
    openset = survface_openset.measure(survface_openset.read(root, []), stored)
    assert openset.incomplete
    assert figures(openset) == {}
    assert sum("Nothing of" in note for note in openset.notes) == 3
    words = ["evaluation", "--embeddings", stored_path, "--survface", root, "--out", stored_path.parent / "report"]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "open-set identification, whole pictures (incomplete)" in done.stdout
    line = refused(*words[:3], "--tinyface", rendered / "TinyFace", *words[-2:])
    assert "none of 120 pictures can be used, such as Gallery_Distractor/" in line
    assert f"(no embedding in the file); the names in {stored_path} look like " in line


def test_a_landmark_list_in_several_sizes(
    rendered: Path, model: Embedder, embed: Callable[..., StoredEmbeddings]
) -> None:
    lists = rendered / "lists"
    stored = embed("--images", lists / "LFW.csv", "--root", rendered / "LFW" / "lfw", "--reduce", 8, 12)
    for sizes in ((8, 12), (12,)):
        found = lfw.measure(lfw.read(rendered / "LFW", [lists]), stored, sizes=sizes)
        assert figures(found) == figures(lfw.measure(lfw.read(rendered / "LFW", [lists]), model, sizes=sizes))
        assert not found.incomplete
    lacking = lfw.measure(lfw.read(rendered / "LFW", [lists]), stored, sizes=(9,))
    assert lacking.incomplete
    assert {figure.n for figure in lacking.figures if "9 px" in figure.name} == {0}
    assert "no embedding in the file" in {reason for _, reason in lacking.missing}


def test_unreadable_pictures_are_named_and_not_in_the_file(
    tmp_path: Path, embed: Callable[..., StoredEmbeddings]
) -> None:
    folder = tmp_path / "faces"
    (folder / "a").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(folder / "a" / "1.png")
    (folder / "2.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either, and none that a name promises")
    embed("--images", folder)
    how_far, said = (tmp_path / "stderr.txt").read_text().splitlines()
    assert re.fullmatch(r"embedding: 2/2 photos, [\d,]+/s, 1 unusable, 0 s left", how_far)
    assert said == "not embedded: 2.jpg: unreadable"
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["names"].tolist() == ["a/1.png"]
        assert file["vectors"].shape == (1, 16)
        assert file["vectors"].dtype == np.float32


def test_native_sizes_give_scfaces_probes(
    rendered: Path, model: Embedder, embed: Callable[..., StoredEmbeddings], tmp_path: Path
) -> None:
    lists, root = rendered / "lists", rendered / "SCface" / "SCface_database"
    parts = [embed("--images", lists / "scface_mugshot.csv", "--root", root)]
    rows = "\n".join((lists / f"scface_distance{d}.csv").read_text().strip() for d in (1, 2, 3))
    (tmp_path / "probes.csv").write_text(rows)
    arrays = dict(np.load(tmp_path / "x.npz"))
    parts.append(embed("--images", tmp_path / "probes.csv", "--root", root, "--native"))
    both = {name: np.concatenate([arrays[name], np.load(tmp_path / "x.npz")[name]]) for name in ("names", "vectors")}
    np.savez(tmp_path / "both.npz", **both)
    whole = StoredEmbeddings(tmp_path / "both.npz")
    expected = scface.measure(scface.read(rendered / "SCface", [lists]), model)
    assert figures(scface.measure(scface.read(rendered / "SCface", [lists]), whole)) == figures(expected)
    assert "made elsewhere" in whole.origin.preprocessing.template


def test_a_file_of_another_program(rendered: Path, tmp_path: Path) -> None:
    """Random numbers, one picture missing, one not finite: counted, named, and the rest evaluated."""
    folder = rendered / "QMUL-SurvFace" / "QMUL-SurvFace" / "Face_Verification_Test_Set" / "verification_images"
    names = sorted(path.name for path in folder.iterdir())
    vectors = np.random.default_rng(0).normal(size=(len(names), 7))
    vectors[1, 3] = np.inf
    np.savez(tmp_path / "theirs.npz", names=np.array(names[:-1]), vectors=vectors[:-1])
    stored = StoredEmbeddings(tmp_path / "theirs.npz")
    assert (stored.preprocessing.template, stored.preprocessing.size) == ("paper", 128)
    outcome = survface.measure(survface.read(rendered / "QMUL-SurvFace", []), stored)
    assert outcome.incomplete
    reasons = {name.rsplit("/", 1)[-1]: reason for name, reason in outcome.missing}
    assert reasons == {names[-1]: "no embedding in the file", names[1]: "its embedding is not finite"}


BAD = {
    "no array vectors": {"names": np.array(["a"])},
    "expected (N,) text": {"names": np.arange(2), "vectors": np.zeros((2, 3))},
    "expected (2, D) float": {"names": np.array(["a", "b"]), "vectors": np.zeros((3, 3))},
    "more than once": {"names": np.array(["a", "a"]), "vectors": np.zeros((2, 3))},
    "np.array(names, dtype=str)": {"names": np.array(["a", None], dtype=object), "vectors": np.zeros((2, 3))},
    "not empty": {"names": np.array([], dtype=str), "vectors": np.zeros((0, 3))},
    "its array origin cannot be read": {"names": np.array(["a"]), "vectors": np.zeros((1, 3)), "origin": np.array("{")},
}


@pytest.mark.parametrize("says", BAD)
def test_files_of_another_form_are_refused(tmp_path: Path, says: str) -> None:
    np.savez(tmp_path / "x.npz", **BAD[says])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=re.escape(says)):
        StoredEmbeddings(tmp_path / "x.npz")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(UserError, match="no file"):
        StoredEmbeddings(path)
    np.savez(path, names=np.array(["a"]), vectors=np.ones((1, 300)))
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(sound[: rng.integers(1, len(sound))] if rng.random() < 0.3 else sound)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            StoredEmbeddings(path)
        except UserError:
            refused += 1
    assert refused > 75
    for content in (b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            StoredEmbeddings(path)


def test_mistakes_end_in_one_line(checkpoint: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    start = ["evaluation.embed", "--checkpoint", checkpoint, "--out", tmp_path / "x.npz", "--images"]
    assert "no nowhere" in refused(*start, "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no picture" in refused(*start, tmp_path / "empty")
    assert "goes with" in refused(*start, tmp_path / "empty", "--native").replace("go with", "goes with")
