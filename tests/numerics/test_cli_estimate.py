"""`sciml estimate` and `sciml data channels`: files in and out, and what they must refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from sciml.datasets import CHANNEL_FAMILIES, simulate_pilots
from sciml.networks import PretrainedDenoiser, weights_path
from solvers import FISTA
from solvers.channels import lasso
from solvers.cli import main

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "mimo_cdl_c.npz"
SIZE = ["--nt", "8", "--nr", "4", "--pilots", "5"]


@pytest.fixture
def pilots(tmp_path: Path) -> Path:
    path = tmp_path / "pilots.npz"
    assert main(["data", "channels", "--channels", "6", *SIZE, "--out", str(path)]) == 0
    return path


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["estimate", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    capsys.readouterr()
    assert main(["estimate", *map(str, words)]) == 2
    return capsys.readouterr().err


def test_the_sample_is_what_the_command_makes() -> None:
    """Up to the last bits, which the processor decides."""
    config = CHANNEL_FAMILIES["cdl-c"]
    made = simulate_pilots(config, 8, pilots=38, snr=10.0, seed=42)
    with np.load(SAMPLE) as stored:
        assert set(stored) == set(made)
        for name, values in made.items():
            assert stored[name].dtype == values.dtype
            np.testing.assert_allclose(stored[name], values, atol=1e-4)


def test_the_sample_by_every_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = {}
    for method in ("ls", "lasso", "omp", "lmmse"):
        out = tmp_path / f"{method}.npz"
        how = ["--family", "cdl-c"] if method == "lmmse" else []
        facts = run(capsys, SAMPLE, "--snr", 10, "--method", method, "--out", out, *how)
        assert facts["method"] == method and facts["written"] == [str(out)]
        with np.load(SAMPLE) as given, np.load(out) as found:
            assert found["H"].shape == (8, 16, 64)
            assert found["H"].dtype == np.complex64
            assert ("std" in found) == ("radius" in found) == (method == "lmmse")
            off = np.sum(abs(found["H"] - given["H"]) ** 2, axis=(1, 2))
            nmse = np.mean(off / np.sum(abs(given["H"]) ** 2, axis=(1, 2)))
            np.testing.assert_allclose(facts["nmse_db"], 10 * np.log10(nmse), atol=1e-3)
            rest = given["Y"] - found["H"] @ given["P"]
            misfit = np.sqrt(np.mean(abs(rest) ** 2, axis=(1, 2)) / given["sigma2"])
            np.testing.assert_allclose(facts["misfit"], np.median(misfit), atol=1e-3)
        error[method] = facts["nmse_db"]
    assert error["lmmse"] < -16.5 < error["lasso"] < -11 < error["ls"]
    assert error["omp"] < -11
    assert 0.8 < facts["within_90"] < 0.97


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two channels of the sample."""
    path = tmp_path / "two.npz"
    with np.load(SAMPLE) as stored:
        np.savez(path, Y=stored["Y"][:2], H=stored["H"][:2], P=stored["P"])
    return path


def test_a_learned_prior(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    common = (two, "--snr", 10, "--out", out)
    best = run(capsys, *common, "--method", "lmmse", "--family", "cdl-c")["nmse_db"]
    facts = run(capsys, *common, "--method", "score")
    assert facts["nmse_db"] < best + 0.3 and facts["status"] == "SAMPLED"
    draws = facts["draws"]
    assert draws["n"] == 4 and draws["sampled"] == 2 and draws["calls"] == 30
    assert draws["band"][0] < draws["misfit"][0] <= draws["misfit"][1] < draws["band"][1]
    with np.load(out) as found:
        assert found["H"].shape == found["std"].shape == found["radius"].shape == (2, 16, 64)
        with np.load(two) as given:
            inside = np.mean(abs(found["H"] - given["H"]) <= found["radius"])
    assert facts["within_90"] == pytest.approx(inside, abs=1e-3) and 0.8 < inside < 0.97
    assert "R-hat does not apply" in draws["explained"] and 0 <= draws["mean_error"] < 0.5
    noisy = weights_path(PretrainedDenoiser.SCORE_MIMO_NOISY_0DB)
    other = run(capsys, *common, "--method", "score", "--weights", noisy)
    assert other["nmse_db"] != facts["nmse_db"] and other["nmse_db"] < best + 1
    wider = run(capsys, *common, "--method", "score", "--family", "random")
    assert best + 1 < wider["nmse_db"] < -10


def test_draws_that_contradict_the_pilots(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The noise is 40 dB more than is said: channels are written, and the exit code tells."""
    out = tmp_path / "out.npz"
    words = ["estimate", str(two), "--snr", "50", "--method", "score", "--out", str(out)]
    assert main(words) == 1
    told = capsys.readouterr().out
    assert "2 MISFIT" in told and "calls of the denoiser" in told and out.exists()


def test_what_a_learned_prior_refuses(
    pilots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (pilots, "--snr", 10, "--out", tmp_path / "out.npz")
    told = refused(capsys, *common, "--method", "score")
    assert "64 transmitting and 16 receiving antennas" in told and "got 8 and 4" in told
    assert "no --weights" in refused(capsys, *common, "--weights", SAMPLE)
    score = (*common, "--method", "score", "--family")
    assert "got mixed" in refused(capsys, *score, "mixed")
    assert "got both" in refused(capsys, *score, "random", "--weights", SAMPLE)
    missing = tmp_path / "none.safetensors"
    assert "none" in refused(capsys, *common, "--method", "score", "--weights", missing)


def test_files_of_other_programs(
    pilots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(pilots) as stored:
        arrays = dict(stored)
    expected = lasso(arrays["Y"], arrays["P"], float(arrays["sigma2"])).H
    savemat(tmp_path / "pilots.mat", {"Y": arrays["Y"], "P": arrays["P"]})
    with h5py.File(tmp_path / "pilots.h5", "w") as file:
        for name in ("Y", "P"):
            file[name] = arrays[name]
    for suffix in ("mat", "h5"):
        out = tmp_path / "out.h5"
        facts = run(capsys, tmp_path / f"pilots.{suffix}", "--snr", 10, "--out", out)
        assert facts["nmse_db"] is None
        with h5py.File(out) as file:
            np.testing.assert_allclose(file["H"][()], expected, atol=1e-5)
    out = tmp_path / "same.npz"
    run(capsys, pilots, "--noise-variance", float(arrays["sigma2"]), "--out", out)
    with np.load(out) as found:
        np.testing.assert_allclose(found["H"], expected, atol=1e-5)


def test_training_channels(
    pilots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = tmp_path / "training.h5"
    words = ["data", "channels", "--channels", "400", *SIZE, "--seed", "1", "--out", str(training)]
    assert main(words) == 0
    common = (pilots, "--snr", 10, "--method", "lmmse", "--out", tmp_path / "out.npz")
    exact = run(capsys, *common, "--family", "cdl-c")["nmse_db"]
    for structure in ("full", "kronecker", "toeplitz"):
        facts = run(capsys, *common, "--training", training, "--structure", structure)
        assert abs(facts["nmse_db"] - exact) < 1.5
    assert main(["estimate", *map(str, common), "--training", str(training)]) == 0
    assert "coverage" in capsys.readouterr().out
    told = refused(capsys, *common, "--training", SAMPLE)
    assert "expected H (n, 4, 8) for --training" in told


def test_what_is_refused(pilots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    good = (pilots, "--snr", 10, "--out", out)
    assert "--training or --family" in refused(capsys, *good, "--method", "lmmse")
    assert "no --family" in refused(capsys, *good, "--family", "cdl-c")
    assert "without --training" in refused(capsys, *good, "--structure", "full")
    assert "--snr or --noise-variance" in refused(capsys, pilots, "--out", out)
    assert "got both" in refused(capsys, *good, "--noise-variance", 1)
    assert "--noise-variance > 0" in refused(capsys, pilots, "--noise-variance", 0, "--out", out)
    assert "--snr" in refused(capsys, pilots, "--snr", "nan", "--out", out)
    assert ".npz or .h5" in refused(capsys, pilots, "--snr", 10, "--out", tmp_path / "out.mat")
    assert "own" in refused(capsys, pilots, "--snr", 10, "--out", pilots)
    assert "readable" in refused(capsys, tmp_path / "none.npz", "--snr", 10, "--out", out)
    with np.load(pilots) as stored:
        arrays = dict(stored)
    for change, message in (
        ({"Y": arrays["Y"].real}, "complex numbers in Y"),
        ({"P": arrays["P"][:, :4]}, "expected Y (*batch, Nr, Np)"),
        ({"H": arrays["H"][:2]}, "expected H (6, 4, 8)"),
        ({"Y": arrays["Y"] * np.nan}, "finite"),
        ({"P": 0 * arrays["P"]}, "pilots"),
    ):
        bad = tmp_path / "bad.npz"
        np.savez(bad, **(arrays | change))
        assert message in refused(capsys, bad, "--snr", 10, "--out", out)
    np.savez(bad, Y=arrays["Y"])
    assert "a complex array P" in refused(capsys, bad, "--snr", 10, "--out", out)
    np.savez(bad, P=arrays["P"], Y=np.array([{}]))
    assert "pickle" in refused(capsys, bad, "--snr", 10, "--out", out)
    assert not out.exists()


def test_channels_are_written_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "channels", "--out", str(tmp_path / "a.txt")]) == 2
    assert main(["data", "channels", "--out", str(tmp_path / "none" / "a.npz")]) == 2
    assert main(["data", "channels", "--snr", "nan", "--out", str(tmp_path / "a.npz")]) == 2
    assert "--snr" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_after_an_interruption(
    pilots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self, state, k):
        raise KeyboardInterrupt

    monkeypatch.setattr(FISTA, "advance", interrupt)
    out = tmp_path / "out.npz"
    assert main(["estimate", str(pilots), "--snr", "10", "--out", str(out)]) == 130
    assert not out.exists()
