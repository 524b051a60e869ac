"""Hidden subcarriers: estimators against closed forms and each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sciml import Gaussian, Samples, Space, Status
from sciml.datasets import (
    DelayLineConfig,
    delay_line_covariances,
    draw_delay_lines,
    draw_line_parameters,
)
from sciml.io.csi import Bandwidth
from sciml.networks import GatedDenoiser, PretrainedDenoiser, load_denoiser
from sciml.operators import Sampling
from sciml.priors import GaussianPrior, ScorePrior
from solvers.bench import wifi
from solvers.channels import (
    Interpolation,
    aligning_phases,
    delay_limited,
    interpolate,
    lmmse_subcarriers,
    score_subcarriers,
    uniform_delays,
)

CONFIG = DelayLineConfig(Bandwidth.MHZ20.subcarriers)
F = CONFIG.frequencies
SEEN = np.arange(30) % 3 != 1


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal((*shape, 2)) @ [1, 1j]) / 2**0.5


def db(off: np.ndarray, H: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(np.abs(off) ** 2) / np.sum(np.abs(H) ** 2)))


# -- what needs no statistics -------------------------------------------------------------------


def test_interpolations_are_exact_on_what_they_take_for_given(rng: np.random.Generator) -> None:
    x = F / 1e6
    line = (1 + 2j) + (3 - 1j) * x
    cubic = line + 0.2 * x**2 - (0.01 + 0.02j) * x**3
    wave = (50 + 0.1 * x) * np.exp(1j * (0.3 - 0.9 * x))
    for how, values in ((Interpolation.LINEAR, line), (Interpolation.SPLINE, cubic),
                        (Interpolation.POLAR, wave)):  # fmt: skip
        Y = np.where(SEEN, values, np.nan)[:, None]
        np.testing.assert_allclose(interpolate(Y, SEEN, F, how)[:, 0], values, rtol=1e-9)
    noisy = normal(rng, 2, 30, 3)
    for how in Interpolation:
        found = interpolate(noisy, SEEN, F, how)
        np.testing.assert_array_equal(found[:, SEEN], noisy[:, SEEN])


def test_one_path_is_found_within_its_window(rng: np.random.Generator) -> None:
    tap = 1 / (F.max() - F.min())
    paths = np.exp(-2j * np.pi * np.outer(F, tap * np.array([0, 1, 3])))
    H = paths @ normal(rng, 4, 3, 3)
    found = {"window": delay_limited(H, SEEN, F), "line": interpolate(H, SEEN, F)}
    error = {name: db((one - H)[:, ~SEEN], H[:, ~SEEN]) for name, one in found.items()}
    assert error["window"] < error["line"] - 4
    alone = paths[:, :1] * normal(rng, 4, 1, 3)
    late = np.exp(-2j * np.pi * F * 333e-9)[:, None] * alone
    assert db(delay_limited(late, SEEN, F) - late, late) < -20
    with pytest.raises(ValueError, match="at most 20 modes"):
        delay_limited(H, SEEN, F, window=(0, 1e-5))


def test_alignment_takes_timing_and_phases_off(rng: np.random.Generator) -> None:
    H = draw_delay_lines(replace(CONFIG, alike=(0.5, 1.0)), 20, rng, dtype=complex)
    late = np.exp(-2j * np.pi * F * 200e-9)[:, None] * np.exp(1j * np.array([0.3, 2.0, -1.0]))
    one, two = (aligning_phases(x, SEEN, F) * x for x in (H, late * H))
    np.testing.assert_allclose(np.abs(aligning_phases(H, SEEN, F)), 1)
    same = np.sum(one.conj() * two, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(two, one * same / np.abs(same), atol=1e-9)  # but for one phase
    hidden = H.copy()
    hidden[:, ~SEEN] = 1e6  # is not looked at
    np.testing.assert_allclose(aligning_phases(hidden, SEEN, F), aligning_phases(H, SEEN, F))


def test_a_noisy_antenna_does_not_spoil_the_timing(rng: np.random.Generator) -> None:
    """Path of 100 ns; two antennas of noise alone, once told and once not."""
    path = np.exp(-2j * np.pi * F * 100e-9)[:, None]
    Y = normal(rng, 200, 30, 3)
    Y[..., :1] = path + 0.01 * Y[..., :1]
    told, untold = (aligning_phases(Y, SEEN, F, s) for s in ([0.01, 1.0, 1.0], 1.0))
    whole = np.exp(-2j * np.pi * (F[-1] - F[0]) * 100e-9)
    good, bad = (np.median(np.abs(np.angle(u[:, -1, 0] / u[:, 0, 0] * whole)))
                 for u in (told, untold))  # fmt: skip
    assert good < 0.1 and bad > 5 * good


# -- linear -------------------------------------------------------------------------------------


def test_lmmse_is_the_posterior_of_its_covariance(rng: np.random.Generator) -> None:
    """Against `GaussianPrior.posterior`, members with noise of their own."""
    given = draw_line_parameters(CONFIG, 1, rng)
    R = delay_line_covariances(CONFIG, given)[0] + 1e-6 * np.eye(90)
    sigma, Y = np.array([[0.1, 0.2, 0.9], [1.0, 0.05, 0.3]]), normal(rng, 2, 30, 3)
    found = lmmse_subcarriers(Y, SEEN, sigma, R)
    prior = GaussianPrior(np.zeros((30, 3), complex), covariance=R)
    A = Sampling(SEEN[:, None], Space((30, 3), np.dtype(complex)))
    assert found.std is not None and found.std.shape == Y.shape
    for i in range(2):
        one = prior.posterior(A, Y[i] * SEEN[:, None], Gaussian(sigma[i][None, :]))
        np.testing.assert_allclose(found.H[i], one.mean, atol=1e-8)
        left = np.real(np.diagonal(one.dense())).reshape(30, 3)
        np.testing.assert_allclose(found.std[i] ** 2, left, atol=1e-8)


def test_uniform_delays_are_the_mean_over_delays() -> None:
    delays = np.linspace(-1e-7, 3e-7, 4001)
    waves = np.exp(-2j * np.pi * np.outer(F, delays))
    R = uniform_delays(F, (-1e-7, 3e-7), 2)
    np.testing.assert_allclose(R[::2, ::2], waves @ waves.conj().T / 4001, atol=2e-3)
    assert not R[::2, 1::2].any()


# -- learned ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained() -> tuple[GatedDenoiser, np.ndarray]:
    """Wiener's filter of the covariance of aligned channels, and that covariance."""
    H = draw_delay_lines(CONFIG, 4000, np.random.default_rng(5))
    H *= aligning_phases(H, SEEN, F)
    network = GatedDenoiser(30, 3, 8, 1)
    network.fit(torch.from_numpy(H), torch.zeros(len(H)))
    prior = ScorePrior(network.eval())
    wide = np.eye(90, dtype=complex).reshape(90, 30, 3)
    filtered = np.asarray(prior.denoise(wide, 1.0)).reshape(90, 90).T
    return network, filtered @ np.linalg.inv(np.eye(90) - filtered)  # R (R + 1)^-1 = filtered


def test_an_untrained_prior_is_the_linear_estimate(untrained, rng: np.random.Generator) -> None:
    network, R = untrained
    R = (R + R.conj().T) / 2
    powers, vectors = np.linalg.eigh(R)
    H = (normal(rng, 30, 90) * np.maximum(powers, 0) ** 0.5 @ vectors.T).reshape(30, 30, 3)
    sigma = np.array([0.1, 0.2, 0.5])
    Y = (H + sigma * normal(rng, *H.shape)).astype(np.complex64)
    best = lmmse_subcarriers(Y, SEEN, sigma, R)
    found = score_subcarriers(Y, SEEN, sigma, network, budget=10, rng=rng)
    assert isinstance(found.result, Samples) and found.result.calls <= 10
    assert found.result.worst is Status.SAMPLED and found.H.dtype == np.complex64
    assert db(found.H - best.H, best.H) < db(best.H - H, H) - 10
    assert found.std is not None and best.std is not None
    assert abs(np.mean(found.std**2) / np.mean(best.std**2) - 1) < 0.2


def test_what_is_denoised_turns_with_its_phase(rng: np.random.Generator) -> None:
    network = GatedDenoiser(30, 3, 8, 1)
    with torch.no_grad():
        for p in network.net.parameters():
            p.copy_(0.3 * torch.from_numpy(rng.standard_normal(p.shape)))
        x = torch.from_numpy(normal(rng, 2, 30, 3).astype(np.complex64))
        sigma, turn = torch.full((2,), 0.4), np.exp(2j)
        one, two = network(x, sigma), network(turn * x, sigma)
    assert not torch.allclose(one, x / (1 + 0.4**2), atol=0.01)  # more than Wiener's filter
    torch.testing.assert_close(turn * one, two, atol=1e-5, rtol=1e-4)


def test_the_shipped_prior_beats_linear_estimates_that_learned_from_the_same() -> None:
    """Simulated at 20 dB; the genie knows what each channel was drawn with."""
    known = wifi.Known(CONFIG, 2000, np.random.SeedSequence(3))
    case = wifi.simulated_case(CONFIG, 40, 20.0, 1, np.random.default_rng(4))
    rng = np.random.default_rng(0)
    error = {}
    for name in ("linear", "lmmse", "lmmse-aligned", "score", "genie"):
        found, _ = wifi.run_case(case, known, name, rng)
        error[name] = float(
            db(np.sqrt(found.errors * case.power), np.sqrt(found.powers * case.power))
        )
    assert error["score"] < error["lmmse-aligned"] - 0.5 < error["lmmse"] - 3
    assert error["genie"] < error["score"] - 0.5 and error["lmmse"] < error["linear"]


# -- the benchmark ------------------------------------------------------------------------------


def test_noise_is_found_from_packets_that_follow_each_other(rng: np.random.Generator) -> None:
    """Timing, gains and phases of packets change, the channel does not."""
    H = draw_delay_lines(CONFIG, 1, rng, dtype=complex)
    late = np.exp(-2j * np.pi * F * rng.uniform(-30e-9, 30e-9, (300, 1)))[:, :, None]
    gain = rng.uniform(0.8, 1.2, (300, 1, 1)) * np.exp(2j * np.pi * rng.random((300, 1, 1)))
    sigma = np.array([0.05, 0.1, 0.3])
    Y = late * gain * H + sigma * normal(rng, 300, 30, 3)
    found = wifi.packet_noise(Y, SEEN, F)
    np.testing.assert_allclose(found, sigma**2, rtol=0.12)
    Y[:, ~SEEN] = np.nan
    np.testing.assert_array_equal(wifi.packet_noise(Y, SEEN, F), found)


def test_a_measured_case_hides_what_it_says(rng: np.random.Generator) -> None:
    H = draw_delay_lines(CONFIG, 6, rng).astype(complex)
    noise = np.full(3, 1e-4)
    for phase in range(3):
        case = wifi.measured_case(H, noise, CONFIG, phase)
        assert case.seen.sum() == 20 and not case.Y[:, ~case.seen].any()
        power = np.mean(np.abs(case.Y[:, case.seen]) ** 2, axis=1)
        np.testing.assert_allclose(power - case.sigma**2, 1, rtol=1e-4)
        back = case.truth * np.sqrt(case.power)[:, None]
        np.testing.assert_allclose(back, H)
        other = H.copy()
        other[:, ~case.seen] *= 100  # scale, noise and data come from rows seen
        again = wifi.measured_case(other, noise, CONFIG, phase)
        np.testing.assert_array_equal(again.Y, case.Y)
        np.testing.assert_array_equal(again.sigma, case.sigma)
    with pytest.raises(ValueError, match="0 to 2"):
        wifi.hidden_rows(30, 3)


def test_every_method_predicts_and_counts_its_errors() -> None:
    config = replace(CONFIG, timing=(0.0, 0.0))
    known = wifi.Known(config, 500, np.random.SeedSequence(1))
    case = wifi.simulated_case(config, 4, 20.0, 0, np.random.default_rng(2))
    known = replace(known, site=(case.truth, np.full((4, 3), 0.1)))
    for name in wifi.METHODS:
        found, H = wifi.run_case(case, known, name, np.random.default_rng(3))
        off = np.abs(H - case.truth)[:, ~case.seen] ** 2
        np.testing.assert_allclose(found.errors, off.sum(axis=1), rtol=1e-5)
        assert found.errors.shape == (4, 3) and H.shape == case.Y.shape
        assert not found.noises.any() and found.seconds > 0


# -- refusals -----------------------------------------------------------------------------------


def test_bad_arguments_are_told(untrained, rng: np.random.Generator) -> None:
    Y = normal(rng, 2, 30, 3).astype(np.complex64)
    R = np.eye(90)
    with pytest.raises(TypeError, match="complex"):
        interpolate(Y.real, SEEN, F)
    with pytest.raises(ValueError, match="bool"):
        interpolate(Y, SEEN[:-1], F)
    with pytest.raises(ValueError, match="ascending"):
        interpolate(Y, SEEN, F[::-1])
    with pytest.raises(ValueError, match="finite frequencies"):
        interpolate(Y, SEEN, F[:4])
    with pytest.raises(ValueError, match="NaN or Inf"):
        interpolate(Y * np.nan, SEEN, F)
    with pytest.raises(ValueError, match=r"covariance \(90, 90\)"):
        lmmse_subcarriers(Y, SEEN, 0.1, R[:4])
    with pytest.raises(ValueError, match="sigma"):
        lmmse_subcarriers(Y, SEEN, 0.0, R)
    with pytest.raises(ValueError, match="broadcast"):
        lmmse_subcarriers(Y, SEEN, np.ones(4), R)
    with pytest.raises(ValueError, match="low, high"):
        uniform_delays(F, (1.0, 0.0), 1)
    with pytest.raises(ValueError, match="trained on"):
        score_subcarriers(Y[:, :, :2], SEEN, 0.1, untrained[0])
    with pytest.raises(TypeError, match="a Denoiser"):
        score_subcarriers(Y, SEEN, 0.1, "score-wifi")  # pyright: ignore[reportArgumentType]


def test_the_shipped_prior_is_for_the_grid_of_the_card() -> None:
    assert load_denoiser(PretrainedDenoiser.SCORE_WIFI).shape == (30, 3)
