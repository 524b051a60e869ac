"""Channels under a learned prior, against the closed form where the prior is Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciml import Samples, Status
from sciml.datasets import ChannelConfig, Profile, draw_channels, noise_variance, qpsk_pilots
from sciml.networks import Beams, ChannelDenoiser
from solvers.channels import lmmse, score
from solvers.channels.score import _power

NR, NT, NP = 4, 8, 5
CONFIG = ChannelConfig((Profile.C,), nt=NT, nr=NR)
Case = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal((*shape, 2)) @ [1, 1j]) / 2**0.5


def received(rng: np.random.Generator, n: int, snr: float) -> Case:
    """(Y, P, H, sigma2) in complex64."""
    H, P = draw_channels(CONFIG, n, rng), qpsk_pilots(NT, NP, rng)
    sigma2 = noise_variance(snr, NT)
    Y = H @ P + sigma2**0.5 * normal(rng, n, NR, NP)
    return Y.astype(np.complex64), P, H, sigma2


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return draw_channels(CONFIG, 2000, np.random.default_rng(5))


@pytest.fixture(scope="module")
def network(samples: np.ndarray) -> ChannelDenoiser:
    """Untrained: Wiener's filter of the samples' covariance."""
    found = ChannelDenoiser(NR, NT, width=8, layers=2, beams=Beams.JOINT, modes=NR * NT - 1)
    found.fit(torch.from_numpy(samples), torch.zeros(len(samples)))
    return found.eval()


def nmse(found: np.ndarray, H: np.ndarray) -> float:
    off = np.sum(abs(found - H) ** 2, axis=(-2, -1)) / np.sum(abs(H) ** 2, axis=(-2, -1))
    return float(10 * np.log10(np.mean(off)))


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_mean_and_deviation_are_those_of_the_closed_form(
    snr: float, network: ChannelDenoiser, samples: np.ndarray, rng: np.random.Generator
) -> None:
    Y, P, H, sigma2 = received(rng, 60, snr)
    h = samples.reshape(len(samples), -1)
    best = lmmse(Y, P, sigma2, h.T @ h.conj() / len(h))
    found = score(Y, P, sigma2, network, budget=10, rng=rng)
    assert found.ok and isinstance(found.result, Samples) and found.note == ""
    assert found.result.calls <= 10 and found.result.samples.shape == (4, 60, NR, NT)
    assert found.H.dtype == np.complex64
    assert nmse(found.H, H) < nmse(best.H, H) + 0.15
    assert found.std is not None and best.std is not None
    assert found.std.shape == (60, NR, NT) and found.std.dtype == np.float32
    for one in (found, best):  # out of four draws, and in closed form; channels fade
        radius = one.radius(0.9)
        assert radius is not None
        assert np.mean(abs(one.H - H) <= radius) == pytest.approx(0.9, abs=0.05)
    ratio = np.mean(found.std**2, axis=0).sum() / np.sum(best.std**2)
    assert abs(ratio - 1) < 0.15


@pytest.mark.parametrize("size", [1e-6, 0.1, 30.0, 1e6])
def test_channels_of_another_power_are_told_by_the_data(
    size: float, network: ChannelDenoiser, rng: np.random.Generator
) -> None:
    Y, P, H, sigma2 = received(rng, 40, 20)
    plain = score(Y, P, sigma2, network, budget=10)
    large = score(np.complex64(size) * Y, P, size**2 * sigma2, network, budget=10)
    assert large.ok and "dB off mean power 1" in large.note
    assert abs(nmse(large.H / size, H) - nmse(plain.H, H)) < 0.3


def test_the_power_is_one_unless_the_data_contradict_it(rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 1, -10)
    assert _power(Y, P, sigma2) == 1  # noise could be anything
    Y, P, _, sigma2 = received(rng, 400, 10)
    assert _power(Y, P, sigma2) == 1
    np.testing.assert_allclose(_power(5 * Y, P, 25 * sigma2), 25, rtol=0.3)
    assert _power(Y[:0], P, sigma2) == 1
    assert _power(Y, 0 * P, sigma2) == 1
    assert 0 < _power(0 * Y, P, 1e-3 * sigma2) < 0.1
    noise = sigma2**0.5 * normal(rng, *Y.shape)
    np.testing.assert_allclose(_power(noise, P, sigma2), 0, atol=0.1)


def test_data_that_the_prior_contradicts_are_told(rng: np.random.Generator) -> None:
    """The prior knows one channel up to its phase and size; others it cannot explain."""
    one = normal(rng, NR, NT)
    known = (normal(rng, 500, 1, 1) * one).astype(np.complex64)
    network = ChannelDenoiser(NR, NT, width=8, layers=2, beams=Beams.JOINT, modes=NR * NT - 1)
    network.fit(torch.from_numpy(known), torch.zeros(len(known)))
    Y, P, _, sigma2 = received(rng, 3, 40)
    found = score(Y, P, sigma2, network.eval(), budget=10)
    assert isinstance(found.result, Samples)
    with pytest.raises(ValueError, match="got 2 of DAPS"):
        score(Y, P, sigma2, network, n=2, budget=2).radius(0.9)
    assert not found.ok and found.result.worst is Status.MISFIT and found.misfit.min() > 3


def test_empty_batches_single_channels_and_repeats(
    network: ChannelDenoiser, rng: np.random.Generator
) -> None:
    Y, P, _, sigma2 = received(rng, 6, 10)
    assert score(Y[:0], P, sigma2, network, budget=2).H.shape == (0, NR, NT)
    alone = score(Y[0], P, sigma2, network, budget=10)
    assert alone.H.shape == (NR, NT) and alone.misfit.shape == () and alone.ok
    again = score(Y[0], P, sigma2, network, budget=10)
    np.testing.assert_array_equal(alone.H, again.H)
    grid = score(Y.reshape(2, 3, NR, NP), P, sigma2, network, budget=10)
    assert grid.H.shape == (2, 3, NR, NT) and grid.misfit.shape == (2, 3)
    wide = score(Y.astype(complex), P, sigma2, network, budget=10)
    assert wide.H.dtype == np.complex128 and wide.ok


def test_bad_arguments_are_told(network: ChannelDenoiser, rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 2, 10)
    with pytest.raises(ValueError, match="8 transmitting and 4 receiving"):
        score(Y[:, :3], P, sigma2, network)
    with pytest.raises(ValueError, match="64 transmitting and 16 receiving"):
        score(Y, P, sigma2)
    with pytest.raises(ValueError, match="with one Np"):
        score(Y[..., :4], P, sigma2, network)
    with pytest.raises(ValueError, match="sigma2 > 0"):
        score(Y, P, 0.0, network)
    with pytest.raises(TypeError, match="a Denoiser"):
        score(Y, P, sigma2, "score-mimo")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="even n"):
        score(Y, P, sigma2, network, n=3)
