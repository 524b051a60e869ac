"""Corners where a careless certificate would lie: overflow, foreign precision, weak evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch

import solvers
from sciml import (
    Gaussian,
    InverseProblem,
    LeastSquares,
    LinearSystem,
    Nonlinear,
    Operator,
    Space,
    Status,
    Stop,
    Trait,
    solve,
)
from sciml.adapters import from_pylops, from_scipy
from sciml.operators import Dense, Diagonal
from sciml.priors import L1
from sciml.solver import Solver
from sciml.testing import check_operator


@pytest.mark.parametrize("start", [None, 0.0])
def test_a_right_hand_side_whose_norm_overflows_is_not_converged(start: float | None) -> None:
    b = np.full((2, 50), 1e308)
    b[0] = 1.0
    x0 = None if start is None else np.full_like(b, start)
    A = Diagonal(np.full(50, 2.0))
    result = solve(LinearSystem(A, b), solvers.CG(), x0=x0, throw=False)
    assert list(result.status) == [Status.CONVERGED, Status.NONFINITE_INPUT]
    assert "overflows float64" in result.explain()
    single = solve(LinearSystem(A, b[1]), solvers.CG(), throw=False)
    assert single.status == Status.NONFINITE_INPUT
    least = solve(LeastSquares(Dense(np.eye(50) * 1e200), b[1]), solvers.LSMR(), throw=False)
    assert least.status == Status.NONFINITE_INPUT


def test_an_answer_that_overflows_its_dtype_is_not_returned() -> None:
    A = Diagonal(np.full(4, 1e-30, np.float32))
    b = np.full(4, 1e20, np.float32)
    result = solve(LinearSystem(A, b), solvers.Direct(), throw=False)
    assert result.status == Status.NONFINITE_OUTPUT
    assert np.isfinite(result.x).all()


class _Single(spl.LinearOperator):
    """Casts to float32 inside, whatever it is given."""

    def __init__(self, d: np.ndarray) -> None:
        self.d = d.astype(np.float32)
        super().__init__(np.float32, (d.size, d.size))

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self.d * np.asarray(x).reshape(-1).astype(np.float32)

    _rmatvec = _matvec


def test_an_operator_that_computes_in_single_precision_cannot_certify_in_double() -> None:
    A = from_scipy(_Single(np.linspace(1, 2, 20)), traits={Trait.POSITIVE})
    with pytest.raises(TypeError, match=r"expected an operator that computes in float64"):
        solve(LinearSystem(A, np.ones(20, np.float32)), solvers.CG())


class _Returns(Operator):
    def __init__(self, change: object) -> None:
        self.change = change
        super().__init__(Space((5,)), traits={Trait.POSITIVE})

    def _apply(self, x: np.ndarray) -> np.ndarray:
        return self.change(x)  # type: ignore[operator]

    _adjoint = _apply


@pytest.mark.parametrize(
    "change",
    [lambda x: x.astype(np.float32), lambda x: x[..., :-1], lambda x: x + 0j, lambda x: None,
     lambda x: x.tolist()],
)  # fmt: skip
def test_an_operator_that_returns_something_else_is_told_what_was_expected(change: object) -> None:
    with pytest.raises(TypeError, match=r"_Returns: expected a result of float64 .*, got"):
        _Returns(change)(np.ones(5))
    with pytest.raises(AssertionError, match="breaks the law"):
        check_operator(_Returns(change))


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_pylops_operators_are_solved_and_certified(dtype: str) -> None:
    import pylops

    matrix = np.diag(np.arange(1.0, 7.0)).astype(dtype)
    A = from_pylops(pylops.MatrixMult(matrix, dtype=dtype), traits={Trait.POSITIVE})
    b = np.ones(6, dtype)
    result = solve(LinearSystem(A, b), solvers.CG(), stop=Stop(rtol=1e-5))
    assert result.x.dtype == dtype
    wide = matrix.astype(np.complex128) @ result.x - b
    np.testing.assert_allclose(np.linalg.norm(wide) / np.linalg.norm(b), result.residual, atol=1e-9)


class _Wrapper(Operator):
    """An operator of the user's around another one."""

    def __init__(self, inner: Operator) -> None:
        self.inner = inner
        super().__init__(inner.domain, inner.range, traits=inner.traits)

    def _apply(self, x: np.ndarray) -> np.ndarray:
        return self.inner(x)

    def _adjoint(self, y: np.ndarray) -> np.ndarray:
        return self.inner.adjoint(y)


def test_a_wrapped_operator_follows_to_double_precision() -> None:
    wrapped = _Wrapper(Diagonal(np.linspace(1, 3, 8, dtype=np.float32)))
    check_operator(wrapped)
    assert solve(LinearSystem(wrapped, np.ones(8, np.float32)), solvers.CG(),
                 stop=Stop(rtol=1e-5)).ok  # fmt: skip


def test_tensors_outside_the_parameters_are_not_detached_silently() -> None:
    d = torch.linspace(1, 2, 5, dtype=torch.float64, requires_grad=True)

    class Hidden(Operator):
        def __init__(self) -> None:
            self.d = d
            super().__init__(Space((5,)), traits={Trait.POSITIVE})

        def _apply(self, x: torch.Tensor) -> torch.Tensor:
            return self.d * x

        _adjoint = _apply

    for A in (Hidden(), _Wrapper(Hidden()), _Wrapper(Diagonal(d))):
        for b in (torch.ones(5).double(), torch.ones(5).double().requires_grad_()):
            with pytest.raises(TypeError, match=r"outside: list it in param_names, or detach it"):
                solve(LinearSystem(A, b), solvers.CG())


@pytest.mark.parametrize("n", [2, 6, 40])
def test_weak_dominance_is_not_taken_for_definiteness(n: int, rng: np.random.Generator) -> None:
    """The signless Laplacian of a path is weakly dominant and singular."""
    A = sp.diags_array([1.0, 2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)).toarray()
    A[0, 0] = A[-1, -1] = 1.0
    b = A @ rng.standard_normal(n)  # consistent
    result = solve(LinearSystem(from_scipy(sp.csr_array(A)), b), solvers.Auto(), throw=False)
    assert "positive definite (" not in result.explain().replace("not positive definite (", "")
    assert result.ok, result.explain()
    r = b - A @ result.x
    assert np.linalg.norm(r) <= 1e-6 * np.linalg.norm(b)


def test_stagnation_is_told_for_what_it_is() -> None:
    """A method that makes no progress has found no attainable level; a false claim has."""
    cycle = np.roll(np.eye(6), 1, axis=0)
    stuck = solve(LinearSystem(from_scipy(cycle), np.eye(6)[0]), solvers.GMRES(restart=2),
                  throw=False)  # fmt: skip
    assert stuck.status == Status.STAGNATED
    assert "attainable" not in stuck.explain() and "another method" in stuck.explain()
    A = np.diag(np.linspace(1, 50, 40)).astype(np.float32)
    worn = solve(LinearSystem(from_scipy(A), np.ones(40, np.float32)), solvers.CG(),
                 stop=Stop(rtol=1e-12), throw=False)  # fmt: skip
    assert worn.status == Status.STAGNATED
    assert "attainable level in float32" in worn.explain()


def test_the_memory_of_a_multigrid_hierarchy_is_counted() -> None:
    n = 60
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    eye = sp.eye_array(n)
    A = from_scipy(sp.csr_array(sp.kron(line, eye) + sp.kron(eye, line)))
    assert solvers.AMG()(A).nbytes > 1.2 * A.nbytes


class Bounding(Nonlinear):
    """x − 1 = 0, with a bound of its norm that is `loose` times as large, and cheap."""

    distance_is_bound = True

    def __init__(self, loose: float) -> None:
        super().__init__(lambda x: x - 1, Space((4,)), np.zeros(4))
        self.loose, self.sharp = loose, 0

    def distance(self, x: Any) -> np.ndarray:
        return self.loose * self.norm(x - 1)

    def measure(self, x: Any, scale: np.ndarray | None = None) -> tuple[np.ndarray, Any]:
        self.sharp += 1
        return super().measure(x, scale)

    def to(self, *, dtype: Any) -> Bounding:
        return self


class Claim(NamedTuple):
    x: Any
    estimate: np.ndarray
    flag: int = 0


@dataclass(frozen=True)
class Claiming(Solver):
    """Leaves so much of the error, and says that nothing is left."""

    left: float

    def init(self, problem: Any, x0: Any, rng: Any) -> Claim:
        return Claim(np.zeros(4) if x0 is None else x0, np.ones(()))

    def advance(self, state: Claim, k: int) -> Claim:
        return Claim(1 + self.left * (state.x - 1), np.zeros(()))


def test_a_cheap_bound_decides_that_another_round_follows() -> None:
    problem = Bounding(2.0)
    result = solve(problem, Claiming(0.1), stop=Stop(rtol=1e-6))
    assert result.ok and result.restarts >= 5
    assert problem.sharp == 1  # as the solve began


def test_a_cheap_bound_does_not_decide_that_a_solve_has_failed() -> None:
    problem = Bounding(1e9)
    result = solve(problem, Claiming(1e-9), stop=Stop(rtol=1e-6), throw=False)
    assert result.status == Status.CONVERGED and problem.sharp == 2


class Vague(L1):
    """Its proximal operator is off, and says by how much."""

    off: Any = 0.0

    def prox_within(self, x: Any, step: float) -> tuple[Any, np.ndarray]:
        return self.prox(x, step) + self.off, np.linalg.norm(self.off)


def test_what_a_proximal_operator_leaves_open_counts_as_residual(rng) -> None:
    space = Space((6,))
    prior = Vague(0.5, space)
    problem = InverseProblem(Dense(np.eye(6)), space.random(rng), Gaussian(1.0), prior)
    x = space.random(rng)
    true = problem.residual(x)
    prior.off = -problem.step * true  # as if x were the minimum
    assert problem.measure(x)[0] == pytest.approx(np.linalg.norm(true), rel=1e-12)
