"""Samplers that claim to be exact reproduce closed forms, and discs hold what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sciml import Gaussian, Identity, InverseProblem, Samples, Space, sample
from sciml.operators import Dense
from sciml.priors import GaussianPrior, MixturePrior
from sciml.samples import radius_of
from sciml.testing import check_calibration
from solvers import DAPS
from tests.laws.samplers import EXACT, SAMPLERS, N, draw, posed


def moments(found: Samples, post: GaussianPrior) -> tuple[float, float]:
    """Relative errors of mean and covariance."""
    S = post.dense()
    d = found.samples - post.mean
    mean = np.linalg.norm(found.mean - post.mean) / np.linalg.norm(post.mean)
    return float(mean), float(np.linalg.norm(d.T @ d.conj() / len(d) - S) / np.linalg.norm(S))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", EXACT)
def test_gaussian_posteriors_are_reproduced(
    name: str, dtype: str, rng: np.random.Generator
) -> None:
    problem = posed(name, rng, dtype=dtype)
    post = problem.prior.posterior(problem.A, problem.y, problem.noise)
    for budget in (8, 20):
        found = draw(problem, name, n=2000, budget=budget, throw=True)
        mean, covariance = moments(found, post)
        assert mean <= 0.02 and covariance <= 0.1
        each = np.abs(found.std / np.sqrt(np.diag(post.dense()).real) - 1)
        assert each.max() <= 0.1


def test_unit_normal_prior_and_noise(rng: np.random.Generator) -> None:
    """CN(0, 1) under CN(0, 1): the posterior is CN(y / 2, 1 / 2). Every factor of two shows."""
    prior = GaussianPrior(np.zeros(4, complex), variance=1.0)
    y = np.array([1.0, 1j, -2.0, 0.5 - 0.5j])
    problem = InverseProblem(Identity(Space((4,), np.complex128)), y, Gaussian(1.0), prior)
    for name, case in SAMPLERS.items():
        if name in ("DiffPIR", "DPS", "TruncatedReverse"):
            continue  # approximate by design, or deterministic
        budget = 30 if case.exact else 300
        found = draw(problem, name, n=800, budget=budget)
        np.testing.assert_allclose(found.mean, y / 2, atol=0.06, err_msg=name)
        np.testing.assert_allclose(found.std**2, 0.5, atol=0.08, err_msg=name)


@pytest.mark.parametrize("kind", ["Gaussian", "mixture"])
def test_calibrated_on_closed_forms(kind: str, rng: np.random.Generator) -> None:
    space = Space((6,), np.complex128)
    wide = GaussianPrior(space.zeros(np.zeros(1)), variance=np.logspace(0, -2, 6))
    prior: Any = wide
    if kind == "mixture":
        away = GaussianPrior(2 * np.ones(6) + 0j, variance=0.05)
        prior = MixturePrior([0.5, 0.5], [wide, away])
    A = Dense(Space((4, 6), space.dtype).random(rng))
    truth, noise = prior.random(rng, (160,)), Gaussian(0.3)
    y = A(truth)
    problem = InverseProblem(A, y + noise.draw(y, rng), noise, prior)
    for name in EXACT:
        if SAMPLERS[name].sampler.mirrored:
            continue
        found = draw(problem, name, n=24, budget=20)
        check_calibration(truth, found.samples)
        with pytest.raises(AssertionError, match="too narrow"):
            check_calibration(truth, found.mean + 0.6 * (found.samples - found.mean))
        with pytest.raises(AssertionError, match="too wide"):
            check_calibration(truth, found.mean + 1.6 * (found.samples - found.mean))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    ("sampler", "n"),
    [(DAPS(), 4), (DAPS(), 8), (DAPS(antithetic=False), 2), (DAPS(antithetic=False), 5)],
)
@pytest.mark.parametrize("kind", ["Gaussian", "mixture"])
def test_radius_and_error_hold_for_few_draws(
    kind: str, sampler: DAPS, n: int, dtype: str, rng: np.random.Generator
) -> None:
    """Discs and intervals hold the truth as often as they say, and the mean is off as told."""
    space, runs = Space((6,), np.dtype(dtype)), 600
    wide = GaussianPrior(space.zeros(np.zeros(1)), variance=np.logspace(0, -2, 6))
    prior: Any = wide
    if kind == "mixture":
        away = GaussianPrior((2 * np.ones(6)).astype(dtype), variance=0.05)
        prior = MixturePrior([0.5, 0.5], [wide, away])
    A, noise = Dense(Space((4, 6), space.dtype).random(rng)), Gaussian(0.3)
    truth = prior.random(rng, (runs,))
    y = A(truth)
    problem = InverseProblem(A, y + noise.draw(y, rng), noise, prior)
    found = sample(problem, sampler, n=n, budget=20, rng=rng, throw=False)
    inside = {p: float(np.mean(np.abs(found.mean - truth) <= found.radius(p))) for p in (0.5, 0.9)}
    if kind == "mixture":  # of two modes a disc about the mean is too wide, if anything
        assert 0.85 <= inside[0.9] <= 0.98, inside
        return
    assert abs(inside[0.5] - 0.5) <= 0.05 and abs(inside[0.9] - 0.9) <= 0.05, inside
    some = [prior.posterior(A, one, noise).mean for one in problem.y[:100]]
    off = np.sqrt(np.mean(np.abs(found.mean[:100] - np.stack(some)) ** 2))
    error, rounding = np.sqrt(np.mean(found.mean_error**2)), 0.02 * np.sqrt(np.mean(found.std**2))
    assert 0.9 * error - rounding <= off <= 1.1 * error + rounding


def test_radius_is_that_of_f_and_t() -> None:
    from scipy.stats import f, t

    for p in (0.5, 0.9, 0.99):
        for k in (1, 2, 7):
            assert radius_of(p, degrees=k) == pytest.approx(f.ppf(p, 2, 2 * k) ** 0.5)
            assert radius_of(p, degrees=k, circular=False) == pytest.approx(t.ppf((1 + p) / 2, k))
        assert radius_of(p) == pytest.approx(radius_of(p, degrees=1e9), rel=1e-6)
        assert radius_of(p, circular=False) == pytest.approx(
            radius_of(p, degrees=1e9, circular=False), rel=1e-6
        )


def test_levels_go_where_draws_still_change(rng: np.random.Generator) -> None:
    problem = posed("DAPS", rng)
    least, most = problem.prior.sigma_range
    levels = draw(problem, "DAPS", budget=24).history
    assert levels[0] == pytest.approx(most) and (np.diff(levels) < 0).all()
    spread = np.sqrt(np.trace(problem.prior.posterior(
        problem.A, problem.y, problem.noise).dense()).real / N)  # fmt: skip
    assert np.sum((levels < 4 * spread) & (levels > spread / 16)) >= 8
    assert levels[-1] > 4 * least
    pair = sample(problem, DAPS(antithetic=False), n=2, budget=24, throw=False).history
    assert pair[0] == pytest.approx(most) and pair[-1] >= 0.99 * least


def test_a_prior_may_pool_what_a_probe_says_of_the_jacobian(rng: np.random.Generator) -> None:
    problem = posed("DAPS", rng)
    shapes = []

    class Pooling:
        """What one has learned of a coefficient is given to others."""

        def __init__(self, factor: float) -> None:
            self.factor, self.prior = factor, problem.prior
            self.basis, self.sigma_range = problem.prior.basis, problem.prior.sigma_range

        def denoise(self, x: np.ndarray, sigma: float) -> np.ndarray:
            return self.prior.denoise(x, sigma)

        def pooled(self, diagonal: np.ndarray) -> np.ndarray:
            shapes.append(diagonal.shape)
            return self.factor * diagonal

    def drawn(prior: object, y: np.ndarray) -> np.ndarray:
        asked = InverseProblem(problem.A, y, problem.noise, prior)
        return sample(asked, DAPS(), n=4, budget=10, throw=False).samples

    y = problem.y
    np.testing.assert_array_equal(drawn(Pooling(1.0), y), drawn(problem.prior, y))
    assert set(shapes) == {(1, N)} and len(shapes) == 5
    # without any uncertainty the data say nothing
    np.testing.assert_allclose(drawn(Pooling(0.0), y), drawn(Pooling(0.0), 2 * y))
    assert not np.allclose(drawn(problem.prior, y), drawn(problem.prior, 2 * y), rtol=0.1)
