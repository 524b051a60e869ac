"""Laws of solvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import Array, dtype_of, namespace, to_numpy
from ..problem import LinearSystem
from ..result import Result, SolveError, SolveInterrupted, Status, Stop
from ..solve import Look, solve
from ..solver import Solver
from ._refusals import check_refused
from ._systems import FailingOperator, Kind, random_system

__all__ = ["SOLVER_LAWS", "SolverCase", "check_solver"]


@dataclass(frozen=True)
class SolverCase:
    """A solver and the systems it is tested on.

    Attributes:
        solver: not prepared.
        kind: what it asks of A.
        dtype: of the systems. like: an array of the library they are in; NumPy if None.
        rtol: what it must reach on a system of condition 30 (default: 1e-8, or 1e-4 in single).
        batched: whether it takes a different A per member; else one right-hand side per member.
        scale_free: False for a method whose parameters depend on the size of A.
    """

    solver: Solver
    kind: Kind = Kind.POSITIVE
    dtype: np.dtype = np.dtype(np.float64)
    like: Array | None = None
    rtol: float | None = None
    batched: bool = True
    scale_free: bool = True

    @property
    def stop(self) -> Stop:
        """The tolerance asked for."""
        single = np.finfo(self.dtype).eps > 1e-10
        return Stop(rtol=self.rtol or (1e-4 if single else 1e-8), max_iters=2_000)

    def system(self, rng: np.random.Generator, **how: Any) -> LinearSystem:
        """A random system of this case's kind; see `random_system`."""
        batch = how.get("batch", ())
        if batch and not self.batched:
            alone = random_system(self.kind, rng=rng, dtype=self.dtype, like=self.like)
            many = random_system(self.kind, rng=rng, dtype=self.dtype, like=self.like, batch=batch)
            return LinearSystem(alone.A, many.b)
        how = {"dtype": self.dtype, "like": self.like, **how}
        return random_system(self.kind, rng=rng, **how)


Law = Callable[[SolverCase, np.random.Generator], None]


def check_solver(case: SolverCase | Solver, *, rng: np.random.Generator | None = None) -> None:
    """Test every law of `SOLVER_LAWS`.

    Args:
        case: a solver with the systems it suits; a bare solver is tested on positive definite
            float64 systems.
        rng: draws the systems; a fixed seed if not given.

    Raises:
        AssertionError: a law does not hold; the message names it.
    """
    case = SolverCase(case) if isinstance(case, Solver) else case
    for name, law in SOLVER_LAWS.items():
        try:
            law(case, np.random.default_rng(0) if rng is None else rng)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            told = f"{case.solver!r} breaks the law '{name}': {kind}{error}"
            raise AssertionError(told) from error


def true_residual(problem: LinearSystem, x: Array) -> np.ndarray:
    """||b - A x|| / ||b|| per member, by NumPy alone in complex128."""
    A = np.asarray(to_numpy(problem.A.params["matrix"])).astype(np.complex128)
    b, x = (np.asarray(to_numpy(v)).astype(np.complex128) for v in (problem.b, x))
    r = b - (A @ x[..., None])[..., 0]
    return np.linalg.norm(r, axis=-1) / np.linalg.norm(b, axis=-1)


def _statuses(result: Result) -> list[Status]:
    return list(np.atleast_1d(np.asarray(result.status, dtype=object)).reshape(-1))


def certified(case: SolverCase, rng: np.random.Generator) -> None:
    """It converges, and CONVERGED means that the true residual is within the tolerance.

    Also where the driver looks only every 16 steps, as on a GPU, and so steps past convergence.
    """
    for condition, every in ((1.0, 1), (30.0, 1), (1.0, 16), (30.0, 16)):
        problem = case.system(rng, condition=condition)
        result = solve(problem, case.solver, stop=replace(case.stop, check_every=every))
        found = true_residual(problem, result.x).max()
        assert found <= case.stop.rtol * (1 + 1e-6), f"CONVERGED at a true residual of {found:.2e}"
        assert abs(found - result.residual) <= 1e-6 * found + 1e-14, "reported another residual"


def failure_is_told(case: SolverCase, rng: np.random.Generator) -> None:
    """Too few steps end with MAX_ITERS and SolveError; the last allowed step counts."""
    problem = case.system(rng)
    full = solve(problem, case.solver, stop=case.stop)
    needed = int(full.iterations)
    for limit in sorted({0, 1, 2, needed - 1} & set(range(needed))):
        stop = replace(case.stop, max_iters=limit)
        result = solve(problem, case.solver, stop=stop, throw=False)
        assert result.status == Status.MAX_ITERS, f"limit {limit}: got {result.status!r}"
        assert result.iterations <= limit, f"took {result.iterations} of {limit} steps"
        try:
            solve(problem, case.solver, stop=stop)
        except SolveError as error:
            assert error.result.status == Status.MAX_ITERS
        else:
            raise AssertionError(f"limit {limit}: expected SolveError")
    stop = replace(case.stop, max_iters=needed)
    last = solve(problem, case.solver, stop=stop, throw=False)
    assert last.status == Status.CONVERGED, f"expected the last step to count, got {last.status!r}"


def names_nonfinite_input(case: SolverCase, rng: np.random.Generator) -> None:
    """NaN or Inf in b, A or x0 is told before any work."""
    for name in ("b", "A.matrix", "x0"):
        for value in (np.nan, np.inf):
            problem = case.system(rng)
            x0 = problem.b * 0
            target = {"b": problem.b, "A.matrix": problem.A.params["matrix"], "x0": x0}[name]
            flat = namespace(target).reshape(target, (-1,))
            flat[int(rng.integers(flat.shape[0]))] = value
            result = solve(problem, case.solver, x0=x0, stop=case.stop, throw=False)
            assert result.status == Status.NONFINITE_INPUT, f"{name}: got {result.status!r}"
            assert any(name in note for note in result.notes), f"{name} is not named"
            spent = result.applies
            assert spent.A == spent.A_H == spent.M == spent.certify == 0, f"worked: {spent}"


def catches_nan_inside(case: SolverCase, rng: np.random.Generator) -> None:
    """NaN from the operator ends it within a step, with a finite x."""
    for at in (1, 2, 3, 7, 20):
        problem = case.system(rng, condition=1e3)
        prepared = case.solver.prepare(problem)
        failing = FailingOperator(problem.A, at)
        result = solve(LinearSystem(failing, problem.b), prepared, stop=case.stop, throw=False)
        if failing.calls[0] < at:
            break
        x = to_numpy(result.x)
        assert np.isfinite(x).all(), f"call {at}: x is not finite"
        found = float(true_residual(problem, result.x))
        if result.status == Status.CONVERGED:
            assert found <= case.stop.rtol * (1 + 1e-6), f"call {at}: false CONVERGED"
        else:
            assert result.status == Status.NONFINITE_OUTPUT, f"call {at}: got {result.status!r}"
        assert failing.calls[0] <= at + 3, f"went on for {failing.calls[0] - at} calls"


def trivial_systems(case: SolverCase, rng: np.random.Generator) -> None:
    """b = 0, an exact first guess, one unknown, an empty batch."""
    problem = case.system(rng)
    zero = LinearSystem(problem.A, problem.b * 0)
    for x0 in (None, problem.b):
        result = solve(zero, case.solver, x0=x0, stop=case.stop)
        assert not to_numpy(result.x).any() and result.iterations == 0, "b = 0: expected x = 0"
    near = solve(problem, case.solver, stop=case.stop)
    again = solve(problem, case.solver, x0=near.x, stop=case.stop)
    assert again.iterations == 0, f"exact x0: took {again.iterations} steps"
    assert again.x is not near.x, "expected a copy of x0"
    one = case.system(rng, n=1)
    assert solve(one, case.solver, stop=case.stop).status == Status.CONVERGED, "n = 1"
    empty = LinearSystem(problem.A, namespace(problem.b).stack([problem.b])[:0, ...])
    result = solve(empty, case.solver, stop=case.stop)
    assert tuple(result.x.shape) == tuple(empty.b.shape) and result.ok, "empty batch"


def leaves_input_alone(case: SolverCase, rng: np.random.Generator) -> None:
    """A, b and x0 keep their bytes; x shares none of them; dtype and library are kept."""
    problem = case.system(rng)
    x0 = problem.b * 0.5
    arrays = [problem.A.params["matrix"], problem.b, x0]
    before = [to_numpy(a).tobytes() for a in arrays]
    result = solve(problem, case.solver, x0=x0, stop=case.stop)
    assert [to_numpy(a).tobytes() for a in arrays] == before, "an input was modified"
    assert dtype_of(result.x) == case.dtype, f"expected {case.dtype}, got {dtype_of(result.x)}"
    assert namespace(result.x) is namespace(problem.b), "expected x in b's library"
    if isinstance(result.x, np.ndarray):
        assert not any(np.shares_memory(result.x, a) for a in arrays), "x aliases an input"


def batch_is_loop(case: SolverCase, rng: np.random.Generator) -> None:
    """A batch ends as its members do alone; a bad member spoils no other."""
    problem = case.system(rng, batch=(4,))
    xp = namespace(problem.b)
    b = xp.stack([problem.b[i, ...] for i in range(4)])
    b[2, ...] = float("nan")
    b[3, ...] = 0.0
    result = solve(LinearSystem(problem.A, b), case.solver, stop=case.stop, throw=False)
    expected = [Status.CONVERGED, Status.CONVERGED, Status.NONFINITE_INPUT, Status.CONVERGED]
    assert _statuses(result) == expected, f"got {_statuses(result)}"
    assert not to_numpy(result.x)[3].any(), "expected x = 0 for the member with b = 0"
    matrix = problem.A.params["matrix"]
    for i in (0, 1):
        own = matrix[i, ...] if problem.A.batch_shape else matrix
        alone = LinearSystem(type(problem.A)(own, traits=problem.A.traits), b[i, ...])
        single = solve(alone, case.solver, stop=case.stop)
        gap = abs(int(single.iterations) - int(result.iterations[i]))
        # products of a batch round in another way, and in single precision Lanczos soon feels it
        most = 1 if np.finfo(case.dtype).eps < 1e-12 else max(1, int(single.iterations) // 16)
        assert gap <= most, f"member {i}: {result.iterations[i]} steps, alone {single.iterations}"
        assert true_residual(alone, result.x[i, ...]) <= case.stop.rtol * (1 + 1e-6)


def scale_invariant(case: SolverCase, rng: np.random.Generator) -> None:
    """Huge and tiny A and b take the steps that they take at 1 (give or take one)."""
    # about 1e150 and 1e15; powers of two, so that nothing but overflow can make a difference
    power = 498 if np.finfo(case.dtype).maxexp > 1000 else 50
    seed = int(rng.integers(1 << 30))
    base = solve(case.system(np.random.default_rng(seed)), case.solver, stop=case.stop)
    scales = [(0, power), (0, -power)] + [(power, 0), (-power, 0)] * case.scale_free
    for p, q in scales:
        how = {"scale_A": 2.0**p, "scale_b": 2.0**q}
        problem = case.system(np.random.default_rng(seed), **how)
        result = solve(problem, case.solver, stop=case.stop, throw=False)
        told = f"A times 2^{p}, b times 2^{q}"
        assert result.status == Status.CONVERGED, f"{told}: got {result.status!r}"
        gap = abs(int(result.iterations) - int(base.iterations))
        assert gap <= 1, f"{told}: {result.iterations} steps instead of {base.iterations}"


def never_worse_than_x0(case: SolverCase, rng: np.random.Generator) -> None:
    """However few the steps, the returned x is no worse than x0."""
    for limit in (1, 2, 3, 5, 10):
        problem = case.system(rng, condition=1e4)
        exact = np.linalg.solve(
            np.asarray(to_numpy(problem.A.params["matrix"])), np.asarray(to_numpy(problem.b))
        )
        noise = 0.1 * rng.standard_normal(exact.shape)
        xp = namespace(problem.b)
        x0 = xp.asarray((exact * (1 + noise)).astype(case.dtype))
        stop = replace(case.stop, max_iters=limit, rtol=0.0)
        result = solve(problem, case.solver, x0=x0, stop=stop, throw=False)
        before, after = true_residual(problem, x0), true_residual(problem, result.x)
        assert after <= before * (1 + 1e-6), f"{limit} steps: from {before:.2e} to {after:.2e}"


def setup_serves_again(case: SolverCase, rng: np.random.Generator) -> None:
    """The result's solver solves another right-hand side, and A^H x = b, without set-up."""
    problem = case.system(rng)
    ready = solve(problem, case.solver, stop=case.stop).solver
    other = LinearSystem(problem.A, problem.b * 2 + 1)
    result = solve(other, ready, stop=case.stop)
    assert true_residual(other, result.x) <= case.stop.rtol * (1 + 1e-6)
    back = LinearSystem(problem.A.H, problem.b)
    result = solve(back, ready.adjoint(), stop=case.stop)
    r = to_numpy(back.b) - to_numpy(back.A(result.x))
    limit = case.stop.rtol * np.linalg.norm(to_numpy(back.b)) * (1 + 1e-3)
    assert np.linalg.norm(r) <= limit, "the adjoint system is not solved"


def interrupts_cleanly(case: SolverCase, rng: np.random.Generator) -> None:
    """Ctrl-C gives INTERRUPTED and the best x so far."""
    problem = case.system(rng, condition=1e3)
    needed = int(solve(problem, case.solver, stop=case.stop, throw=False).iterations)
    for at in {0, min(2, needed - 1)}:

        def press(look: Look, at: int = at) -> None:
            if look.iteration == at:
                raise KeyboardInterrupt

        try:
            solve(problem, case.solver, stop=case.stop, observe=press)
        except SolveInterrupted as error:
            result = error.result
            assert isinstance(error, KeyboardInterrupt)
            assert result.status == Status.INTERRUPTED, f"got {result.status!r}"
            assert float(true_residual(problem, result.x)) <= 1 + 1e-6
        else:
            raise AssertionError("expected SolveInterrupted")


def operator_errors_pass(case: SolverCase, rng: np.random.Generator) -> None:
    """An exception from the operator (no memory, a lost device) reaches the caller as it is."""
    problem = case.system(rng)
    prepared = case.solver.prepare(problem)
    before = to_numpy(problem.b).tobytes()
    for at in (1, 2, 5):
        failing = FailingOperator(problem.A, at, MemoryError("no room"))
        try:
            solve(LinearSystem(failing, problem.b), prepared, stop=case.stop)
        except MemoryError as error:
            assert str(error) == "no room"
        else:
            assert failing.calls[0] < at, "expected MemoryError"
        assert to_numpy(problem.b).tobytes() == before
    assert solve(problem, prepared, stop=case.stop).ok, "a failure left something behind"


def same_answer_twice(case: SolverCase, rng: np.random.Generator) -> None:
    """Two runs give the same bytes, and the global random state is untouched."""
    problem = case.system(rng)
    state = np.random.get_state()[1].tobytes()  # type: ignore[union-attr]
    first, second = (
        solve(problem, case.solver, stop=case.stop, rng=np.random.default_rng(1)) for _ in range(2)
    )
    assert to_numpy(first.x).tobytes() == to_numpy(second.x).tobytes(), "two runs differ"
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[union-attr]


def refuses_bad_calls(case: SolverCase, rng: np.random.Generator) -> None:
    """Arguments of wrong type or shape raise TypeError or ValueError before any work."""
    problem = case.system(rng)
    n = problem.b.shape[-1]
    wrong = np.float32 if np.dtype(case.dtype).itemsize > 8 or case.dtype == "f8" else np.float64
    bad: Iterator[Callable[[], object]] = iter(
        [
            lambda: solve(problem.A, case.solver),  # type: ignore[arg-type]
            lambda: solve(problem, type(case.solver)),  # type: ignore[arg-type]
            lambda: solve(problem, case.solver, stop=1e-6),  # type: ignore[arg-type]
            lambda: solve(problem, case.solver, x0=problem.b[: n - 1]),
            lambda: solve(problem, case.solver, x0=[0.0] * n),
            lambda: solve(problem, case.solver, x0=np.zeros(n, wrong)),
            lambda: LinearSystem(problem.A, problem.b[: n - 1]),
            lambda: LinearSystem(problem.A, None),
            lambda: Stop(rtol=-1.0),
            lambda: Stop(rtol=float("nan")),
            lambda: Stop(max_iters=-1),
            lambda: Stop(check_every=0),
        ]
    )
    check_refused(bad)


SOLVER_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        certified,
        failure_is_told,
        names_nonfinite_input,
        catches_nan_inside,
        trivial_systems,
        leaves_input_alone,
        batch_is_loop,
        scale_invariant,
        never_worse_than_x0,
        setup_serves_again,
        interrupts_cleanly,
        operator_errors_pass,
        same_answer_twice,
        refuses_bad_calls,
    )
}
