"""The page in a real browser: it shows something, in light and dark, and its console stays empty."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.metrics.figures import Curve, Figure, Mistake, Outcome, Shown
from evaluation.reporting.report import write_report
from evaluation.reporting.results import Model, Report, Settings
from pipeline.alignment.align import preprocessing

LOOKS_AT_PLOTS = True

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(_NAMES)} is installed"),
]
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


def open_in_browser(page: Path, folder: Path, width: int, *flags: str) -> tuple[np.ndarray, list[str]]:
    """Return a screenshot (H, W, 3) uint8 and the lines that the page left in the console."""
    assert BROWSER is not None
    folder.mkdir()
    picture = folder / "page.png"
    # A browser as root refuses its sandbox.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    places = [f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}", f"--window-size={width},1600"]
    done = subprocess.run(
        [BROWSER, *_FLAGS, *root, *places, *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert picture.exists(), done.stderr
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return np.asarray(Image.open(picture).convert("RGB")), said


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    form = preprocessing("paper", 32)
    models = tuple(Model(name, f"{name}.pt", "ab" * 32, "spherenet4", 9, "tiny", form) for name in ("one", "two"))
    rates = np.geomspace(1e-3, 1, 40)
    middles = np.linspace(-0.9, 0.9, 40)
    folder = tmp_path_factory.mktemp("page")
    Image.new("RGB", (32, 32), "teal").save(folder / "face.jpg")
    face = (folder / "face.jpg").read_bytes()
    outcome = Outcome(
        "SCface",
        tuple(Figure(f"d{d} (4.2 m): rank-1", d / 4, 650, (d / 5, d / 3), paper=0.797, rerun=0.8) for d in (1, 2, 3)),
        (
            Curve("one", "roc", rates, np.sqrt(rates)),
            Curve("rank-1", "resolution", np.array([30.0, 50, 90]), np.array([0.2, 0.5, 0.7])),
            *(Curve(f"d{d}: {who}", "scores", middles, np.full(40, 0.025)) for d in (1, 2) for who in ("a", "b")),
        ),
        {"mugshots": 130},
        tuple((f"folder/{n:04d}.jpg", "missing") for n in range(3000)),
        ("A note with <angle brackets> & signs.",),
        incomplete=True,
        mistakes=(
            Mistake(
                "taken for someone else", (Shown("probe", "a.jpg", None, face), Shown("true match", "b.jpg", 0.1, b""))
            ),
        ),
    )
    outcomes = {"SCface": (outcome, outcome), "TinyFace": (replace(outcome, protocol="TinyFace"),) * 2}
    return write_report(folder / "report", Report(models, outcomes, {"LFW": "--lfw"}, Settings("cpu", False, (8,)), {}))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_in_light_and_dark(page: Path, tmp_path: Path, width: int) -> None:
    light, said = open_in_browser(page, tmp_path / "light", width)
    assert said == []
    dark, said = open_in_browser(page, tmp_path / "dark", width, "--blink-settings=preferredColorScheme=0")
    assert said == []
    for shot in (light, dark):
        # (H, W, 3) -> (H, W)
        colours = shot.astype(np.int64) @ (1 << 16, 1 << 8, 1)
        assert len(np.unique(colours)) > 100, "nothing is shown"
    assert np.median(light) > 240
    assert np.median(dark) < 60
    # The colours of the two models, and the face of a mistake.
    for colour in ((27, 108, 168), (209, 73, 91)):
        assert (np.abs(light.astype(int) - colour).max(axis=2) < 8).any()


def test_a_broken_page_would_be_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text('<!doctype html><title>x</title><script>throw new Error("broken")</script>')
    _, said = open_in_browser(broken, tmp_path / "broken", 390)
    assert any("broken" in line for line in said)
