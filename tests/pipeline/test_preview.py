"""The contact sheet shows what was asked for."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from pipeline.loading.batch import Batch
from pipeline.loading.loader import Loader
from pipeline.preview import draw_sheet
from pipeline.sampling.views import Views


def test_rows_are_identities_and_columns_are_views(orl_shards: Path) -> None:
    loader = Loader(orl_shards, Views(sizes=(64, 8, 12)), seed=0, global_batch=4)
    batch: Batch = next(loader)
    loader.close()
    names = [f"s{number}" for number in range(25)]
    figure = draw_sheet(batch, names.__getitem__)
    axes = figure.axes
    assert len(axes) == 12
    assert [axis.get_title() for axis in axes[:3]] == ["64 x 64", "8 x 8", "12 x 12"]
    assert [axis.get_ylabel() for axis in axes[::3]] == [names[label] for label in batch.labels.tolist()]


def test_a_drawn_size_stands_above_each_picture(orl_shards: Path) -> None:
    loader = Loader(orl_shards, Views(sizes=(64, "8..40")), seed=0, global_batch=5)
    batch: Batch = next(loader)
    loader.close()
    titles = [axis.get_title() for axis in draw_sheet(batch, str).axes]
    assert titles[::2] == ["64 x 64", "", "", "", ""]
    assert titles[1::2] == [f"{side} x {side}" for side in batch.sides()[:, 1].tolist()]


def test_the_command_writes_a_picture(orl_shards: Path, tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "preview.png"
    done = command("pipeline.preview", "--shards", orl_shards, "--out", out, "--identities", 3, "--sampling", "photo")
    assert done.returncode == 0, done.stderr
    assert Image.open(out).size[0] > 300


def test_degraded_views_are_shown(orl_shards: Path, tmp_path: Path, command: Callable) -> None:
    sheets = [tmp_path / "plain.png", tmp_path / "degraded.png"]
    for sheet, words in zip(sheets, ([], ["--degrade", 1]), strict=True):
        done = command("pipeline.preview", "--shards", orl_shards, "--out", sheet, "--identities", 2, *words)
        assert done.returncode == 0, done.stderr
    assert sheets[0].read_bytes() != sheets[1].read_bytes()


def test_mistakes_end_in_one_line(orl_shards: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    preview = ["pipeline.preview", "--shards", orl_shards, "--out"]
    assert "no folder" in refused(*preview, tmp_path / "nowhere" / "a.png")
    assert "a view of 128 pixels" in refused(*preview, tmp_path / "a.png", "--sizes", 128)
    assert "no manifest" in refused("pipeline.preview", "--shards", tmp_path, "--out", tmp_path / "a.png")
