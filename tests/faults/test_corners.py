"""Corners of batches, reuse and foreign inputs where an answer or a word could go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch

import solvers
from sciml import LeastSquares, LinearSystem, SolveError, Status, Stop, solve
from sciml.adapters import from_scipy
from sciml.operators import Dense, Diagonal, Sparse
from sciml.testing import Kind, random_system
from solvers.krylov.gmres import GMRES
from solvers.krylov.spectrum import extreme_eigenvalues


@pytest.mark.parametrize("solver", [solvers.LSQR(), solvers.LSMR(), solvers.Auto()], ids=repr)
@pytest.mark.parametrize("size", [1e-163, 1e-170, 1e-140, 1e140])
def test_least_squares_of_tiny_and_huge_systems_do_not_lie(size: float, solver: Any) -> None:
    A, b = np.diag([1.0, 2.0, 3.0]) * size, np.array([1.0, 2.0, 3.0]) * size
    result = solve(LeastSquares(Dense(A), b), solver, stop=Stop(rtol=1e-10), throw=False)
    if result.status == Status.CONVERGED:
        np.testing.assert_allclose(result.x, np.ones(3), rtol=1e-8)
    else:
        assert size**2 < 1e-300 and result.status == Status.NONFINITE_INPUT
        assert "vanishes" in result.explain()


def test_a_matrix_hermitian_to_rounding_keeps_its_own_adjoint(rng: np.random.Generator) -> None:
    """Sparse and dense: <Ax, y> = <x, A^H y> to the last digits, though A - A^H is not zero."""
    skew = rng.standard_normal((20, 20)) * 1e-14
    matrix = np.ones((20, 20)) + np.diag(np.arange(20.0)) + skew - skew.T
    for A in (from_scipy(sp.csr_array(matrix)), from_scipy(matrix)):
        x = rng.standard_normal(20)
        np.testing.assert_allclose(A.adjoint(x), matrix.T @ x, rtol=0, atol=2e-14)
        np.testing.assert_allclose(A.H.dense(), matrix.T, rtol=0, atol=0)


def test_masked_arrays_and_matrices_are_refused() -> None:
    masked = np.ma.masked_array(np.ones(4), [0, 1, 0, 0])
    with pytest.raises(TypeError, match="MaskedArray"):
        LinearSystem(Dense(2 * np.eye(4)), masked)
    with pytest.raises(TypeError, match="matrix"):
        Dense(np.matrix(np.eye(3)))


def test_the_gradient_of_a_failed_solve_is_refused() -> None:
    k = torch.linspace(1, 100, 30, dtype=torch.float64).requires_grad_()
    problem = LinearSystem(Diagonal(k), torch.ones(30, dtype=torch.float64))
    result = solve(problem, solvers.CG(), stop=Stop(max_iters=5), throw=False)
    assert result.status == Status.MAX_ITERS
    with pytest.raises(SolveError):
        result.x[3].backward()


@pytest.mark.parametrize("zero", ["all", "one"])
def test_a_zero_right_hand_side_has_its_gradient(zero: str) -> None:
    k = torch.linspace(1, 2, 6, dtype=torch.float64).requires_grad_()
    b = torch.ones(3, 6, dtype=torch.float64)
    b[0 if zero == "one" else slice(None)] = 0.0
    b.requires_grad_()
    x = solve(LinearSystem(Diagonal(k), b), solvers.CG(), stop=Stop(rtol=1e-10)).x
    x.sum().backward()
    torch.testing.assert_close(b.grad, (1 / k).detach().expand(3, 6), rtol=1e-8, atol=0)
    wanted = (-b / k**2).sum(dim=0).detach()
    torch.testing.assert_close(k.grad, wanted, rtol=1e-8, atol=1e-12)


class _Pretends(spl.LinearOperator):
    """Declares float64 and computes in float32."""

    def __init__(self) -> None:
        super().__init__(np.float64, (8, 8))

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return 2 * np.asarray(x).astype(np.float32)

    _rmatvec = _matvec


def test_a_declared_precision_is_not_believed() -> None:
    with pytest.raises(TypeError, match="computes in float64"):
        solve(LinearSystem(from_scipy(_Pretends()), np.ones(8)), solvers.GMRES())


def test_auto_takes_batches_of_singular_systems(rng: np.random.Generator) -> None:
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(10, 10)).tolil()
    line[0, 0] = line[-1, -1] = 1.0
    b = rng.standard_normal((3, 10))
    b -= b.mean(axis=1, keepdims=True)
    result = solve(LinearSystem(from_scipy(sp.csr_array(line)), b), solvers.Auto())
    assert result.ok
    b[1] += 1.0
    told = solve(LinearSystem(from_scipy(sp.csr_array(line)), b), solvers.Auto(), throw=False)
    assert [s.ok for s in told.status] == [True, False, True]


def test_one_matrix_of_a_batch_spoils_no_other_at_set_up(rng: np.random.Generator) -> None:
    spread = np.linspace(1, 50, 30)
    values = np.stack([np.ones(30), spread, -spread])
    A, b = Diagonal(values, ndim=1), rng.standard_normal((3, 30))
    low, high = extreme_eigenvalues(LinearSystem(A, b))
    np.testing.assert_allclose(high, [1, 50, -1], rtol=1e-6)
    np.testing.assert_allclose(low, [1, 1, -50], rtol=1e-6)
    result = solve(LinearSystem(A, b), solvers.Chebyshev(), throw=False)
    assert [s.ok for s in result.status[:2]] == [True, True] and not result.status[2].ok
    values = values.copy()
    values[2] = 0.0
    jacobi = solve(LinearSystem(Diagonal(values, ndim=1), b), solvers.CG(M=solvers.Jacobi()),
                   throw=False)  # fmt: skip
    assert [s.ok for s in jacobi.status] == [True, True, False]


def test_chebyshevs_bounds_belong_to_the_matrix(rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng)
    many = LinearSystem(problem.A, rng.standard_normal((3, 30)))
    ready = solvers.Chebyshev().prepare(many)
    assert solve(problem, ready).ok


def test_nan_in_a_shared_matrix_is_everybodys_and_costs_nothing() -> None:
    matrix = np.eye(3)
    matrix[1, 1] = np.nan
    result = solve(LinearSystem(Dense(matrix), np.ones((3, 3))), solvers.GMRES(), throw=False)
    assert set(result.status) == {Status.NONFINITE_INPUT}
    assert result.applies.A == 0


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_older_states_of_gmres_stay_valid(kind: str, rng: np.random.Generator) -> None:
    problem = random_system(Kind.GENERAL, rng=rng, dtype=kind, condition=1e3)
    solver = GMRES()
    older = solver.advance(solver.init(problem, None), 3)
    fresh = solver.advance(older, 1)
    solver.advance(older, 5)
    again = solver.advance(older, 1)
    np.testing.assert_array_equal(again.estimate, fresh.estimate)
    np.testing.assert_array_equal(again.x, fresh.x)


def test_minres_does_not_give_up_on_ill_conditioned_single_precision(
    rng: np.random.Generator,
) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng, n=100, condition=1e5, dtype=np.float32)
    assert solve(problem, solvers.MINRES(), stop=Stop(rtol=1e-3, max_iters=5_000)).ok


def test_auto_chooses_anew_for_another_operator(rng: np.random.Generator) -> None:
    first = random_system(Kind.POSITIVE, rng=rng)
    ready = solve(first, solvers.Auto()).solver
    assert solve(LinearSystem(first.A, first.b + 1), ready).seconds.setup < 0.01
    general = random_system(Kind.GENERAL, rng=rng)
    told = solve(general, ready)
    assert told.ok and "not Hermitian" in told.explain()
    other = random_system(Kind.POSITIVE, rng=rng, n=41)
    assert solve(other, ready).ok
    least = LeastSquares(Dense(rng.standard_normal((9, 4))), rng.standard_normal(9))
    assert "least-squares" in solve(least, ready).explain()


def test_a_recipe_that_returns_no_preconditioner_is_refused(rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng)
    with pytest.raises(TypeError, match=r"a recipe that returns an Operator, got None"):
        solve(problem, solvers.CG(M=lambda A: None))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a preconditioner from"):
        solve(problem, solvers.CG(M=lambda A: Diagonal(np.ones(7))))


def test_duplicates_of_a_torch_matrix_are_summed() -> None:
    csr = torch.sparse_csr_tensor(
        torch.tensor([0, 2, 3, 5]), torch.tensor([0, 0, 2, 2, 1]),
        torch.tensor([1.0, 2.0, 5.0, 4.0, 3.0]), size=(3, 3),
    )  # fmt: skip
    A = Sparse(csr)
    np.testing.assert_array_equal(A.assemble().toarray(), [[3, 0, 0], [0, 0, 5], [0, 3, 4]])
    np.testing.assert_array_equal(A.diagonal(), [3, 0, 4])


def test_read_only_and_strided_inputs_are_taken(rng: np.random.Generator) -> None:
    A = from_scipy(sp.csr_array(np.diag(np.arange(1.0, 9.0))))
    wide = rng.standard_normal((8, 2))
    for b in (np.broadcast_to(wide[:, 0].copy(), (3, 8)), wide[:, 0], np.asfortranarray(wide).T):
        given = b.copy()
        x = solve(LinearSystem(A, b), solvers.CG()).x
        np.testing.assert_allclose(x * np.arange(1.0, 9.0), given, rtol=1e-5)


def test_words_are_about_what_happened(rng: np.random.Generator) -> None:
    b = np.ones((2, 4))
    b[1, 0] = np.nan
    told = solve(LinearSystem(Diagonal(np.full(4, 2.0)), b), solvers.CG(), throw=False).explain()
    assert "overflows" not in told and "residual nan" not in told
    singular = from_scipy(sp.csr_array(np.diag([1.0, 0.0])))
    failed = solve(LinearSystem(singular, np.ones(2)), solvers.Direct(), throw=False).explain()
    assert "Set-up met a pivot" in failed and "was evaluated in" not in failed
    with pytest.raises(TypeError, match=r"cast it, for example with .astype\('float64'\)"):
        LinearSystem(Diagonal(np.ones(3)), np.ones(3, dtype=int))


@pytest.mark.parametrize("symmetry", ["general", "symmetric"])
def test_matrix_market_patterns_are_read(symmetry: str, tmp_path: Any) -> None:
    from sciml.io import read_system

    path = tmp_path / "pattern.mtx"
    banner = f"%%MatrixMarket matrix coordinate pattern {symmetry}\n"
    path.write_text(banner + "3 3 4\n1 1\n2 2\n3 3\n3 1\n")
    wanted = np.eye(3)
    wanted[2, 0] = 1
    if symmetry == "symmetric":
        wanted[0, 2] = 1
    found: Any = read_system(path).matrix
    np.testing.assert_array_equal(found.toarray(), wanted)


def test_a_solver_in_the_benchmark_is_not_set_up_on_the_real_right_hand_side() -> None:
    from sciml.datasets import ConDiffConfig, draw_condiff
    from solvers.bench import Method, run_condiff

    seen: list[np.ndarray] = []

    class Curious(solvers.CG):
        def prepare(self, problem: Any) -> Any:
            seen.append(problem.b.copy())
            return super().prepare(problem)

    config = ConDiffConfig.from_name("cubic0.1_grid16")
    report = run_condiff([config], samples=2, methods=[Method("curious", Curious())], warmup=False)
    assert report.rows()[0].solved == 2
    real = draw_condiff(config, 2, seed=0).rhs
    before_the_solve = seen[::2]  # `solve` calls it again, on the solve's clock
    assert len(seen) >= 4 and len(seen) % 2 == 0
    assert not any(np.array_equal(b, r) for b in before_the_solve for r in real)
