"""Several sources in one run, named in a file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.sharding.source_options import DATASETS, read_source_file
from shards.command import UserError
from shards.index import ShardIndex


@pytest.fixture
def source_file(rendered: Path, tmp_path: Path) -> Path:
    path = tmp_path / "sources.toml"
    path.write_text(f"""
[[source]]
dataset = "vggface2"
root = "{rendered}/VGGFace2"
landmarks = ["{rendered}/VGGFace2/bb_landmark/loose_landmark_train.csv"]

[[source]]
dataset = "vggface2"
name = "again"
root = "{rendered}/VGGFace2"
landmarks = ["{rendered}/VGGFace2/bb_landmark/loose_landmark_train.csv"]

[[source]]
dataset = "survface"
root = "{rendered}/QMUL-SurvFace"
""")
    return path


def test_the_command_line_names_the_data_sets_of_a_file(command: Callable) -> None:
    assert f"--dataset {{{','.join(DATASETS)}}}" in command("pipeline.shard", "--help").stdout


def test_identities_of_several_sources_stay_apart(source_file: Path, tmp_path: Path, command: Callable) -> None:
    done = command("pipeline.shard", "--sources", source_file, "--size", 32, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    index = ShardIndex.open(tmp_path / "out")
    assert index.identities == 36
    assert {name.split("/")[0] for name in index.names} == {"vggface2", "again", "survface"}
    assert [source["dataset"] for source in index.manifest.sources] == ["vggface2", "again", "survface"]
    assert index.manifest.preprocessing.template == "paper", "survface has no landmarks and follows the others"
    label, twin = index.names.index("vggface2/n000003"), index.names.index("again/n000003")
    np.testing.assert_array_equal(index.read(int(index.first[label])), index.read(int(index.first[twin])))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing; expected tables"),
        ("[[source]]\n", "dataset None; choose one of"),
        ("[[source]]\ndataset = 'orl'\ncolour = 1\n", "has 'colour' under"),
        ("[[source]]\ndataset = 'orl'\npeople = 3\n", "people = 3; expected a str"),
        ("[[source]]\ndataset = 'orl'\n[[source]]\ndataset = 'orl'\n", "two sources 'orl'"),
        ("[[source]]\ndataset = 'orl'\nname = 'a/b'\n", "a name has no /"),
        ("source = 3\n", "holds source; expected tables"),
        ("[[", "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        read_source_file(path)


def test_one_way_of_naming_sources(source_file: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    shard = ["pipeline.shard", "--out", tmp_path / "out"]
    assert "either --dataset" in refused(*shard)
    assert "either --dataset" in refused(*shard, "--dataset", "orl", "--sources", source_file)
    assert "--root beside --sources" in refused(*shard, "--sources", source_file, "--root", tmp_path)
    assert "aligned says nothing of dataset vggface2" in refused(*shard, "--dataset", "vggface2", "--aligned")
    assert "people says nothing of dataset recordio" in refused(*shard, "--dataset", "recordio", "--people", "all")
    assert "which are not warped" in refused(*shard, "--dataset", "orl", "--template", "whole", "--warp", "antialiased")
    assert "template paper cannot be" in refused(
        *shard, "--dataset", "survface", "--root", source_file.parent, "--template", "paper"
    )
