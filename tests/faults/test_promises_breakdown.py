"""CG detects an indefinite A or M; singular systems and breakdowns end with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import solvers
from sciml import LinearSystem, Solver, Status, Stop, Trait, solve
from sciml.operators import Dense, Diagonal, Sparse
from tests.faults._promises import DTYPES, ended_truly, is_single, judged
from tests.laws.methods import METHODS

# What a method may end with where no answer exists; never a false success (see `ended_truly`).
REASONS = (
    Status.STAGNATED,
    Status.BREAKDOWN,
    Status.INDEFINITE,
    Status.DIVERGED,
    Status.MAX_ITERS,
    Status.NONFINITE_OUTPUT,  # a recurrence that grows until A overflows
)


def _spectrum(values: np.ndarray, dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    """A Hermitian matrix with these eigenvalues."""
    n = values.size
    Q = rng.standard_normal((n, n))
    if dtype.kind == "c":
        Q = Q + 1j * rng.standard_normal((n, n))
    Q = np.linalg.qr(Q)[0]
    A = (Q * values) @ Q.conj().T
    return ((A + A.conj().T) / 2).astype(dtype)


def _indefinite(n: int, dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    """At least one eigenvalue from -1 to -0.01, the others from 0.01 to 1."""
    values = 10 ** rng.uniform(-2, 0, n)
    values[: int(rng.integers(1, n))] *= -1
    return _spectrum(values, dtype, rng)


SPD_METHODS = {
    "CG": solvers.CG(),
    "CG Jacobi": solvers.CG(M=solvers.Jacobi()),
    "FlexibleCG": solvers.FlexibleCG(truncate=100),
}


@pytest.mark.parametrize("name", SPD_METHODS)
def test_cg_sees_an_indefinite_matrix(name: str, rng: np.random.Generator) -> None:
    """100 matrices each: INDEFINITE, unless b was reached before the curvature was met."""
    ends: Counter[str] = Counter()
    for case in range(100):
        dtype = np.dtype(DTYPES[case % 4])
        n = int(rng.integers(2, 30))
        A = _indefinite(n, dtype, rng)
        b = rng.standard_normal(n).astype(dtype)
        rtol = 1e-3 if is_single(dtype) else 1e-9
        problem = LinearSystem(Dense(A, traits={Trait.HERMITIAN}), b)
        result = solve(problem, SPD_METHODS[name], stop=Stop(rtol=rtol), throw=False)
        fault = ended_truly(result, A, b, rtol, Status.INDEFINITE)
        assert not fault, f"case {case}, n = {n}: {fault}"
        ends[result.status.name] += 1
    assert ends["INDEFINITE"] >= 90, ends


@pytest.mark.parametrize("kind", [solvers.CG, solvers.MINRES])
def test_an_indefinite_preconditioner_is_seen(kind: type, rng: np.random.Generator) -> None:
    """100 preconditioners each, with a definite A."""
    ends: Counter[str] = Counter()
    for case in range(100):
        dtype = np.dtype(DTYPES[case % 4])
        n = int(rng.integers(3, 30))
        A = _spectrum(10 ** rng.uniform(-1, 0, n), dtype, rng)
        b = rng.standard_normal(n).astype(dtype)
        rtol = 1e-3 if is_single(dtype) else 1e-9
        if case % 2:
            M = Dense(_indefinite(n, dtype, rng), traits={Trait.HERMITIAN})
        else:
            values = rng.standard_normal(n)
            values[0] = -abs(values[0])
            M = Diagonal(values.astype(dtype))
        problem = LinearSystem(Dense(A, traits={Trait.POSITIVE}), b)
        result = solve(problem, kind(M=M), stop=Stop(rtol=rtol), throw=False)
        fault = ended_truly(result, A, b, rtol, Status.INDEFINITE)
        assert not fault, f"case {case}, n = {n}: {fault}"
        ends[result.status.name] += 1
    assert ends["INDEFINITE"] >= 85, ends


@pytest.mark.parametrize("kind", [solvers.CG, solvers.MINRES])
def test_a_negative_preconditioner_is_seen_at_once(kind: type, rng: np.random.Generator) -> None:
    """-I would let CG solve a definite system all the same: it is refused at the first product."""
    A = _spectrum(10 ** rng.uniform(-1, 0, 10), np.dtype(np.float64), rng)
    problem = LinearSystem(Dense(A, traits={Trait.POSITIVE}), rng.standard_normal(10))
    result = solve(problem, kind(M=Diagonal(-np.ones(10))), throw=False)
    assert result.status == Status.INDEFINITE and result.iterations == 0


def test_chebyshev_is_not_set_up_on_an_indefinite_matrix(rng: np.random.Generator) -> None:
    for _ in range(50):
        A = _indefinite(12, np.dtype(np.float64), rng)
        problem = LinearSystem(Dense(A, traits={Trait.HERMITIAN}), rng.standard_normal(12))
        result = solve(problem, solvers.Chebyshev(), throw=False)
        assert result.status == Status.BREAKDOWN and not result.x.any()
        assert "positive definite" in result.explain()


def test_a_semidefinite_matrix_is_no_false_alarm(rng: np.random.Generator) -> None:
    """CG solves a consistent singular system: rounding's curvature of the null space is not met."""
    for _ in range(20):
        values = np.concatenate([[0.0], 10 ** rng.uniform(-1, 0, 19)])
        A = _spectrum(values, np.dtype(np.float64), rng)
        b = A @ rng.standard_normal(20)
        problem = LinearSystem(Dense(A, traits={Trait.POSITIVE}), b)
        assert not ended_truly(solve(problem, solvers.CG()), A, b, 1e-6)


# -- singular and breakdown matrices, by name ---------------------------------------------------

N = 12
ONE = np.ones(N)
E1, EN = np.eye(N)[0], np.eye(N)[-1]
RAMP = np.arange(N) - (N - 1) / 2
RANDOM = np.random.default_rng(7).standard_normal((N, N))
CYCLE = np.roll(np.eye(N), 1, axis=0)
JORDAN = np.eye(N, k=1)
NEUMANN = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1)
NEUMANN[0, 0] = NEUMANN[-1, -1] = 1
RING = 2 * np.eye(N) - CYCLE - CYCLE.T
SKEW = np.eye(N, k=1) - np.eye(N, k=-1)
SWAP = np.kron(np.eye(N // 2), np.array([[0.0, 1.0], [1.0, 0.0]]))
TWINS = RANDOM.copy()
TWINS[3] = TWINS[7]
RANK1 = np.outer(RAMP, RAMP)
PROJECTION = np.diag(np.r_[ONE[:6], 0 * ONE[:6]])
GRAPHS = np.kron(np.eye(2), NEUMANN[:6, :6])
GRAPHS[5, 5] = GRAPHS[11, 11] = 1
KKT = np.block([[np.eye(8), RANDOM[:8, :4]], [RANDOM[:8, :4].T, np.zeros((4, 4))]])
KKT_SINGULAR = KKT.copy()
KKT_SINGULAR[:, -1], KKT_SINGULAR[-1, :] = KKT_SINGULAR[:, -2], KKT_SINGULAR[-2, :]
KKT_SINGULAR[-2:, -2:] = 0
HILBERT = 1 / (np.arange(N)[:, None] + np.arange(N)[None, :] + 1.0)
TINY_PIVOT = np.diag(np.r_[1e-300, ONE[1:]])
WILKINSON = np.tril(-np.ones((N, N)), -1) + np.eye(N)
WILKINSON[:, -1] = 1
COMPANION = np.eye(N, k=-1)
COMPANION[0, -1] = 1e-12
OMEGA = np.eye(N)
OMEGA[:2, :2] = [[1, 1], [-1, 0]]
NEARLY_SWAP = np.eye(N)
NEARLY_SWAP[:2, :2] = [[1e-40, 1], [1, 1]]

# name: (A, b, whether A x = b has a solution)
CASES: dict[str, tuple[np.ndarray, np.ndarray, bool]] = {
    "zero": (np.zeros((N, N)), ONE, False),
    "nilpotent Jordan block, b in its range": (JORDAN, E1, True),
    "nilpotent Jordan block, b outside": (JORDAN, EN, False),
    "Jordan block of eigenvalue 1": (np.eye(N) + JORDAN, ONE, True),
    "cyclic permutation": (CYCLE, E1, True),
    "swap": (SWAP, np.eye(N)[0] + 2 * np.eye(N)[3], True),
    "minus identity": (-np.eye(N), ONE, True),
    "skew-symmetric": (SKEW, RAMP, True),
    "skew-symmetric of odd size": (np.pad(SKEW[:11, :11], (0, 1)), ONE, False),
    "rank one, consistent": (RANK1, RANK1 @ E1, True),
    "rank one, inconsistent": (RANK1, ONE, False),
    "projection, consistent": (PROJECTION, E1, True),
    "projection, inconsistent": (PROJECTION, EN, False),
    "projection, mostly consistent": (PROJECTION, E1 + 1e-3 * EN, False),
    "Neumann Laplacian, consistent": (NEUMANN, RAMP, True),
    "Neumann Laplacian, inconsistent": (NEUMANN, RAMP + 1, False),
    "Neumann Laplacian, b in the null space": (NEUMANN, ONE, False),
    "periodic Laplacian, consistent": (RING, E1 - EN, True),
    "periodic Laplacian, inconsistent": (RING, E1, False),
    "two graphs, consistent": (GRAPHS, GRAPHS @ RANDOM[0], True),
    "two graphs, inconsistent": (GRAPHS, np.r_[ONE[:6], -ONE[:6]], False),
    "duplicated rows, consistent": (TWINS, TWINS @ ONE, True),
    "duplicated rows, inconsistent": (TWINS, RAMP, False),
    "zero row and column": (np.diag(np.r_[0.0, ONE[1:]]), ONE, False),
    "all ones": (np.ones((N, N)), ONE, True),
    "saddle point": (KKT, ONE, True),
    "saddle point with a repeated constraint": (KKT_SINGULAR, KKT_SINGULAR @ ONE, True),
    "saddle point, contradictory": (KKT_SINGULAR, RAMP, False),
    "Hilbert": (HILBERT, HILBERT @ ONE, True),
    "a pivot of 1e-300": (TINY_PIVOT, ONE - E1, True),
    "Wilkinson's growth": (WILKINSON, RAMP, True),
    "companion, nearly singular": (COMPANION, E1, False),
    "omega = 0 in BiCGStab": (OMEGA, E1, True),
    "<shadow, A r> of 1e-40": (NEARLY_SWAP, E1, True),
    "skew plus rank one": (SKEW + np.outer(E1, E1), ONE, True),
    "singular upper triangle": (np.triu(np.abs(RANDOM), 1), ONE, False),
}


def _system(matrix: np.ndarray, b: np.ndarray) -> LinearSystem:
    hermitian = np.array_equal(matrix, matrix.conj().T)
    traits = {Trait.HERMITIAN} if hermitian else {Trait.LINEAR}
    return LinearSystem(Dense(matrix, traits=traits), b)


def _suits(solver: Solver, problem: LinearSystem) -> bool:
    try:
        solver.check(problem)
        solver.prepare(problem)
    except (TypeError, np.linalg.LinAlgError):
        return False
    return True


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_every_method_ends_with_a_reason(name: str, dtype: str) -> None:
    """36 matrices: no NaN, no false success, no endless run, no exception but a refusal."""
    method = METHODS[name]
    limit = 500
    for told, (A, b, _) in CASES.items():
        A, b = A.astype(dtype), b.astype(dtype)
        problem = _system(A, b)
        try:
            method.solver.check(problem)
        except TypeError:
            continue  # a method for Hermitian matrices
        try:
            result = solve(problem, method.solver, stop=Stop(max_iters=limit), throw=False)
        except TypeError as error:
            assert "HERMITIAN" in str(error) or "Hermitian" in str(error), told
            continue
        fault = ended_truly(result, A, b, 1e-6, *REASONS)
        assert not fault, f"{told}: {fault}"
        assert result.iterations <= limit
        assert result.residual <= 1 + 1e-6, f"{told}: worse than zero"
        assert result.explain()


@pytest.mark.parametrize(
    "solver", [solvers.CG(M=solvers.Jacobi()), solvers.SmallCG()], ids=["CG", "SmallCG"]
)
def test_a_failed_set_up_ends_every_solver(solver: Solver) -> None:
    """A diagonal with a zero has no Jacobi."""
    A = np.array([[0.0, 1.0], [1.0, 0.0]])
    found = solve(_system(A, np.ones(2)), solver, throw=False)
    assert found.status is Status.BREAKDOWN and found.iterations == 0
    assert any("Set-up failed" in note for note in found.notes)


def _solves(solver: Solver, *names: str) -> None:
    for told in names:
        A, b, solvable = CASES[told]
        assert solvable
        result = solve(_system(A, b), solver, stop=Stop(max_iters=500), throw=False)
        assert result.status == Status.CONVERGED, f"{solver.name}, {told}: {result.explain()}"


HERMITIAN_SOLVABLE = [
    k for k, (A, _, ok) in CASES.items() if ok and np.array_equal(A, A.T) and k != "Hilbert"
]
SINGULAR_GMRES_FAILS = {"nilpotent Jordan block, b in its range"}


def test_minres_solves_what_is_solvable() -> None:
    assert len(HERMITIAN_SOLVABLE) >= 10
    _solves(solvers.MINRES(), *HERMITIAN_SOLVABLE)


@pytest.mark.parametrize("solver", [solvers.LSQR(), solvers.LSMR()], ids=lambda s: s.name)
def test_least_squares_methods_solve_what_is_solvable(solver: Solver) -> None:
    _solves(solver, *(k for k, (_, _, ok) in CASES.items() if ok and k != "Hilbert"))


def test_gmres_solves_what_is_solvable() -> None:
    """All but where the Krylov space of b holds no solution (Brown and Walker 1997)."""
    names = [k for k, (_, _, ok) in CASES.items() if ok and k not in SINGULAR_GMRES_FAILS]
    _solves(solvers.GMRES(), *names)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_solves_what_has_no_solution(name: str) -> None:
    """A residual of at least the distance of b from the range of A is reported, and no less."""
    solver = METHODS[name].solver
    for told, (A, b, solvable) in CASES.items():
        problem = _system(A, b)
        if solvable or not _suits(solver, problem):
            continue
        result = solve(problem, solver, stop=Stop(max_iters=200), throw=False)
        least = np.linalg.norm(b - A @ np.linalg.lstsq(A, b, rcond=1e-13)[0]) / np.linalg.norm(b)
        if least > 1e-6:
            assert result.status in REASONS, f"{told}: {result.status!r}"
            rounding = judged(A, b, result.x)[1] / np.linalg.norm(b)
            assert result.residual >= least * (1 - 1e-9) - rounding, told


BREAKDOWNS: dict[str, tuple[Solver, str, Callable[[Status], bool]]] = {
    "BiCGStab on a swap: <shadow, A r> = 0": (
        solvers.BiCGStab(), "cyclic permutation", lambda s: s == Status.BREAKDOWN
    ),
    "BiCGStab on a skew matrix: omega = 0": (
        solvers.BiCGStab(), "skew-symmetric", lambda s: s in REASONS
    ),
    "BiCGStab with omega = 0": (
        solvers.BiCGStab(), "omega = 0 in BiCGStab", lambda s: s == Status.BREAKDOWN
    ),
    "BiCGStab with a vanishing <shadow, A r>": (
        solvers.BiCGStab(), "<shadow, A r> of 1e-40", lambda s: s == Status.BREAKDOWN
    ),
    "GMRES(1) on a permutation gains nothing": (
        solvers.GMRES(restart=1), "cyclic permutation", lambda s: s == Status.STAGNATED
    ),
    "GMRES(n - 1) on a permutation gains nothing": (
        solvers.GMRES(restart=N - 1), "cyclic permutation", lambda s: s == Status.STAGNATED
    ),
    "GMRES on the zero matrix": (
        solvers.GMRES(), "zero", lambda s: s == Status.BREAKDOWN
    ),
    "CG on the zero matrix": (solvers.CG(), "zero", lambda s: s == Status.INDEFINITE),
    "CG on minus identity, solved by its first step": (
        solvers.CG(), "minus identity", lambda s: s == Status.CONVERGED
    ),
    "CG on a swap": (solvers.CG(), "swap", lambda s: s == Status.INDEFINITE),
    "MINRES on the zero matrix": (
        solvers.MINRES(), "zero", lambda s: s in (Status.BREAKDOWN, Status.STAGNATED)
    ),
    "MINRES on an inconsistent system stops early": (
        solvers.MINRES(), "Neumann Laplacian, inconsistent", lambda s: s == Status.STAGNATED
    ),
    "LU of a singular matrix": (
        solvers.Direct(), "zero row and column", lambda s: s == Status.BREAKDOWN
    ),
    "LU of a nilpotent matrix": (
        solvers.Direct(), "nilpotent Jordan block, b outside", lambda s: s == Status.BREAKDOWN
    ),
}  # fmt: skip


@pytest.mark.parametrize("told", BREAKDOWNS)
def test_a_breakdown_is_called_by_its_name(told: str) -> None:
    solver, case, expected = BREAKDOWNS[told]
    A, b, _ = CASES[case]
    result = solve(_system(A, b), solver, stop=Stop(max_iters=500), throw=False)
    assert expected(result.status), result.explain()
    assert result.iterations <= 3 * N, "it went on for long"


@pytest.mark.parametrize("told", [k for k in BREAKDOWNS if not k.startswith("LU")])
def test_a_breakdown_in_a_batch_has_the_same_name(told: str) -> None:
    """Beside a member that is solved at once, and one that is solved later."""
    solver, case, _ = BREAKDOWNS[told]
    A, b, _ = CASES[case]
    matrices = np.stack([A, np.eye(N), np.diag(np.arange(1.0, N + 1))])
    hermitian = np.array_equal(A, A.T)
    traits = {Trait.HERMITIAN} if hermitian else {Trait.LINEAR}
    system = LinearSystem(Dense(matrices, traits=traits), np.stack([b, b, np.cos(ONE) * RAMP]))
    stop = Stop(max_iters=500)
    together = solve(system, solver, stop=stop, throw=False)
    alone = solve(_system(A, b), solver, stop=stop, throw=False)
    assert together.status[0] == alone.status
    assert np.isfinite(together.x).all()
    assert together.status[1] == Status.CONVERGED


def test_minres_stops_at_a_least_squares_solution() -> None:
    """Where A r vanishes there is nothing left to do, and no null vector has crept into x."""
    for told in ("Neumann Laplacian, inconsistent", "periodic Laplacian, inconsistent"):
        A, b, _ = CASES[told]
        result = solve(_system(A, b), solvers.MINRES(), throw=False)
        assert result.status == Status.STAGNATED and result.iterations <= N
        r = b - A @ result.x
        assert np.linalg.norm(A @ r) <= 1e-10 * np.linalg.norm(r)
        assert np.linalg.norm(result.x) < 1e3


def test_a_large_singular_system_ends_well_before_the_limit() -> None:
    """MINRES on an inconsistent Neumann problem of 2,500 unknowns, near its least residual."""
    from scipy.sparse import eye_array, kron

    m = 50
    line = 2 * np.eye(m) - np.eye(m, k=1) - np.eye(m, k=-1)
    line[0, 0] = line[-1, -1] = 1
    A = Sparse((kron(line, eye_array(m)) + kron(eye_array(m), line)).tocsr())
    b = np.random.default_rng(1).standard_normal(m * m) + 0.5
    result = solve(LinearSystem(A, b), solvers.MINRES(), stop=Stop(max_iters=20_000), throw=False)
    assert result.status == Status.STAGNATED
    assert result.iterations < 1_000
    share = abs(b.sum()) / np.linalg.norm(b) / m
    assert share * (1 - 1e-9) <= result.residual <= 1.25 * share


def test_a_recipe_that_cannot_be_set_up_is_a_breakdown() -> None:
    singular = LinearSystem(Dense(np.diag([1.0, 0.0]), traits={Trait.HERMITIAN}), np.ones(2))
    for M in (solvers.Jacobi(), solvers.SSOR(), solvers.IC0()):
        result = solve(singular, replace(solvers.CG(), M=M), throw=False)
        assert result.status == Status.BREAKDOWN
        assert "Set-up failed" in result.explain() and not result.x.any()
