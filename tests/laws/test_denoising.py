"""Every prior with a denoiser keeps every law; those of closed form have the right posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sciml import Gaussian, InverseProblem, Operator, Space, Trait, solve
from sciml.arrays import with_precision
from sciml.networks import ChannelDenoiser
from sciml.operators import FFT, Dense
from sciml.prior import Tweedie, levels_of
from sciml.priors import GaussianPrior, MixturePrior, ScorePrior
from sciml.testing import PRIOR_LAWS, PriorCase, check_operator, check_prior
from solvers import FISTA
from tests.laws.cases import COMPLEX, LIKE, NUMPY, REAL, STRICT, TORCH

SHAPE = (3, 4)


@dataclass(frozen=True)
class Registered:
    """make(rng, space) -> prior."""

    make: Callable[[np.random.Generator, Space], Any]
    dtypes: tuple[str, ...] = REAL + COMPLEX


def covariance(rng: np.random.Generator, space: Space) -> np.ndarray:
    M = Space((space.size, space.size), with_precision(space.dtype, np.float64)).random(rng)
    return M @ M.conj().T / space.size + 0.01 * np.eye(space.size)


def dense(rng: np.random.Generator, space: Space) -> GaussianPrior:
    return GaussianPrior(space.random(rng), covariance=covariance(rng, space))


def mixture(rng: np.random.Generator, space: Space) -> MixturePrior:
    parts = [GaussianPrior(2 * space.random(rng), variance=0.3), dense(rng, space)]
    return MixturePrior([0.4, 0.6], parts)


DENOISERS: dict[str, Registered] = {
    "Gaussian, diagonal": Registered(
        lambda r, s: GaussianPrior(s.random(r), variance=r.exponential(size=s.shape))
    ),
    "Gaussian, dense": Registered(dense),
    "Gaussian in Fourier space": Registered(
        lambda r, s: GaussianPrior(s.random(r), variance=r.exponential(size=s.shape), basis=FFT(s)),
        COMPLEX,
    ),
    "mixture": Registered(mixture),
}


@pytest.mark.parametrize("law", PRIOR_LAWS)
@pytest.mark.parametrize("library", [NUMPY, TORCH, STRICT])
@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n, case in DENOISERS.items() for d in case.dtypes]
)
def test_law(name: str, dtype: str, library: str, law: str, rng: np.random.Generator) -> None:
    space = Space(SHAPE, np.dtype(dtype))
    prior = DENOISERS[name].make(rng, space)
    like = None if library == NUMPY else LIKE[library]
    PRIOR_LAWS[law](PriorCase(prior, space, like=like), rng)


@pytest.mark.parametrize("name", ["Gaussian, dense", "mixture"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_posterior_is_bayes(name: str, dtype: str, rng: np.random.Generator) -> None:
    """log p(x | y) − log p(x) − log p(y | x) is the same at every x."""
    space = Space(SHAPE, np.dtype(dtype))
    prior = DENOISERS[name].make(rng, space)
    flat = Space((space.size,), space.dtype)
    A = Dense(Space((5, space.size), space.dtype).random(rng))
    flatten = _Raveled(space, flat)
    noise, y = Gaussian(0.3), A.range.random(rng)
    after = prior.posterior(A @ flatten, y, noise)
    factor = 1 if space.is_complex else 0.5
    found = []
    for _ in range(6):
        x = space.random(rng)
        fit = -factor * np.linalg.norm((y - A(x.ravel())) / 0.3) ** 2
        found.append(after.log_density(x) - prior.log_density(x) - fit)
    np.testing.assert_allclose(found, found[0], rtol=1e-8)


class _Raveled(Operator):
    def __init__(self, space: Space, flat: Space) -> None:
        super().__init__(space, flat, traits=(Trait.LINEAR,))

    def _apply(self, x: Any) -> Any:
        return x.reshape(*x.shape[:-2], -1)

    def _adjoint(self, y: Any) -> Any:
        return y.reshape(*y.shape[:-1], *self.domain.shape)


@pytest.mark.parametrize("name", DENOISERS)
def test_draws_follow_the_density(name: str, rng: np.random.Generator) -> None:
    """Mean and covariance of draws are those that the denoiser knows at high noise."""
    space = Space(SHAPE, np.dtype(DENOISERS[name].dtypes[-1]))
    prior = DENOISERS[name].make(rng, space)
    x = prior.random(rng, (20_000,))
    far = 1e4
    mean = prior.denoise(np.zeros(SHAPE, space.dtype), far)
    scale = np.abs(x).max()
    assert np.abs(x.mean(axis=0) - mean).max() <= 0.05 * scale
    v = space.random(rng)
    C_v = far**2 * prior.denoise_vjp(mean, far, v)[1]
    d = x - x.mean(axis=0)
    inner = 2 * (d * np.conj(v)).sum(axis=(-2, -1)).real
    found = (d * inner[:, None, None]).mean(axis=0)
    assert np.linalg.norm(found - C_v) <= 0.06 * np.linalg.norm(C_v)


def test_unit_complex_noise_has_the_factors_of_the_convention() -> None:
    """CN(0, 1) under CN(0, 1) noise: D = x / 2, s = −x / 2, log p = −|x|²/2 − log 2π."""
    prior = GaussianPrior(np.zeros(1, complex), variance=1.0)
    x = np.array([0.6 - 0.8j])
    np.testing.assert_allclose(prior.denoise(x, 1.0), x / 2)
    np.testing.assert_allclose(prior.score(x, 1.0), -x / 2)
    np.testing.assert_allclose(prior.log_density(x, 1.0), -0.5 - np.log(2 * np.pi))
    y = np.array([1.0 + 1.0j])
    after = prior.posterior(Dense(np.eye(1, dtype=complex)), y, Gaussian(1.0))
    np.testing.assert_allclose(after.mean, y / 2)
    np.testing.assert_allclose(after.variance, 0.5)


def test_tweedie_links_the_two_protocols(rng: np.random.Generator) -> None:
    space = Space(SHAPE, np.complex128)
    prior = mixture(rng, space)

    class OnlyScore:
        def score(self, x: Any, sigma: Any) -> Any:
            return prior.score(x, sigma)

    class OnlyDenoiser:
        def denoise(self, x: Any, sigma: Any) -> Any:
            return prior.denoise(x, sigma)

    x, sigma = space.random(rng, (2,)), np.array([0.3, 2.0])
    for half in (OnlyScore(), OnlyDenoiser()):
        both = Tweedie(half, ndim=2)
        np.testing.assert_allclose(both.denoise(x, sigma), prior.denoise(x, sigma))
        np.testing.assert_allclose(both.score(x, sigma), prior.score(x, sigma))
        with pytest.raises(TypeError, match="ndim"):
            Tweedie(half).score(x, sigma), Tweedie(half).denoise(x, sigma)
    check_prior(OnlyDenoiserWithChecks(prior), space)
    with pytest.raises(TypeError, match="denoise"):
        Tweedie(FISTA())


class OnlyDenoiserWithChecks:
    def __init__(self, prior: Any) -> None:
        self.prior = prior

    def denoise(self, x: Any, sigma: Any) -> Any:
        return self.prior.denoise(x, sigma)


def test_check_prior_finds_a_wrong_score(rng: np.random.Generator) -> None:
    space = Space(SHAPE, np.complex128)

    class Twice(GaussianPrior):
        def score(self, x: Any, sigma: Any) -> Any:
            return 2 * super().score(x, sigma)

    with pytest.raises(AssertionError, match="'tweedie'"):
        check_prior(Twice(space.random(rng), variance=1.0), space)


def test_bad_priors_are_refused(rng: np.random.Generator) -> None:
    space = Space(SHAPE, np.complex128)
    zero = np.zeros(SHAPE)
    for how in (
        {},
        {"variance": 1.0, "covariance": np.eye(12)},
        {"variance": 0.0},
        {"variance": np.nan},
        {"variance": np.ones(5)},
        {"covariance": np.eye(3)},
        {"covariance": -np.eye(12)},
        {"covariance": np.triu(np.ones((12, 12)))},
        {"variance": 1.0, "basis": FFT(space)},
    ):
        with pytest.raises(ValueError, match="expected"):
            GaussianPrior(zero, **how)
    one = GaussianPrior(zero, variance=1.0)
    for weights, parts in (([], []), ([1.0], [one, one]), ([1.0, 0.0], [one, one])):
        with pytest.raises(ValueError, match="expected"):
            MixturePrior(weights, parts)
    with pytest.raises(ValueError, match="one space"):
        MixturePrior([1, 1], [one, GaussianPrior(np.zeros(3), variance=1.0)])

    class Backwards(GaussianPrior):
        sigma_range = (2.0, 1.0)  # type: ignore[assignment]

    with pytest.raises(ValueError, match="sigma_range"):
        levels_of(Backwards(zero, variance=1.0))
    for wrong in (None, 1.0, (1, 2, 3), "ab"):
        Backwards.sigma_range = wrong  # type: ignore[assignment]
        with pytest.raises(TypeError, match="expected the prior's sigma_range"):
            levels_of(Backwards(zero, variance=1.0))


@pytest.mark.parametrize("beams", ["separable", "joint"])
def test_the_basis_of_a_network_is_an_isometry(beams: str, rng: np.random.Generator) -> None:
    B = ScorePrior(ChannelDenoiser(4, 6, beams=beams, modes=5)).basis
    assert B is not None
    check_operator(B)
    x = B.domain.random(rng, (2,))
    np.testing.assert_allclose(B.adjoint(B(x)), x, atol=1e-12)
    single = B.to(dtype=np.float32)
    assert single(x.astype(np.complex64)).dtype == np.complex64


def test_minimising_with_a_denoiser_is_refused(rng: np.random.Generator) -> None:
    prior = GaussianPrior(np.zeros(4), variance=1.0)
    problem = InverseProblem(Dense(np.eye(4)), np.ones(4), Gaussian(1.0), prior)
    with pytest.raises(TypeError, match="sample"):
        problem.residual(np.ones(4))
    with pytest.raises(TypeError, match="expected a prior with"):
        solve(problem, FISTA())
