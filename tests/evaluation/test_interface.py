"""What docs/python.md shows: every example is run, and each function against the commands' own way."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluation
from evaluation.models.embedder import Embedder
from evaluation.models.load import load_model
from evaluation.models.pictures import read_picture
from evaluation.models.preparation import aligned
from pipeline.sources.datasets import orl_photos
from shards.command import UserError
from tests.entry_points import ROOT
from tests.evaluation.people import write_photo

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_every_example_of_the_page(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.pth").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len(EXAMPLES) == 5
    assert printed[0] == "paper 32"
    assert printed[1] == "30 2"
    assert printed[2].startswith("10 (3, 5) ['s2")
    assert printed[3].startswith("8 px: rank-1 0.")
    assert (tmp_path / "report" / "report.html").is_file()


def test_paths_and_arrays_are_embedded_as_the_commands_do(checkpoint: Path) -> None:
    recogniser = evaluation.load_recogniser(checkpoint, device="cpu")
    photos = orl_photos(("s30",))[:4]
    paths, points = [path for _, path, _ in photos], np.stack([landmarks for _, _, landmarks in photos])
    loaded = load_model(str(checkpoint))
    expected = Embedder(loaded, device="cpu").embed(
        [aligned(str(path), path, one, loaded.preprocessing) for path, one in zip(paths, points, strict=True)]
    )
    np.testing.assert_array_equal(recogniser.embed(paths, points), expected.vectors)
    arrays = [read_picture(path) for path in paths]
    np.testing.assert_array_equal(recogniser.embed(np.stack(arrays), points), expected.vectors)
    np.testing.assert_allclose(recogniser.embed(arrays[0], points[0]), expected.vectors[:1], rtol=1e-4, atol=1e-5)


def test_mistakes_are_told(checkpoint: Path, tmp_path: Path) -> None:
    recogniser = evaluation.load_recogniser(checkpoint, device="cpu")
    write_photo(tmp_path / "good.png", "anna", 1)
    with pytest.warns(UserWarning, match=r"bad.png cannot be used: missing"):
        vectors = recogniser.embed([tmp_path / "good.png", tmp_path / "bad.png"])
    assert np.isfinite(vectors).all(axis=1).tolist() == [True, False]
    with pytest.raises(ValueError, match="give \\(N, 5, 2\\)"):
        recogniser.embed([tmp_path / "good.png"], np.zeros((2, 5, 2)))
    with pytest.raises(ValueError, match=r"give \(H, W, 3\) uint8 RGB"):
        recogniser.embed([np.zeros((4, 4), dtype=np.uint8)])
    with pytest.raises(UserError, match="no data set given"):
        evaluation.evaluate(recogniser)
    with pytest.raises(UserError, match=r"is no results\.json"):
        evaluation.read_results(tmp_path / "good.png")


def test_search_is_the_order_of_all_cosines() -> None:
    random = np.random.default_rng(0)
    probes, gallery = random.normal(size=(7, 5)), random.normal(size=(11, 5))
    rows, scores = evaluation.search(probes, gallery, most=20)
    for probe, found, values in zip(probes, rows, scores, strict=True):
        cosines = gallery @ probe / np.linalg.norm(gallery, axis=1) / np.linalg.norm(probe)
        assert found.tolist() == np.argsort(-cosines).tolist()
        np.testing.assert_allclose(values, np.sort(cosines)[::-1])


def test_the_package_exports_what_is_documented_and_imports_nothing_for_it() -> None:
    shown = set(re.findall(r"from evaluation import ([\w, ]+)", "\n".join(EXAMPLES)))
    assert {name for names in shown for name in names.split(", ")} == set(evaluation.__all__) - {"Recogniser"}
    assert set(evaluation.__all__) <= set(dir(evaluation))
    with pytest.raises(AttributeError, match="it exports Recogniser, evaluate"):
        evaluation.nothing  # noqa: B018 - asked for on purpose
    heavy = "import evaluation, sys; print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
