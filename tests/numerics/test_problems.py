"""Problems: what certification measures, against closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import solvers
from sciml import (
    Gaussian,
    InverseProblem,
    LeastSquares,
    LinearSystem,
    Nonlinear,
    SolveError,
    Solver,
    Space,
    Status,
    Stop,
    solve,
)
from sciml.operators import Dense, Identity


@pytest.mark.parametrize("solver", [solvers.LSQR(), solvers.LSMR(), solvers.Auto()], ids=repr)
@pytest.mark.parametrize("damp", [0.0, 0.7])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6)])
def test_least_squares_equals_lapack(
    shape: tuple[int, int], dtype: str, damp: float, solver: Solver, rng: np.random.Generator
) -> None:
    m, n = shape
    matrix = Space(shape, np.dtype(dtype)).random(rng)
    b = Space((2, m), np.dtype(dtype)).random(rng)
    result = solve(LeastSquares(Dense(matrix), b, damp=damp), solver, stop=Stop(rtol=1e-12))
    full = np.vstack([matrix, damp * np.eye(n)])
    for x, rhs in zip(result.x, b, strict=True):
        wanted = np.linalg.lstsq(full, np.concatenate([rhs, np.zeros(n)]), rcond=None)[0]
        np.testing.assert_allclose(x, wanted, atol=1e-9)


def test_a_rectangular_system_is_refused_with_a_way_out(rng: np.random.Generator) -> None:
    A = Dense(rng.standard_normal((4, 3)))
    with pytest.raises(ValueError, match=r"expected a square A .* use LeastSquares"):
        LinearSystem(A, np.zeros(4))
    with pytest.raises(ValueError, match="damp"):
        LeastSquares(A, np.zeros(4), damp=-1.0)


def test_the_residual_of_maximum_likelihood_vanishes_at_its_closed_form(
    rng: np.random.Generator,
) -> None:
    A, y = rng.standard_normal((8, 3)), rng.standard_normal(8)
    sigma = rng.uniform(0.5, 2, 8)
    problem = InverseProblem(Dense(A), y, Gaussian(sigma))
    weights = np.diag(sigma**-2)
    x = np.linalg.solve(A.T @ weights @ A, A.T @ weights @ y)
    assert np.linalg.norm(problem.residual(x)) < 1e-12 * problem.scale
    np.testing.assert_allclose(problem.misfit(x), np.linalg.norm((y - A @ x) / sigma))


def test_a_prior_adds_its_gradient(rng: np.random.Generator) -> None:
    class Ridge:
        def grad(self, x: np.ndarray) -> np.ndarray:
            return 3.0 * x

    A, y = rng.standard_normal((5, 3)), rng.standard_normal(5)
    x = np.linalg.solve(A.T @ A / 4 + 3 * np.eye(3), A.T @ y / 4)
    assert np.linalg.norm(InverseProblem(Dense(A), y, Gaussian(2.0), Ridge()).residual(x)) < 1e-13


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_coil_covariance_is_whitened(library: str, rng: np.random.Generator) -> None:
    mix = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    S = mix @ mix.conj().T
    n = np.einsum(
        "ij,bjk->bik", np.linalg.cholesky(S), Space((3, 4000), "complex128").random(rng, (2,))
    )
    noise = Gaussian(covariance=S, axis=-2)
    given = torch.from_numpy(n) if library == "torch" else n
    white = np.asarray(noise.whiten(given))
    for member in white:
        np.testing.assert_allclose(member @ member.conj().T / 4000, np.eye(3), atol=0.08)
    wanted = np.einsum("ij,bjk->bik", np.linalg.inv(S), n)
    np.testing.assert_allclose(np.asarray(noise.weigh(given)), wanted)


def test_noise_is_checked() -> None:
    for bad in (
        lambda: Gaussian(),
        lambda: Gaussian(0.0),
        lambda: Gaussian(np.array([1.0, -1.0])),
        lambda: Gaussian(1.0, covariance=np.eye(2)),
        lambda: Gaussian(covariance=-np.eye(2)),
        lambda: Gaussian(covariance=np.ones((2, 3))),
        lambda: Gaussian(covariance=np.eye(2), axis=0),
    ):
        with pytest.raises(ValueError, match=r"expected .* got"):
            bad()


class _State(NamedTuple):
    x: Any
    estimate: Any
    flag: int
    problem: Nonlinear


@dataclass(frozen=True)
class _FixedPoint(Solver):
    """x <- x + w F(x)."""

    w: float
    lie: bool = False

    def init(self, problem: Any, x0: Any, rng: Any) -> _State:
        return self._state(problem, problem.start() if x0 is None else x0)

    def _state(self, problem: Nonlinear, x: np.ndarray) -> _State:
        size = problem.domain.norm(problem.residual(x))
        return _State(x, size * 0 if self.lie else size, 0, problem)

    def advance(self, state: _State, k: int) -> _State:
        for _ in range(k):
            x = state.x + self.w * state.problem.residual(state.x)
            state = self._state(state.problem, x)
        return state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nonlinear_problems_are_certified(dtype: str) -> None:
    space = Space((4,), np.dtype(dtype))
    problem = Nonlinear(lambda x: np.cos(x) - x, space, np.zeros(4, dtype))
    rtol = 1e-5 if dtype == "float32" else 1e-10
    result = solve(problem, _FixedPoint(0.6), stop=Stop(rtol=rtol))
    np.testing.assert_allclose(result.x, 0.7390851332151607, rtol=10 * rtol)
    assert result.certified_in == np.float64
    with pytest.raises(SolveError) as failed:
        solve(problem, _FixedPoint(0.0, lie=True), stop=Stop(rtol=rtol))
    assert failed.value.result.status == Status.STAGNATED


def test_methods_refuse_problems_they_do_not_solve() -> None:
    nonlinear = Nonlinear(np.cos, Space((3,)), np.zeros(3))
    inverse = InverseProblem(Identity(Space((3,))), np.ones(3), Gaussian(1.0))
    for problem in (nonlinear, inverse):
        for solver in (solvers.CG(), solvers.GMRES(), solvers.LSQR(), solvers.Auto()):
            with pytest.raises(TypeError, match=r"expected a .*LinearSystem.*, got"):
                solve(problem, solver)
