"""SAMPLED is said of draws that keep what it means, and what was not checked is told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sciml import Gaussian, Identity, InverseProblem, Sampler, Samples, Space, Status, sample
from sciml.operators import FFT, Dense, Sampling
from sciml.priors import GaussianPrior, MixturePrior
from solvers import DAPS, AnnealedLangevin
from solvers.posterior._base import _lower_tail
from tests.laws.samplers import SAMPLERS, N, draw, posed


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [2, 4, 8])
def test_what_was_not_checked_is_not_claimed(name: str, n: int, rng: np.random.Generator) -> None:
    found = draw(posed(name, rng, batch=(2,)), name, n=n)
    told, sampler = found.explain(), SAMPLERS[name].sampler
    assert "Checked: data misfit" in told and "Not checked: " in told
    if not sampler.independent:
        assert np.shape(found.rhat) == np.shape(found.ess) == (2,) and "R-hat" in told
        return
    assert found.rhat is None and found.ess is None and "R-hat does not apply" in told
    lone, still = sampler.mirrored and n == 2, name == "TruncatedReverse"
    if lone or still:
        assert ("unknown" in told) == lone and ("all the same" in told) == still
        assert np.isnan(found.mean_error).all() == lone
        with pytest.raises(ValueError, match="expected draws that tell a deviation"):
            found.radius(0.9)
    else:
        assert "of the deviation" in told and (found.mean_error >= 0).all()
        assert (found.radius(0.9) > found.radius(0.5)).all()


class Walk(Sampler):
    """Chains that go on: x <- keep · x + noise, white in the long run; `apart` shifts each."""

    independent = False

    def __init__(self, steps: int, keep: float = 0.0, apart: float = 0.0) -> None:
        self.steps, self.keep, self.apart = steps, keep, apart

    def init(self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator) -> Any:
        shift = self.apart * np.arange(n)[:, None]
        return Walked(self, problem, rng, rng.standard_normal((n, N)), shift, 0)

    def advance(self, state: Any) -> Any:
        state.problem.prior.denoise(state.x, 1.0)
        x = self.keep * state.white + (1 - self.keep**2) ** 0.5 * state.rng.standard_normal(
            state.white.shape
        )
        return Walked(self, state.problem, state.rng, x, state.shift, state.step + 1)


@dataclass(frozen=True)
class Walked:
    walk: Walk
    problem: InverseProblem
    rng: np.random.Generator
    white: np.ndarray
    shift: np.ndarray
    step: int
    sigma: float = 1.0
    settled: bool = True

    @property
    def x(self) -> np.ndarray:
        return self.white + self.shift

    @property
    def done(self) -> bool:
        return self.step >= self.walk.steps


@pytest.mark.parametrize(
    ("walk", "status"),
    [
        (Walk(200), Status.SAMPLED),
        (Walk(200, apart=1.0), Status.UNMIXED),  # chains disagree
        (Walk(200, keep=0.99), Status.UNMIXED),  # they hardly move
        (Walk(3), Status.UNMIXED),  # nothing to compare
        (Walk(8), Status.UNMIXED),  # few draws
    ],
)
def test_chains_that_go_on_are_asked_whether_they_mixed(walk: Walk, status: Status) -> None:
    prior = GaussianPrior(np.zeros(N), variance=1.0)
    blind = InverseProblem(Dense(1e-9 * np.ones((40, N))), np.ones(40), Gaussian(1.0), prior)
    found = sample(blind, walk, n=4, budget=500, throw=False)
    assert found.status == status, found.explain()
    fine = found.rhat <= found.rhat_limit and found.ess >= found.ess_limit == 40
    assert fine == (status == Status.SAMPLED)


class Greedy(Walk):
    """Takes three calls at a step, whatever its budget."""

    def advance(self, state: Any) -> Any:
        for _ in range(2):
            state.problem.prior.denoise(state.x, 1.0)
        return super().advance(state)


def test_a_plan_that_was_cut_short_is_no_success() -> None:
    prior = GaussianPrior(np.zeros(N), variance=1.0)
    blind = InverseProblem(Dense(1e-9 * np.ones((40, N))), np.ones(40), Gaussian(1.0), prior)
    assert sample(blind, Walk(200), n=4, budget=200, throw=False).ok
    cut = sample(blind, Walk(200), n=4, budget=190, throw=False)
    assert cut.status == Status.UNMIXED and cut.rhat <= cut.rhat_limit
    over = sample(blind, Greedy(200), n=4, budget=599, throw=False)
    assert over.status == Status.UNMIXED and over.calls == 600
    assert any("more than its budget" in note for note in over.notes)


@pytest.mark.parametrize("name", ["split_rhat", "effective_size"])
def test_nan_passes_no_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = sys.modules["sciml.sample"]
    monkeypatch.setattr(driver, name, lambda draws: np.full(draws.shape[2:], np.nan))
    prior = GaussianPrior(np.zeros(N), variance=1.0)
    blind = InverseProblem(Dense(1e-9 * np.ones((40, N))), np.ones(40), Gaussian(1.0), prior)
    assert sample(blind, Walk(200), n=4, budget=500, throw=False).status == Status.UNMIXED


def test_wrong_noise_is_a_misfit(rng: np.random.Generator) -> None:
    space = Space((400,), np.complex128)
    prior = GaussianPrior(np.zeros(400, complex), variance=1.0)
    y = 3 * space.random(rng)
    for sigma, status in ((0.2, Status.SAMPLED), (2.9, Status.SAMPLED)):
        # an identity explains anything, unless the noise is too small for the prior to bend
        found = sample(
            InverseProblem(Identity(space), y, Gaussian(sigma), prior),
            DAPS(),
            budget=10,
            throw=False,
        )
        assert (found.status == status) == (found.band[0] <= found.misfit <= found.band[1])
    blind = Dense(np.zeros((400, 400), complex))
    found = sample(InverseProblem(blind, y, Gaussian(1.0), prior), DAPS(), budget=10, throw=False)
    assert found.status == Status.MISFIT and found.misfit == pytest.approx(9, rel=0.2)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_a_prior_that_the_data_contradict_is_told(dtype: str, rng: np.random.Generator) -> None:
    """Draws explain the data all the same; of 300 problems that the prior fits, none is accused."""
    space = Space((200,), np.dtype(dtype))
    A, noise = Dense(Space((150, 200), space.dtype).random(rng) / 200**0.5), Gaussian(0.1)
    x = space.random(rng)
    y = A(x) + noise.draw(A(x), rng)

    def drawn(variance: float) -> Samples:
        prior = GaussianPrior(np.zeros(200, space.dtype), variance=variance)
        return sample(InverseProblem(A, y, noise, prior), DAPS(), budget=20, throw=False)

    right, narrow = drawn(1.0), drawn(0.01)
    assert right.ok and right.widened == 1
    assert narrow.status == Status.MISFIT and narrow.widened > 20
    assert narrow.band[0] < narrow.misfit < narrow.band[1]
    far = np.linalg.norm(narrow.mean - x) / np.linalg.norm(right.mean - x)
    assert far < 1.1  # the prior alone would shrink it to a hundredth
    assert "times the prior's variance" in narrow.explain()
    assert (draw(posed("DAPS", rng, dtype=dtype, batch=(300,)), "DAPS").widened == 1).all()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_a_prior_that_is_far_too_wide_is_told(dtype: str) -> None:
    """Each member by itself, and nothing is made narrower; of 600 right ones none is accused."""
    rng = np.random.default_rng(0)  # as callers like to: not the stream that `sample` draws from
    space = Space((200,), np.dtype(dtype))
    A, noise = Dense(Space((150, 200), space.dtype).random(rng) / 200**0.5), Gaussian(0.1)
    size = np.array([1.0, 0.1, 0.7])[:, None]
    x = size * space.random(rng, (3,))
    y = A(x) + noise.draw(A(x), rng)
    prior = GaussianPrior(np.zeros(200, space.dtype), variance=1.0)
    found = sample(InverseProblem(A, y, noise, prior), DAPS(), budget=20, throw=False)
    assert list(found.status) == [Status.SAMPLED, Status.MISFIT, Status.SAMPLED]
    assert found.excess[1] > 20 and found.excess[0] == 1 and found.excess[2] < 4
    assert (found.widened == 1).all() and found.band[0] < found.misfit[1] < found.band[1]
    told = found.explain()
    assert "too wide" in told and "expected" in told and "got 1 /" in told
    alone = InverseProblem(A, y[0], noise, prior)
    assert "far too wide" not in sample(alone, DAPS(), budget=20).explain()
    for n in (4, 8):
        right = draw(posed("DAPS", rng, dtype=dtype, batch=(300,)), "DAPS", n=n)
        assert (right.excess == 1).all()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_bound_on_small_residuals_holds(dtype: str, rng: np.random.Generator) -> None:
    """Also where one number is far larger than the others, of which few probes tell."""
    real, runs, p = dtype == "float64", 400_000, 2
    for large, count in ((1e3, 1), (30.0, 3), (1.0, 20)):
        m = 20
        excited = np.zeros(m)
        excited[:count] = large

        def square(*shape: int) -> np.ndarray:
            return rng.chisquare(1, shape) if real else rng.standard_exponential(shape)

        found = sum(one * square(runs) for one in 1 + excited)
        estimate = sum(one * square(runs, p).mean(axis=1) for one in excited[:count])
        excess = (m + estimate) / found
        doubt = _lower_tail(excess, m, excited.sum(), (excited**2).sum(), 2 * p, real=real)
        for at in (1e-1, 1e-2, 1e-3):
            assert np.mean(doubt < at) <= at


def test_entries_that_were_not_measured_do_not_count(rng: np.random.Generator) -> None:
    space = Space((20, 20), np.complex128)
    mask = rng.random((20, 20)) < 0.3
    A = Sampling(mask.astype(float), space) @ FFT(space)
    prior = GaussianPrior(np.zeros((20, 20), complex), variance=1.0, basis=FFT(space))
    noise = Gaussian(0.5)
    x = prior.random(rng)
    y = (A(x) + noise.draw(x, rng)) * mask
    found = sample(InverseProblem(A, y, noise, prior), DAPS())
    assert found.status == Status.SAMPLED and abs(found.misfit - 1) < 0.3


def test_chains_that_disagree_are_unmixed(rng: np.random.Generator) -> None:
    """Two far modes that no chain leaves; half of the chains in each."""
    parts = [GaussianPrior(m * np.ones(2), variance=1e-2) for m in (-5.0, 5.0)]
    prior = MixturePrior([0.5, 0.5], parts)
    problem = InverseProblem(Identity(Space((2,))), np.zeros(2), Gaussian(20.0), prior)
    found = sample(problem, AnnealedLangevin(), budget=200, n=16, throw=False)
    assert found.rhat > 1.05 and found.status in (Status.UNMIXED, Status.MISFIT)
