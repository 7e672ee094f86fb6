"""A calibration gives the ratios and rates it says, never falls with the score, and is kept whole."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import calibrate, identify
from evaluation.decisions.calibration import Trials, fit, read_calibration, write_calibration
from evaluation.decisions.calibration_report import caveat, report
from evaluation.metrics.likelihood_ratios import cllr
from shards.command import UserError


def drawn(people: int = 16, photos: int = 3, seed: int = 0, sizes: tuple[float, ...] = (8, 16, 64)) -> Trials:
    """Scores that are normal at each size, of every photo as probe at each size against every other."""
    draw = np.random.default_rng(seed)
    owner = np.repeat(np.arange(people), photos)
    probe, gallery = np.nonzero(~np.eye(len(owner), dtype=bool))
    parts = []
    for group, size in enumerate(sizes):
        mated = owner[probe] == owner[gallery]
        # Strangers spread more, and one's own photos are nearer, at a larger size.
        scores = draw.normal(0.02 * group, 0.05 + 0.02 * group, len(probe)) + mated * (0.01 + 0.25 * group)
        full = np.ones(len(probe))
        numbers = np.full(len(probe), group)
        parts.append(
            (
                scores,
                size * full,
                3 + draw.normal(0, 0.1, len(probe)),
                owner[probe],
                owner[gallery],
                numbers,
                gallery,
                probe,
            )
        )
    return Trials(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def test_ratios_are_those_of_the_normal_distributions_they_were_drawn_from() -> None:
    trials = drawn(people=30)
    calibration = fit(trials, {}, {})
    found = calibration.llr(trials.scores, trials.sizes, trials.norms)
    deviation = 0.05 + 0.02 * trials.groups
    mean, shift = 0.02 * trials.groups, 0.01 + 0.25 * trials.groups
    truth = ((trials.scores - mean) * shift - shift**2 / 2) / deviation**2
    inside = (np.abs(truth) < calibration.bound) & (trials.groups < 2)
    assert np.corrcoef(found[inside], truth[inside])[0, 1] > 0.98
    for group in range(3):
        some = trials.where(trials.groups == group)
        true = truth[trials.groups == group].clip(-calibration.bound, calibration.bound)
        llr = calibration.llr(some.scores, some.sizes, some.norms)
        best = cllr(true[some.mated], true[~some.mated])
        assert cllr(llr[some.mated], llr[~some.mated]) < best + 0.02


@pytest.mark.slow
@given(size=st.floats(1, 500), norm=st.floats(0.1, 20), low=st.floats(-1, 1), step=st.floats(0, 1))
def test_a_higher_score_never_says_less(size: float, norm: float, low: float, step: float) -> None:
    lower, higher = CALIBRATION.llr([low, low + step], [size, size], [norm, norm])
    assert lower <= higher


def test_strangers_pass_each_size_at_the_rate_that_is_wanted() -> None:
    trials = drawn(people=60)
    for rate, photos in ((0.05, 1), (0.05, 10)):
        threshold = fit(trials, {}, {}).threshold(trials.sizes, rate, photos)
        wanted = 1 - (1 - rate) ** (1 / photos)
        for group in range(3):
            strangers = ~trials.mated & (trials.groups == group)
            assert wanted / 2 < (trials.scores > threshold)[strangers].mean() < 1.5 * wanted


def test_a_lower_rate_and_a_larger_gallery_ask_for_more_even_beyond_what_was_seen() -> None:
    thresholds = [
        float(CALIBRATION.threshold(16, rate, photos)) for rate, photos in ((0.1, 1), (0.01, 1), (0.01, 10**6))
    ]
    assert thresholds == sorted(thresholds) and len(set(thresholds)) == 3
    assert np.isfinite(float(CALIBRATION.threshold(16, 1e-9, 10**9)))


def test_sizes_at_which_no_score_decides_are_too_small() -> None:
    assert CALIBRATION.too_small([4, 8, 16, 64], 0.01, 50).tolist() == [True, True, False, False]


def test_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_calibration(path, CALIBRATION)
    assert read_calibration(path) == CALIBRATION
    assert path.stat().st_mode & 0o777 == 0o600
    data = json.loads(path.read_text())
    damages = [{"format": 1}, {"mean": [1]}, {"tail": [1, 2]}, {"caution": "x"}, {"sizes": []}, {"bound": float("nan")}]
    for damage in damages:
        path.write_text(json.dumps({**data, **damage}))
        with pytest.raises(UserError, match="cannot be read as a calibration"):
            read_calibration(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="holds a list"):
        read_calibration(path)


def test_the_report_tests_on_people_that_were_not_fitted() -> None:
    found = report(drawn(people=24), 0.05)
    assert [(one.low, one.high) for one in found.classes[:-1]] == [(0, 9), (13, 18), (28, 1e9)]
    *by_size, together = found.classes
    assert together.strangers == sum(one.strangers for one in by_size)
    assert 0.015 < together.fpir < 0.1
    # One threshold for all sizes lets the small ones pass never, and the large ones too often.
    assert by_size[0].fpir_one < by_size[0].fpir + 1e-9 and by_size[-1].fpir_one > by_size[-1].fpir
    assert together.fpir_one <= together.fpir + 1e-9
    assert found.min_cllr <= found.cllr < 1
    said = [row[3] for row in found.reliability]
    assert said == sorted(said)


def test_few_people_and_scores_beyond_those_seen_are_told() -> None:
    few = fit(drawn(people=8), {}, {"people": 8})
    assert len(caveat(few, 0.05, 1)) == 1 and "8 people" in caveat(few, 0.05, 1)[0]
    assert len(caveat(few, 0.01, 10**6)) == 2


@pytest.mark.slow
def test_from_people_set_aside_to_decisions(
    people: Callable[..., Path],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    aside = people("aside", **{f"{letter}{letter}": 3 for letter in "abcdefghij"})
    words = ["--model", str(checkpoint), "--aligned"]
    file = str(tmp_path / "calibration.json")
    monkeypatch.setattr(sys, "argv", ["calibrate", *words, "--people", str(aside), "--out", file])
    calibrate.main()
    told = capsys.readouterr()
    assert "10 people: wide intervals" in told.err and "Cllr" in told.out
    assert not list(tmp_path.glob(".calibration*"))
    gallery, photos = people("gallery", Anna=1, Bert=1), people("photos", Bert=2, Dora=1)
    out = tmp_path / "out"
    words += ["--gallery", str(gallery), "--photos", str(photos), "--out", str(out), "--calibration", file]
    monkeypatch.setattr(sys, "argv", ["identify", *words, "--fpir", "0.1"])
    identify.main()
    found = json.loads((out / "decisions.json").read_text())
    assert [(face["decision"], face["person"]) for face in found["faces"][:2]] == [("person", "Bert")] * 2
    assert found["faces"][2]["decision"] != "person"
    assert found["faces"][0]["candidates"][0]["llr"] > found["faces"][0]["candidates"][1]["llr"]
    monkeypatch.setattr(sys, "argv", ["identify", *words, "--flip", "--out", str(tmp_path / "other")])
    with pytest.raises(UserError, match="was made with flip False, this is True; calibrate this model"):
        identify.main()
    monkeypatch.setattr(sys, "argv", ["calibrate", *words[:3], "--people", str(gallery), "--out", file])
    with pytest.raises(UserError, match="has 2 people, 0 of them with two photos"):
        calibrate.main()


CALIBRATION = fit(drawn(), {"model": "x"}, {"people": 16})
