"""Training of denoisers: what they learn from, whole courses, and the weights that are shipped."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml.datasets import ChannelConfig, DelayLineConfig
from sciml.io import write_image
from sciml.io.csi import Bandwidth
from sciml.networks import (
    Beams,
    ChannelDenoiser,
    PretrainedDenoiser,
    UNetDenoiser,
    load_denoiser,
    read_card,
    weights_path,
)
from sciml.priors import ScorePrior
from sciml.training import Plan
from solvers.channels import aligning_phases
from solvers.cli import main
from solvers.neural import score as training
from solvers.neural.score import (
    Objective,
    ScoreCourse,
    denoising_curve,
    score_course,
    train_denoiser,
)
from solvers.neural.score_data import Channels, DelayLines, Heads

SITE = ChannelConfig(nt=8, nr=4)
BY_NAME = {"ids": lambda p: p.value}


def _tiny(objective: Objective, snr_db: float | None = None, steps: int = 6) -> ScoreCourse:
    return ScoreCourse(
        partial(ChannelDenoiser, 4, 8, 4, 1), Channels(SITE, 400, snr_db), Channels(SITE, 100),
        Plan(steps, 2e-3, ema=0.9, every=2), objective, batch=8, sigmas=(0.1, 1.0),
    )  # fmt: skip


# -- data ---------------------------------------------------------------------------------------


def test_channels_have_the_noise_that_they_tell(rng: np.random.Generator) -> None:
    pool = Channels(SITE, 2000, 10.0)(rng)
    assert len(pool.x) == 2000 and pool.x[0].shape == (4, 8) and pool.own == 10**-0.5
    power = torch.stack(pool.x).abs().square().mean()
    assert abs(float(power) - 1.1) < 0.05
    assert Channels(SITE, 3)(rng).own == 0
    assert "400 channels" in str(Channels(SITE, 400)) and "10 dB" in str(Channels(SITE, 2, 10.0))


def test_delay_lines_come_aligned(rng: np.random.Generator) -> None:
    """Aligned once more they stay as they are, but for what noise moves and one phase each."""
    config = DelayLineConfig(Bandwidth.MHZ20.subcarriers, alike=(0.5, 1.0))
    for sigma, same in (((1e-4, 2e-4), 0.98), ((0.5, 1.0), 0.6)):
        pool = DelayLines(config, 200, sigma)(rng)
        x = torch.stack(pool.x).numpy()
        assert pool.own == 0 and x.shape == (200, 30, 3) and x.dtype == np.complex64
        again = aligning_phases(x, np.arange(30) % 3 != 0, config.frequencies) * x
        inner = np.abs(np.sum(again.conj() * x, axis=(1, 2))) / np.sum(np.abs(x) ** 2, axis=(1, 2))
        assert np.median(inner) > same
    assert "TDL-A/B/C" in str(DelayLines(config)) and "10 to 150 ns" in str(DelayLines(config))


def test_heads_are_cut_turned_and_noisy(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "head.npy"
    write_image(path, rng.uniform(0.2, 1.0, (20, 24, 22)))
    heads = Heads((path,), drawn=1, crop=16, every=5, snr_db=10.0)
    pool = heads(rng)
    assert len(pool.x) == 4 + 5 + 5 + 1 and pool.crop == 16
    batch = pool.drawn(rng, 5)
    assert batch.shape == (5, 16, 16) and batch.dtype == torch.complex64
    clean = Heads((path,), drawn=1, crop=16, every=5)(np.random.default_rng(3))
    assert clean.own == 0
    size = torch.cat([x.abs().flatten() for x in clean.x])
    assert 0.5 < float(size.max()) < 1.5
    noise = Heads((path,), drawn=1, crop=16, every=5, snr_db=10.0)(np.random.default_rng(3))
    power = np.mean([float(x.abs().square().mean()) for x in clean.x])
    assert abs(noise.own**2 / power - 0.1) < 1e-6
    with pytest.raises(ValueError, match="three axes, 96 or longer"):
        Heads((path,), drawn=0)(rng)
    assert "SHA-256" in str(heads) and str(tmp_path) not in str(heads)


# -- courses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", Objective)
def test_training_writes_weights_and_their_curve(objective, tmp_path: Path) -> None:
    name = PretrainedDenoiser.SCORE_MIMO_NOISY_10DB
    chosen = _tiny(objective, None if objective is Objective.DENOISING else 10.0)
    weights, _ = train_denoiser(name, tmp_path, taken=chosen, seed=2)
    about = read_card(weights)["about"]
    assert about["seed"] == 2 and about["objective"] == objective.value
    exact, found = about["held_out_nmse_db_exact_linear"], about["held_out_nmse_db"]
    assert all(e - 0.05 < f < e + 1.5 for e, f in zip(exact, found, strict=True))
    network = load_denoiser(weights)
    least = 10**-0.5 if objective is Objective.AMBIENT else 0.002
    assert network.levels.tolist() == pytest.approx([least, 40.0])
    again, _ = train_denoiser(name, tmp_path / "again", taken=chosen, seed=2)
    pairs = zip(network.state_dict().values(), load_denoiser(again).state_dict().values(),
                strict=True)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_cut_course_ends_as_a_whole_one(tmp_path: Path) -> None:
    name, chosen = PretrainedDenoiser.SCORE_MIMO, _tiny(Objective.DENOISING)

    def press(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole, _ = train_denoiser(name, tmp_path / "whole", taken=chosen)
    with pytest.raises(KeyboardInterrupt):
        train_denoiser(name, tmp_path / "cut", taken=chosen, progress=press)
    cut, _ = train_denoiser(name, tmp_path / "cut", taken=chosen, resume=True)
    assert whole.read_bytes() == cut.read_bytes()


def test_a_network_learns_what_its_preconditioning_does_not_know(rng) -> None:
    """Entries that are alike: their mean tells far more than each of them."""
    from sciml.training import LogUniform, denoising_loss, noised, train

    def flat(rng: np.random.Generator, count: int) -> np.ndarray:
        real, imaginary = rng.standard_normal((2, count, 1, 1), np.float32)
        return np.broadcast_to((real + 1j * imaginary) / np.sqrt(2), (count, 8, 8)).astype("c8")

    def draw(rng: np.random.Generator):
        x = torch.from_numpy(flat(rng, 16))
        return noised(x, torch.zeros(16), LogUniform(0.1, 2.0), rng)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNetDenoiser(8, 2)
    network.fit(torch.ones(1, 8, 8, dtype=torch.complex64), torch.zeros(1))
    train(network, denoising_loss, draw, plan=Plan(80, 5e-3, ema=0.9), rng=rng)
    x = flat(rng, 200)
    real, imaginary = rng.standard_normal((2, *x.shape), np.float32)
    y = (x + 0.5 * (real + 1j * imaginary) / np.sqrt(2)).astype(np.complex64)
    error = np.mean(np.abs(ScorePrior(network).denoise(y, 0.5) - x) ** 2)
    assert error < 0.5 * np.mean(np.abs(y / 1.25 - x) ** 2)


def test_the_command_trains(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "score_course", lambda *a, **k: _tiny(Objective.DENOISING))
    assert main(["train", "score-mimo", "--out", str(tmp_path), "--quick"]) == 0
    assert "dB held out" in capsys.readouterr().out
    assert load_denoiser(tmp_path / "score-mimo.safetensors").shape == (4, 8)
    assert main(["train", "--list"]) == 0
    assert {p.value for p in PretrainedDenoiser} <= set(capsys.readouterr().out.split())
    refused = ["train", "score-mimo", "--out", str(tmp_path), "--images", "x.nii"]
    assert main(refused) == 2


@pytest.mark.parametrize("name", PretrainedDenoiser, **BY_NAME)
def test_every_shipped_denoiser_has_a_course_and_a_quick_one(name) -> None:
    full, quick = score_course(name), score_course(name, quick=True)
    heads = (Path("head.nii"),)
    if "mri" not in name.value:
        with pytest.raises(ValueError, match="score-mri alone"):
            score_course(name, volumes=heads)
    else:
        assert score_course(name, volumes=heads).data.volumes == heads
    assert 4 * quick.plan.steps == full.plan.steps
    noisy = "noisy" in name.value
    assert noisy == (full.objective is not Objective.DENOISING)
    assert noisy == ("without noise" not in str(full.data))


# -- shipped weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PretrainedDenoiser, **BY_NAME)
def test_shipped_weights_load_and_are_small(name, rng: np.random.Generator) -> None:
    path = weights_path(name)
    assert path.stat().st_size < 5e6
    prior = ScorePrior(load_denoiser(name))
    shape = prior.shape or (40, 50)
    x = (rng.standard_normal((2, *shape)) + 1j * rng.standard_normal((2, *shape))).astype("c8")
    assert np.isfinite(prior.denoise(x, np.array([0.1, 3.0]))).all()
    about = read_card(path)["about"]
    assert about["command"].startswith(f"sciml train {name.value}")


def test_shipped_channels_are_denoised_as_by_their_covariance(rng: np.random.Generator) -> None:
    """At every level from 0.003 to 30, within 0.1 dB of the exact linear estimate."""
    site = Channels(ChannelConfig(), 60)
    pool, levels = site(rng), (0.003, 0.1, 1.0, 30.0)
    exact = denoising_curve(site.linear, pool, levels)
    found = denoising_curve(load_denoiser(PretrainedDenoiser.SCORE_MIMO), pool, levels)
    assert max(np.subtract(found, exact)) < 0.1


@pytest.mark.parametrize(
    ("name", "levels", "lost"),
    [
        (PretrainedDenoiser.SCORE_MIMO_NOISY_0DB, (0.3, 1.0, 10.0), 0.8),
        (PretrainedDenoiser.SCORE_MIMO_NOISY_10DB, (0.1, 1.0, 10.0), 0.6),
    ],
)
def test_shipped_weights_from_noisy_data_know_channels_without_noise(
    name, levels, lost, rng
) -> None:
    """Training that takes such data as clean loses 5 to 10 dB at the least level here."""
    site = Channels(ChannelConfig(), 60)
    pool = site(rng)
    exact, found = (denoising_curve(d, pool, levels) for d in (site.linear, load_denoiser(name)))
    assert max(np.subtract(found, exact)) < lost


def test_a_head_that_no_weight_has_seen_is_denoised(shared_data: Path) -> None:
    """At 0.1, a tenth of the brightest tissue: a quarter of what one power of pixels leaves."""
    pool = Heads((shared_data / "mri_images/MNI152_2009_template.nii.gz",), drawn=0, every=60)(
        np.random.default_rng(0)
    )
    found = denoising_curve(load_denoiser(PretrainedDenoiser.SCORE_MRI), pool, (0.1,))
    power = np.mean([float(x.abs().square().mean()) for x in pool.x])
    alone = 10 * np.log10(0.01 / (power + 0.01))
    assert found[0] < alone - 6


def test_beams_serve_what_they_are_for() -> None:
    clean = score_course(PretrainedDenoiser.SCORE_MIMO).network().arguments
    noisy = score_course(PretrainedDenoiser.SCORE_MIMO_NOISY_0DB).network().arguments
    assert clean["beams"] == Beams.JOINT.value and noisy["beams"] == Beams.SEPARABLE.value
