"""Channel estimators against closed forms, exact recovery, and the bound that none may pass."""

from __future__ import annotations

import numpy as np
import pytest

from sciml import Status
from sciml.datasets import (
    ChannelConfig,
    Profile,
    channel_covariance,
    draw_channels,
    noise_variance,
    qpsk_pilots,
)
from sciml.operators.channel import plane_waves
from sciml.priors.classical import shrink
from solvers.channels import Structure, lasso, least_squares, lmmse, omp, sample_covariance

NR, NT, NP = 4, 8, 5
CONFIG = ChannelConfig((Profile.C,), nt=NT, nr=NR)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal((*shape, 2)) @ [1, 1j]) / 2**0.5


def received(
    rng: np.random.Generator, n: int, snr: float, config: ChannelConfig = CONFIG, pilots: int = NP
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(Y, P, H, sigma2) in complex128."""
    H = draw_channels(config, n, rng, dtype=np.complex128)
    P = qpsk_pilots(config.nt, pilots, rng, dtype=np.complex128)
    sigma2 = noise_variance(snr, config.nt)
    return H @ P + sigma2**0.5 * normal(rng, n, config.nr, pilots), P, H, sigma2


def test_least_squares_is_the_pseudoinverse(rng: np.random.Generator) -> None:
    for pilots in (NP, 11):
        Y, P, _, sigma2 = received(rng, 6, 10, pilots=pilots)
        found = least_squares(Y.reshape(2, 3, NR, pilots), P, sigma2)
        assert found.ok and found.std is None
        expected = (Y @ np.linalg.pinv(P)).reshape(2, 3, NR, NT)
        np.testing.assert_allclose(found.H, expected, atol=1e-4 * abs(expected).max())
        assert found.misfit.shape == (2, 3)
        if pilots < NT:
            assert found.misfit.max() < 1e-3  # it fits the noise


def test_lmmse_is_the_closed_form(rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 5, 8)
    R = channel_covariance(CONFIG)
    found = lmmse(Y, P, sigma2, R)
    A = np.kron(np.eye(NR), P.T)
    gain = R @ A.conj().T @ np.linalg.inv(A @ R @ A.conj().T + sigma2 * np.eye(len(A)))
    expected = (Y.reshape(5, -1) @ gain.T).reshape(5, NR, NT)
    np.testing.assert_allclose(found.H, expected, atol=1e-10)
    left = np.diagonal(R - gain @ A @ R).real
    assert found.std is not None and found.result is not None
    np.testing.assert_allclose(found.std.reshape(-1) ** 2, left, atol=1e-10)
    assert found.ok and np.max(found.result.residual) < 1e-8
    rest = np.sqrt(np.mean(abs(Y - expected @ P) ** 2, axis=(1, 2)) / sigma2)
    np.testing.assert_allclose(found.misfit, rest)
    single = lmmse(Y.astype(np.complex64), P.astype(np.complex64), sigma2, R)
    assert single.H.dtype == np.complex64 and single.std is not None
    assert single.std.dtype == np.float32
    np.testing.assert_allclose(single.H, expected, atol=1e-5)
    assert lmmse(Y, P, sigma2, R, std=False).std is None


def test_without_a_covariance_it_is_that_of_the_identity(rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 4, 5)
    found, expected = lmmse(Y, P, sigma2), lmmse(Y, P, sigma2, np.eye(NR * NT))
    np.testing.assert_allclose(found.H, expected.H, atol=1e-12)
    assert found.std is not None and expected.std is not None
    np.testing.assert_allclose(found.std, expected.std, atol=1e-12)


def test_the_posterior_deviation_is_that_of_the_errors(rng: np.random.Generator) -> None:
    """Channels drawn from CN(0, R) itself: errors over deviations are CN(0, 1)."""
    n, R = 3000, channel_covariance(CONFIG)
    values, vectors = np.linalg.eigh(R)
    root = vectors * np.sqrt(np.maximum(values, 0))
    H = (normal(rng, n, NR * NT) @ root.T).reshape(n, NR, NT)
    P = qpsk_pilots(NT, NP, rng, dtype=np.complex128)
    sigma2 = noise_variance(10, NT)
    found = lmmse(H @ P + sigma2**0.5 * normal(rng, n, NR, NP), P, sigma2, R)
    assert found.std is not None
    ratio = np.mean(abs(found.H - H) ** 2, axis=0) / found.std**2
    assert abs(ratio - 1).max() < 4.5 / n**0.5
    inside = abs(found.H - H) ** 2 <= found.std**2 * np.log(10)
    assert abs(inside.mean() - 0.9) < 0.01


def test_matching_pursuit_finds_waves_of_its_grid(rng: np.random.Generator) -> None:
    """Without noise, to rounding: two waves a member, apart by more than a beam."""
    nr, nt, pilots = 8, 16, 12
    left, right = plane_waves(nr, 2.0), plane_waves(nt, 2.0)
    P = qpsk_pilots(nt, pilots, rng, dtype=np.complex128)
    H = np.zeros((10, nr, nt), complex)
    for b in range(10):
        i, j = rng.integers(16), rng.integers(32)
        for k, weight in enumerate((1.0, 0.7)):
            wave = np.outer(left[:, (i + 7 * k) % 16], right[:, (j + 13 * k) % 32])
            H[b] += weight * np.exp(2j * np.pi * rng.random()) * wave
    found = omp(H @ P, P, 1e-20, oversampling=2.0)
    np.testing.assert_allclose(found.H, H, atol=1e-8)
    assert found.note.startswith("2 plane waves")
    one = omp(H @ P, P, 1e-20, oversampling=2.0, max_atoms=1)
    assert one.note.startswith("1 plane waves") and one.misfit.min() > 1e3


def test_matching_pursuit_takes_little_from_noise(rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 50, 0)
    found = omp(normal(rng, *Y.shape) * sigma2**0.5, P, sigma2)
    assert np.mean(np.any(found.H != 0, axis=(1, 2))) < 0.5


def test_the_lasso_is_a_threshold_where_waves_and_pilots_are_orthogonal(
    rng: np.random.Generator,
) -> None:
    P, _ = np.linalg.qr(normal(rng, NT, NT))
    P, sigma2 = 3.0 * P, 0.3
    Y = normal(rng, 4, NR, NT) * 3
    found = lasso(Y, P, sigma2, oversampling=1.0)
    left, right = plane_waves(NR, 1.0), plane_waves(NT, 1.0)
    coefficients = left.conj().T @ (Y @ P.conj().T / 9) @ right.conj()
    least = 0.5 * np.sqrt(np.log(NR * NT) * sigma2) / 3
    expected = left @ shrink(coefficients, least) @ right.T
    np.testing.assert_allclose(found.H, expected, atol=1e-2)
    assert found.ok and found.result is not None
    blotted = lasso(0.05 * Y, P, sigma2, oversampling=1.0, scale=2.0)
    np.testing.assert_array_equal(blotted.H, 0)
    np.testing.assert_array_equal(np.asarray(found.result.status), Status.CONVERGED)


def test_covariances_of_samples_come_near(rng: np.random.Generator) -> None:
    R = channel_covariance(CONFIG)
    H = draw_channels(CONFIG, 4000, rng)
    size = np.linalg.norm(R)
    for structure in Structure:
        few, many = (sample_covariance(H[:n], structure) for n in (50, 4000))
        for S in (few, many):
            np.testing.assert_allclose(S, S.conj().T)
            assert np.linalg.eigvalsh(S)[0] > -1e-9
            np.testing.assert_allclose(np.trace(S).real, NR * NT, rtol=0.2)
        assert np.linalg.norm(many - R) < 0.1 * size  # CDL-C at these arrays is nearly Kronecker
        assert np.linalg.norm(many - R) < np.linalg.norm(few - R)
    plain, shrunk = 0.0, 0.0  # in the mean square over 80 draws of 50 channels
    for some in H.reshape(80, 50, NR, NT):
        h = some.reshape(50, -1)
        plain += np.linalg.norm(h.T @ h.conj() / 50 - R) ** 2
        shrunk += np.linalg.norm(sample_covariance(some) - R) ** 2
    assert shrunk < plain


def test_shrinkage_is_that_of_ledoit_and_wolf(rng: np.random.Generator) -> None:
    h = normal(rng, 20, 6) * np.arange(1, 7)
    S = h.T @ h.conj() / 20
    mean = np.trace(S).real / 6
    spread = np.linalg.norm(S - mean * np.eye(6)) ** 2
    noise = sum(np.linalg.norm(np.outer(x, x.conj()) - S) ** 2 for x in h) / 20**2
    weight = min(noise, spread) / spread
    assert 0.1 < weight < 1
    expected = (1 - weight) * S + weight * mean * np.eye(6)
    np.testing.assert_allclose(sample_covariance(h.reshape(20, 2, 3)), expected, atol=1e-12)


def test_structures_are_kept_exactly(rng: np.random.Generator) -> None:
    H = draw_channels(CONFIG, 200, rng)
    S = sample_covariance(H, Structure.TOEPLITZ).reshape(NR, NT, NR, NT)
    np.testing.assert_allclose(S[1:, 1:, 1:, 1:], S[:-1, :-1, :-1, :-1], atol=5e-2)
    K = sample_covariance(H, Structure.KRONECKER).reshape(NR, NT, NR, NT)
    blocks = K.transpose(0, 2, 1, 3).reshape(NR * NR, NT * NT)
    assert np.linalg.svd(blocks, compute_uv=False)[1] < 1e-9


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_none_passes_the_bound(snr: float, rng: np.random.Generator) -> None:
    """Squared errors on the same channels, three standard errors of their differences apart."""
    Y, P, H, sigma2 = received(rng, 400, snr)
    training = draw_channels(CONFIG, 2000, rng)

    def errors(found: np.ndarray) -> np.ndarray:
        return np.sum(abs(found - H) ** 2, axis=(1, 2))

    least = errors(lmmse(Y, P, sigma2, channel_covariance(CONFIG)).H)
    others = [least_squares(Y, P, sigma2), lmmse(Y, P, sigma2), omp(Y, P, sigma2)]
    others += [lasso(Y, P, sigma2)]
    others += [lmmse(Y, P, sigma2, sample_covariance(training, s)) for s in Structure]
    for other in others:
        gap = errors(other.H) - least
        assert gap.mean() > -3 * gap.std() / len(gap) ** 0.5
    assert errors(others[0].H).mean() > 1.5 * least.mean()


@pytest.mark.parametrize("method", [least_squares, lmmse, omp, lasso])
def test_empty_batches_and_single_channels(method, rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 2, 10)
    assert method(Y[:0], P, sigma2).H.shape == (0, NR, NT)
    alone = method(Y[0], P, sigma2)
    assert alone.H.shape == (NR, NT) and alone.misfit.shape == ()
    np.testing.assert_allclose(alone.H, method(Y, P, sigma2).H[0], atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": np.zeros((2, NR, NP + 1), complex)}, "with one Np"),
        ({"P": np.zeros((2, NT, NP), complex)}, "with one Np"),
        ({"Y": np.full((NR, NP), np.nan, complex)}, "finite Y"),
        ({"Y": [[1j]]}, "NumPy array"),
        ({"sigma2": 0.0}, "sigma2 > 0"),
        ({"sigma2": np.inf}, "sigma2 > 0"),
    ],
)
@pytest.mark.parametrize("method", [least_squares, lmmse, omp, lasso])
def test_bad_arguments_are_told(method, change, message: str) -> None:
    good = {"Y": np.ones((2, NR, NP), complex), "P": np.ones((NT, NP), complex), "sigma2": 1.0}
    with pytest.raises((TypeError, ValueError), match=message):
        method(**(good | change))


def test_bad_covariances_are_told(rng: np.random.Generator) -> None:
    Y, P, _, sigma2 = received(rng, 2, 10)
    with pytest.raises(ValueError, match=r"covariance \(32, 32\)"):
        lmmse(Y, P, sigma2, np.eye(3))
    with pytest.raises(ValueError, match="Hermitian"):
        lmmse(Y, P, sigma2, np.triu(np.ones((32, 32))))
    with pytest.raises(ValueError, match="two or more"):
        sample_covariance(np.ones((1, 2, 2), complex))
    with pytest.raises(TypeError, match="complex channels"):
        sample_covariance(np.ones((5, 2, 2)))
