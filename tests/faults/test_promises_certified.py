"""CONVERGED is true; stagnation is told at the attainable level; x is never worse than x0."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import solvers
from sciml import LeastSquares, LinearSystem, Status, Stop, Trait, solve
from sciml.operators import Dense, Sparse
from sciml.testing import Kind
from tests.faults._promises import (
    DTYPES,
    KRYLOV,
    TRAITS,
    hard_system,
    judged,
    relative,
    statuses,
    system_for,
)
from tests.laws.methods import METHODS


def _false_claims(count: int, rng: np.random.Generator) -> tuple[int, Counter[str]]:
    """(CONVERGED members whose judged residual is too large, statuses of at least `count`)."""
    false, ends, turn = 0, Counter[str](), 0
    names = list(METHODS)
    while ends.total() < count:
        method, dtype = METHODS[names[turn % len(names)]], DTYPES[(turn // len(names)) % 4]
        turn += 1
        n, rtol = int(rng.integers(5, 61)), float(10 ** rng.uniform(-12, -3))
        members = 8 if method.batched else 1
        problem = hard_system(method.kind, n, 10 ** rng.uniform(0, 12, members), dtype, rng)
        A, b = problem.A.params["matrix"], problem.b
        if not method.batched and turn % 2:  # the same matrix in sparse form
            from scipy.sparse import csr_array

            problem = LinearSystem(Sparse(csr_array(A), traits=TRAITS[method.kind]), b)
        stop = Stop(rtol=rtol, max_iters=3 * n)
        result = solve(problem, method.solver, stop=stop, throw=False)
        found, rounding = judged(A, b, result.x)
        target = rtol * np.linalg.norm(b.astype(np.complex128), axis=-1)
        claims = statuses(result) == Status.CONVERGED
        false += int((claims & np.atleast_1d(found > target + rounding)).sum())
        ends.update(s.name for s in statuses(result))
        assert np.isfinite(result.x).all()
        report = np.atleast_1d(result.residual * np.linalg.norm(b, axis=-1))
        assert (abs(report - found) <= rounding + 1e-6 * found).all(), "another residual is told"
    return false, ends


def test_converged_is_true(rng: np.random.Generator) -> None:
    """2,000 solves of condition 1 to 1e12, most of them harder than their precision allows."""
    false, ends = _false_claims(2_000, rng)
    assert false == 0
    assert ends["CONVERGED"] > 300 and ends["STAGNATED"] > 150, f"the cases prove little: {ends}"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(10))
def test_converged_is_true_50_000_times(seed: int) -> None:
    false, ends = _false_claims(5_000, np.random.default_rng(seed))
    assert false == 0, ends


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", [solvers.LSQR(), solvers.LSMR()], ids=lambda s: s.name)
def test_converged_is_true_for_least_squares(
    solver: solvers.LSQR | solvers.LSMR, dtype: str, rng: np.random.Generator
) -> None:
    """||A^H (b - A x)|| by NumPy in complex128, for tall A of condition 1 to 1e6."""
    ends: Counter[str] = Counter()
    for _ in range(25):
        n, condition = int(rng.integers(5, 30)), 10 ** rng.uniform(0, 6)
        top = hard_system(Kind.GENERAL, n, np.array([condition]), dtype, rng)
        more = hard_system(Kind.GENERAL, n, np.array([condition]), dtype, rng)
        A = np.concatenate([top.A.params["matrix"], more.A.params["matrix"]])
        b = np.concatenate([top.b, more.b])
        rtol = float(10 ** rng.uniform(-10, -3))
        stop = Stop(rtol=rtol, max_iters=6 * n)
        result = solve(LeastSquares(Dense(A), b), solver, stop=stop, throw=False)
        wide, rhs, x = (v.astype(np.complex128) for v in (A, b, result.x))
        found = np.linalg.norm(wide.conj().T @ (rhs - wide @ x))
        target = rtol * np.linalg.norm(wide.conj().T @ rhs)
        if result.status == Status.CONVERGED:
            assert found <= target * (1 + 1e-6) + 1e-14 * np.linalg.norm(rhs)
        ends[result.status.name] += 1
    assert ends["CONVERGED"] >= 5, ends


def test_where_scipy_reports_a_success_that_is_none() -> None:
    """SciPy's cg stops on the recursive residual: info = 0 at 1,000 times the tolerance."""
    from scipy.sparse.linalg import cg

    rtol, draw = 1e-5, np.random.default_rng(0)
    problem = hard_system(Kind.POSITIVE, 60, np.array([1e6]), np.float32, draw)
    A, b = problem.A.params["matrix"], problem.b
    x, info = cg(A, b, rtol=rtol, maxiter=20_000)
    assert info == 0 and x.dtype == np.float32
    assert relative(A, b, x) > 1_000 * rtol

    result = solve(problem, solvers.CG(), stop=Stop(rtol=rtol, max_iters=20_000), throw=False)
    assert result.status == Status.STAGNATED
    assert result.residual == pytest.approx(relative(A, b, result.x), rel=1e-6)
    assert "believed" in result.explain() or result.estimate > rtol


def test_stagnation_is_told_at_the_attainable_level(rng: np.random.Generator) -> None:
    """In float32 b - A x cannot be made smaller than rounding x makes it: eps ||A|| ||x||."""
    methods = [solvers.CG(), solvers.MINRES(), solvers.GMRES(restart=100), solvers.Direct()]
    told = 0
    for case in range(200):
        n, condition = int(rng.integers(10, 40)), 10 ** rng.uniform(0, 4)
        problem = hard_system(Kind.POSITIVE, n, np.array([condition]), np.float32, rng)
        A, b = problem.A.params["matrix"], problem.b
        solver = methods[case % len(methods)]
        stop = Stop(rtol=1e-12, max_iters=40 * n)
        result = solve(problem, solver, stop=stop, throw=False)
        exact = np.linalg.solve(A.astype(np.float64), b.astype(np.float64))
        attainable = relative(A, b, exact.astype(np.float32))
        if result.status == Status.STAGNATED:
            told += 1
            assert result.residual <= 3 * attainable, (solver, condition, attainable)
            assert result.residual == pytest.approx(relative(A, b, result.x), rel=1e-4)
            assert "attainable" in result.explain()
        else:
            assert result.status == Status.MAX_ITERS, result.status
    assert told >= 150, f"only {told} stagnated"


@pytest.mark.parametrize("name", KRYLOV)
def test_the_best_iterate_is_returned(name: str, rng: np.random.Generator) -> None:
    """16 problems each, up to 200 steps, from a rough and from a good x0: never worse than x0."""
    method = KRYLOV[name]
    for case in range(16):
        dtype = DTYPES[case % 4]
        problem = system_for(method, 20, 10 ** rng.uniform(1, 9), dtype, rng)
        A, b = problem.A.params["matrix"], problem.b
        exact = np.linalg.solve(A.astype(np.complex128), b.astype(np.complex128))
        exact = exact if problem.domain.is_complex else exact.real
        error = 10 ** rng.uniform(-7, 1) * rng.standard_normal(exact.shape)
        x0 = (exact * (1 + error)).astype(dtype)
        stop = Stop(rtol=0.0, max_iters=int(rng.integers(1, 201)))
        result = solve(problem, method.solver, x0=x0, stop=stop, throw=False)
        before, rounding = judged(A, b, x0)
        after, more = judged(A, b, result.x)
        assert after <= before * (1 + 1e-6) + rounding + more, f"{before:.2e} -> {after:.2e}"
        assert result.iterations <= (stop.max_iters or 0)


def test_a_diverging_method_returns_its_start(rng: np.random.Generator) -> None:
    """Chebyshev told a wrong spectrum blows up; the answer does not."""
    for _ in range(20):
        problem = hard_system(Kind.POSITIVE, 20, np.array([50.0]), np.float64, rng)
        A, b = problem.A.params["matrix"], problem.b
        x0 = rng.standard_normal(20)
        wrong = solvers.Chebyshev(bounds=(0.1, 0.2))
        stop = Stop(max_iters=int(rng.integers(1, 2_000)))
        result = solve(problem, wrong, x0=x0, stop=stop, throw=False)
        assert result.status in (Status.DIVERGED, Status.MAX_ITERS)
        assert relative(A, b, result.x) <= relative(A, b, x0) * (1 + 1e-12)


def test_a_worse_x_is_not_taken(rng: np.random.Generator) -> None:
    """float32 CG on condition 1e8 claims success at an x far worse than x0 = 0, which stays."""
    refused = 0
    for _ in range(10):
        problem = hard_system(Kind.POSITIVE, 60, np.array([1e8]), np.float32, rng)
        stop = Stop(rtol=1e-3, max_iters=5_000)
        result = solve(problem, solvers.CG(), stop=stop, throw=False)
        found = relative(problem.A.params["matrix"], problem.b, result.x)
        assert found <= 1 + 1e-6 and result.residual == pytest.approx(found, rel=1e-6)
        refused += not result.x.any()
    assert refused >= 1, "no claim was false enough: this proves nothing"


def test_the_best_step_counts_and_not_the_last(rng: np.random.Generator) -> None:
    """CG's residual goes up and down: what is returned is the lowest seen, not the last."""
    ups = 0
    for _ in range(20):
        problem = hard_system(Kind.POSITIVE, 40, np.array([1e6]), np.float64, rng)
        for limit in range(1, 30, 3):
            stop = Stop(rtol=1e-12, max_iters=limit)
            result = solve(problem, solvers.CG(), stop=stop, throw=False)
            lowest = result.history.min()
            ups += result.history[-1] > 2 * lowest
            assert result.residual <= lowest * (1 + 1e-6)
    assert ups > 20, "the residual never went up: this proves nothing"


def test_one_member_at_its_best_while_another_goes_on(rng: np.random.Generator) -> None:
    """Members of a batch reach their lowest residual at different steps."""
    problem = hard_system(Kind.POSITIVE, 40, np.array([10.0, 1e3, 1e5, 1e7]), np.float64, rng)
    A, b = problem.A.params["matrix"], problem.b
    for limit in range(1, 40, 4):
        stop = Stop(rtol=1e-10, max_iters=limit)
        together = solve(problem, solvers.CG(), stop=stop, throw=False)
        lowest = together.history.min(axis=0)
        assert (together.residual <= lowest * (1 + 1e-6) + 1e-14).all()
        for i in range(4):
            alone = LinearSystem(Dense(A[i], traits={Trait.POSITIVE}), b[i])
            single = solve(alone, solvers.CG(), stop=stop, throw=False)
            assert together.residual[i] == pytest.approx(single.residual, rel=1e-3, abs=1e-13)


def test_all_members_may_improve_after_they_parted(rng: np.random.Generator) -> None:
    """A batch of easy members whose residuals wobble: each is solved as it is alone."""
    for _ in range(30):
        problem = hard_system(Kind.POSITIVE, 10, np.full(7, 20.0), np.float64, rng)
        result = solve(problem, solvers.CG())
        found, _ = judged(problem.A.params["matrix"], problem.b, result.x)
        assert (found <= 1e-6 * np.linalg.norm(problem.b, axis=-1)).all()
        assert result.restarts == 0 and (result.iterations <= 11).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_can_be_exact_is(dtype: str, rng: np.random.Generator) -> None:
    """The correction equation is scaled by powers of two: the identity gives b, bit by bit."""
    for scale in (1.0, 3.7e-12, 2.9e12):
        b = (scale * rng.standard_normal(9)).astype(dtype)
        identity = Dense(np.eye(9, dtype=dtype), traits={Trait.POSITIVE})
        for solver in (solvers.CG(), solvers.Direct()):
            result = solve(LinearSystem(identity, b), solver, stop=Stop(rtol=0.0))
            assert result.x.tobytes() == b.tobytes() and result.residual == 0
            assert result.iterations == 1


def test_a_recurrence_is_not_believed_without_end(rng: np.random.Generator) -> None:
    """rtol = 0 ends as soon as refinement brings nothing, not at the limit."""
    for dtype in DTYPES:
        problem = hard_system(Kind.POSITIVE, 20, np.array([30.0]), dtype, rng)
        result = solve(problem, solvers.CG(), stop=Stop(rtol=0.0, max_iters=5_000), throw=False)
        assert result.status == Status.STAGNATED and result.iterations < 300
        assert result.residual < 100 * np.finfo(dtype).eps


def test_the_certificate_survives_what_overflows_when_squared(rng: np.random.Generator) -> None:
    """Entries of 1e200 and of 1e-200: the residual told is a number, and the right one."""
    for scale in (1e200, 1e-200):
        b = scale * rng.standard_normal(9)
        system = LinearSystem(Dense(np.diag(np.arange(1.0, 10)), traits={Trait.POSITIVE}), b)
        result = solve(system, solvers.CG())
        expected = np.linalg.norm((b - system.A(result.x)) / scale) / np.linalg.norm(b / scale)
        assert result.residual == pytest.approx(expected, rel=1e-6, abs=1e-15)
