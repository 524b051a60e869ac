"""`sciml bench channels`: one more estimator is one more entry, and none passes the bound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sciml.datasets import ChannelConfig, Profile
from solvers.bench.channels import CHANNEL_ESTIMATORS, estimators_for, run_channels
from solvers.bench.channels_report import BOUND, Score, interval
from solvers.cli import main

CONFIG = ChannelConfig((Profile.C,), nt=8, nr=4)
NAMES = (BOUND, "ls", "ridge", "omp", "lasso", "lmmse-full-1000", "lmmse-toeplitz-100")
SOME = {name: CHANNEL_ESTIMATORS[name] for name in NAMES}


def zero(setting):
    """An estimator from outside: the channel is 0, with the family's own deviation."""
    variance = np.diagonal(setting.covariance).real.reshape(setting.config.nr, -1)
    radius = np.sqrt(variance * np.log(10))
    shape = setting.training.shape[1:]
    return lambda Y, P, sigma2, rng: (np.zeros((len(Y), *shape), Y.dtype), radius)


def test_every_estimator_sees_the_same_data_and_none_passes_the_bound(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = run_channels(
        CONFIG,
        snrs=[0.0, 20.0],
        channels=60,
        estimators={**SOME, "zero": zero},
        progress=lambda done, total: told.append((done, total)),
    )
    assert report.estimators == [*NAMES, "zero"]
    assert told[-1] == (16, 16)
    for snr in report.snrs:
        bound = report.score(BOUND, snr)
        assert bound is not None and bound.covered is not None
        assert 0.85 < bound.covered < 0.95
        for name in report.estimators:
            score = report.score(name, snr)
            assert score is not None
            low, high = score.interval
            assert low <= score.nmse <= high
            assert score.above(bound)[2] >= 0  # its 95 % interval is not below the bound
            assert score.seconds > 0
        nothing = report.score("zero", snr)
        assert nothing is not None and abs(nothing.nmse) < 1e-6
    best, worst = report.score(BOUND, 20.0), report.score(BOUND, 0.0)
    assert best is not None and worst is not None and best.nmse < worst.nmse - 5
    paths = report.write(tmp_path / "new")
    assert [path.name for path in paths] == ["channels.json", "channels.md", "channels.png"]
    record = json.loads(paths[0].read_text())
    assert len(record["rows"]) == 16 and len(record["rows"][0]["errors"]) == 60
    assert "Above the bound" in paths[1].read_text()
    assert paths[2].stat().st_size > 10_000


def test_equal_seeds_give_equal_errors() -> None:
    runs = [
        run_channels(CONFIG, snrs=[10.0], channels=6, estimators={"omp": SOME["omp"]}, seed=4)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].scores[0].errors, runs[1].scores[0].errors)


def test_an_estimator_finds_the_same_whichever_others_run() -> None:
    def noisy(setting):
        shape = setting.training.shape[1:]
        return lambda Y, P, sigma2, rng: (rng.standard_normal((len(Y), *shape)), None)

    alone = run_channels(CONFIG, snrs=[10.0], channels=4, estimators={"noisy": noisy})
    entries = {"other": noisy, "noisy": noisy}
    beside = run_channels(CONFIG, snrs=[10.0], channels=4, estimators=entries)
    np.testing.assert_array_equal(alone.scores[0].errors, beside.scores[1].errors)
    assert (beside.scores[0].errors != beside.scores[1].errors).all()


def test_learned_priors_are_for_arrays_of_one_size() -> None:
    whole, small = estimators_for(ChannelConfig((Profile.C,))), estimators_for(CONFIG)
    assert list(whole) == list(CHANNEL_ESTIMATORS)
    learned = {"score", "score-10-calls", "score-0db", "score-10db", "score-random"}
    assert set(whole) - set(small) == learned


def test_learned_priors_come_near_the_bound() -> None:
    names = ("genie", "score-10-calls", "score-0db")
    report = run_channels(
        ChannelConfig((Profile.C,)),
        snrs=[10.0],
        channels=2,
        pilot_draws=1,
        estimators={name: CHANNEL_ESTIMATORS[name] for name in names},
    )
    genie, clean, noisy = (report.score(name, 10.0) for name in names)
    assert genie is not None and clean is not None and noisy is not None
    assert abs(clean.nmse - genie.nmse) < 0.3 and abs(noisy.nmse - genie.nmse) < 1
    for found in (clean, noisy):  # of discs as wide as one deviation 56 % would be
        assert found.covered is not None and 0.85 < found.covered < 0.95


def test_covariances_of_noisy_channels_lose_the_noise() -> None:
    names = ("genie", "ridge", "lmmse-toeplitz-0db", "lmmse-full-10db")
    entries = {name: CHANNEL_ESTIMATORS[name] for name in names}
    report = run_channels(CONFIG, snrs=[10.0], channels=60, estimators=entries)
    genie, ridge, *noisy = (report.score(name, 10.0) for name in names)
    assert genie is not None and ridge is not None
    for found in noisy:
        assert found is not None
        assert found.nmse < genie.nmse + 0.5 < ridge.nmse


def test_what_is_complete_outlives_an_interruption(tmp_path: Path) -> None:
    def interrupted(setting):
        raise KeyboardInterrupt

    entries = {"ls": SOME["ls"], "never": interrupted}
    report = run_channels(CONFIG, snrs=[0.0, 5.0], channels=4, estimators=entries)
    assert report.interrupted and report.estimators == ["ls"]
    report.write(tmp_path)
    assert "Interrupted" in (tmp_path / "channels.md").read_text()


def test_intervals_hold_the_mean_as_often_as_they_say(rng: np.random.Generator) -> None:
    inside = 0
    for _ in range(200):
        low, high = interval(rng.gamma(4.0, 0.25, size=60))
        inside += low <= 0 <= high
    assert 175 <= inside <= 199
    errors = rng.random(30) + 0.5
    score = Score("a", 0.0, 2 * errors, 0.0, 0.0, None)
    gap = score.above(Score("b", 0.0, errors, 0.0, 0.0, None))
    np.testing.assert_allclose(gap, [10 * np.log10(2)] * 3)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--nt", "8", "--nr", "4", "--channels", "8", "--family", "random"]
    words = ["bench", "channels", *size, "--snr", "0:10:10", "--methods", "genie,ls,lasso"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "random clusters" in out and "lasso" in out
    record = json.loads((tmp_path / "channels.json").read_text())
    assert [row["snr"] for row in record["rows"]] == [0.0, 10.0] * 3
    assert main(["bench", "channels", "--list"]) == 0
    assert capsys.readouterr().out.split() == list(CHANNEL_ESTIMATORS)
    for bad in (
        ["--snr", "a"],
        ["--snr", "0:10"],
        ["--snr", "10:0:1"],
        ["--snr", "nan"],
        ["--methods", "magic"],
        ["--methods", ","],
        ["--snr", "5,5"],
    ):
        assert main(["bench", "channels", *size, *bad, "--out", str(tmp_path)]) == 2
    assert main(["bench", "channels"]) == 2
