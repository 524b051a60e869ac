"""Every prior keeps the laws of convex analysis, and every method finds the same minimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import sciml.priors
from sciml import Gaussian, InverseProblem, LinearSystem, Space, Status, Stop, solve
from sciml.arrays import dtype_of, from_host, to_numpy
from sciml.networks import PretrainedProximal, load_proximal
from sciml.operators import FFT, SENSE, Wavelet
from sciml.priors import L1, L1Wavelet, LearnedProximal, Tikhonov, TotalVariation
from solvers import ADMM, CG, FISTA, PlugAndPlayADMM, PrimalDual

SHAPE = (12, 9)
PRIORS: dict[str, Callable[[Space], Any]] = {
    "Tikhonov": lambda space: Tikhonov(0.7, space),
    "L1": lambda space: L1(0.4, space),
    "wavelets": lambda space: L1Wavelet(0.4, Wavelet(space, "db2", levels=2)),
    "wavelets with averages": lambda space: L1Wavelet(
        0.4, Wavelet(space, "haar", levels=1), averages=True
    ),
    "total variation": lambda space: TotalVariation(0.1, space),
    "total variation of the last axis": lambda space: TotalVariation(0.1, space, axes=1),
    "learned": lambda space: LearnedProximal(LAPLACE, space, weight=0.4, solver=CG()),
}
LAPLACE = load_proximal(PretrainedProximal.LPN_LAPLACE)
METHODS = {
    "FISTA": FISTA(),
    "PlugAndPlayADMM": PlugAndPlayADMM(),
    "PrimalDual": PrimalDual(),
    "ADMM": ADMM(),
}
PROXIMAL = [name for name in PRIORS if name != "Tikhonov"]
NONCONVEX = {"learned": 0.4}  # with g + ||x||² / (2 step) convex up to the step 1 / this
ANY = ("FISTA", "PlugAndPlayADMM")  # take any proximal operator; the others want a norm of K x
SOLVED = [
    (name, method) for name in PROXIMAL for method in METHODS
    if method in ANY or name not in NONCONVEX
]  # fmt: skip
DTYPES = ("float32", "float64", "complex64", "complex128")


def test_the_registry_holds_every_public_prior() -> None:
    public = {getattr(sciml.priors, n) for n in sciml.priors.__all__}
    denoising = {one for one in public if hasattr(one, "denoise")}  # laws in test_denoising.py
    assert public - denoising == {type(make(Space(SHAPE))) for make in PRIORS.values()}


def real(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.vdot(x, y).real)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PRIORS)
def test_the_proximal_operator_is_one(name: str, dtype: str, rng: np.random.Generator) -> None:
    """g(z) ≥ g(u) + <(x − u) / step, z − u> for u = prox(x): a subgradient of g at u.

    Where g is not convex, less ||z − u||² / (2 step): nothing is better than u.
    """
    space = Space(SHAPE, np.dtype(dtype))
    prior, step = PRIORS[name](space), 0.8
    x = space.random(rng)
    u = prior.prox(x, step)
    assert u.dtype == x.dtype
    slope = (x - u) / step
    room = (2e-3 if "variation" in name else 1e-5) * abs(float(prior.value(x)))
    bend = 1 / (2 * step) if name in NONCONVEX else 0.0
    for size in (1e-3, 0.1, 1.0, 10.0):
        z = u + size * space.random(rng)
        least = prior.value(u) + real(slope, z - u) - bend * real(z - u, z - u)
        assert prior.value(z) >= least - room
    for z in (0 * u, x, 0.9 * u, 1.1 * u):
        least = prior.value(u) + real(slope, z - u) - bend * real(z - u, z - u)
        assert prior.value(z) >= least - room
    y = x + 0.1 * space.random(rng)  # it does not expand, by more than nonconvexity lets it
    stretch = 1 / (1 - step * NONCONVEX.get(name, 0.0))
    gap = np.linalg.norm(prior.prox(y, step) - u)
    assert gap <= (1 + 1e-3) * stretch * np.linalg.norm(y - x)
    np.testing.assert_allclose(prior.prox(x, 0.0), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_members_libraries_and_precisions_agree(name: str, rng: np.random.Generator) -> None:
    space = Space(SHAPE, np.complex128)
    prior = PRIORS[name](space)
    x = space.random(rng, (3,))
    together = prior.prox(x, 0.5)
    assert prior.value(x).shape == (3,)
    for i in range(3):
        alone = prior.prox(x[i], 0.5)
        np.testing.assert_allclose(together[i], alone, atol=2e-3 * np.abs(x).max())
        np.testing.assert_allclose(prior.value(x)[i], prior.value(x[i]), rtol=1e-12)
    tensor = from_host(x, torch.zeros(1), x.dtype)
    np.testing.assert_allclose(to_numpy(prior.prox(tensor, 0.5)), together, atol=1e-10)
    single = prior.to(dtype=np.float32)
    found = single.prox(x.astype(np.complex64), 0.5)
    assert dtype_of(found) == np.complex64
    np.testing.assert_allclose(found, together, atol=2e-3 * np.abs(x).max())


def posed(name: str, rng: np.random.Generator) -> InverseProblem:
    maps = Space((3, *SHAPE), np.complex128).random(rng)
    mask = rng.random(SHAPE) < 0.6
    A = SENSE(maps, mask)
    y = A(A.domain.random(rng)) + 0.1 * A.range.random(rng) * mask
    prior = PRIORS[name](A.domain)
    sigma = 0.5
    if name in NONCONVEX:  # noise at which 1 / L is the native step: others are tested below
        sigma = A.norm_bound * prior.native_step**0.5
    return InverseProblem(A, y, Gaussian(sigma), prior)


@pytest.mark.parametrize("name, method", SOLVED)
def test_every_method_finds_the_minimum(name: str, method: str, rng: np.random.Generator) -> None:
    """No step in any direction lowers the objective."""
    problem = posed(name, rng)
    rtol = 1e-3 if "variation" in name else 1e-4
    result = solve(problem, METHODS[method], stop=Stop(rtol=rtol, max_iters=20_000))
    assert result.status == Status.CONVERGED

    def objective(x: np.ndarray) -> float:
        return 0.5 * float(problem.misfit(x)) ** 2 + float(problem.prior.value(x))

    least = objective(result.x)
    for size in (1e-2, 1.0):
        for _ in range(5):
            assert objective(result.x + size * problem.domain.random(rng)) > least
    other = solve(problem, FISTA(momentum=False), stop=Stop(rtol=rtol, max_iters=20_000)).x
    assert abs(objective(other) - least) <= 3e-4 * abs(least)


@pytest.mark.parametrize("name, method", SOLVED)
def test_with_a_unitary_operator_the_minimum_is_the_proximal_operator(
    name: str, method: str, rng: np.random.Generator
) -> None:
    A = FFT(Space(SHAPE, np.complex128), centred=True)
    y = A.range.random(rng)
    prior = PRIORS[name](A.domain)
    problem = InverseProblem(A, y, Gaussian(1.5), prior)
    found = solve(problem, METHODS[method], stop=Stop(rtol=1e-3, max_iters=5_000)).x
    np.testing.assert_allclose(found, prior.prox(A.adjoint(y), 2.25), atol=2e-2)


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_of_a_dual_method_is_never_too_small(
    method: str, rng: np.random.Generator
) -> None:
    problem = posed("total variation", rng)
    state = METHODS[method].init(problem, None, None)
    for _ in range(6):
        state = METHODS[method].advance(state, 5)
        true = float(problem.norm(problem.residual(state.x)))
        if method not in ANY:
            assert true <= float(state.estimate) * (1 + 1e-3) + 1e-3 * float(problem.scale)
    # At the minimum of the data term alone nothing but the prior's gap tells.
    least = solve(LinearSystem(problem.A.normal, problem.A.adjoint(problem.y)), CG()).x
    start = METHODS[method].init(problem, least, None)
    true = float(problem.norm(problem.residual(least)))
    assert true <= float(start.estimate) * (1 + 1e-3)


def test_scale_does_not_matter(rng: np.random.Generator) -> None:
    """Data a thousand times larger with a weight a thousand times larger: the same steps."""
    problem = posed("wavelets", rng)
    W = Wavelet(problem.domain, "db2", levels=2)
    for scale in (1e-8, 1e8):
        other = InverseProblem(
            problem.A, scale * problem.y, problem.noise, L1Wavelet(0.4 * scale, W)
        )
        a, b = solve(problem, FISTA()), solve(other, FISTA())
        assert abs(a.iterations - b.iterations) <= 1
        np.testing.assert_allclose(b.x / scale, a.x, atol=1e-5 * np.abs(a.x).max())


def test_problems_and_priors_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    problem = posed("wavelets", rng)
    bare = InverseProblem(problem.A, problem.y, problem.noise)
    for method in METHODS.values():
        with pytest.raises(TypeError, match="expected a prior with"):
            solve(bare, method)
        with pytest.raises(TypeError, match="expected an InverseProblem"):
            solve(LinearSystem(problem.A.normal, bare.start()), method)
    with pytest.raises(TypeError, match="grad"):
        InverseProblem(problem.A, problem.y, problem.noise, "smooth")
    with pytest.raises(ValueError, match="weight"):
        TotalVariation(-1.0, problem.domain)
    with pytest.raises(ValueError, match="wavelet"):
        Wavelet(problem.domain, "bior2.2")
    with pytest.raises(ValueError, match="wavelet"):
        Wavelet(problem.domain, "nonsense")


def test_an_unproven_proximal_operator_is_no_success() -> None:
    """Long signals under a huge weight: more iterations than are made, and the bound tells."""
    space = Space((4096,))
    step_signal = (np.arange(4096) > 2000) * 1.0
    prior = TotalVariation(1e5, space)
    z, off = prior.prox_within(step_signal, 1.0)
    true = np.linalg.norm(z - step_signal.mean())  # the exact one is the mean
    assert true <= float(off)
    problem = InverseProblem(sciml.Identity(space), step_signal, Gaussian(1.0), prior)
    result = solve(problem, FISTA(), stop=Stop(rtol=1e-3, max_iters=20), throw=False)
    assert result.status != Status.CONVERGED
    assert np.linalg.norm(result.x - step_signal.mean()) / np.linalg.norm(step_signal) <= float(
        result.residual
    )


def test_noise_that_wants_gradients_is_refused(rng: np.random.Generator) -> None:
    problem = posed("wavelets", rng)
    sigma = torch.tensor(0.5, requires_grad=True)
    with pytest.raises(TypeError, match="without gradients"):
        InverseProblem(problem.A, problem.y, Gaussian(sigma))
