"""What a result says: words, figures, pictures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

import solvers
from sciml import LinearSystem, Look, SolveError, Status, Stop, solve
from sciml.operators import Dense
from sciml.testing import Kind, random_system


def test_every_status_has_advice_that_says_what_to_do() -> None:
    for status in Status:
        assert status.advice.endswith(".") and len(status.advice) > 30
    assert {s for s in Status if s.ok} == {Status.CONVERGED, Status.SAMPLED}


def test_explain_tells_the_residual_the_target_and_the_cost(rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng)
    result = solve(problem, solvers.CG(M=solvers.Jacobi()), stop=Stop(rtol=1e-7))
    text = result.explain()
    for part in ("CG with Jacobi", "CONVERGED", f"{result.residual:.2e}", "1.00e-07",
                 f"{result.applies.A} A", "evaluated in float64"):  # fmt: skip
        assert part in text, part
    with pytest.raises(SolveError) as failed:
        solve(problem, solvers.CG(), stop=Stop(rtol=1e-7, max_iters=3))
    assert str(failed.value) == failed.value.result.explain()
    assert Status.MAX_ITERS.advice in str(failed.value)


def test_a_batch_is_told_by_its_counts_and_its_worst_member(rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng, batch=(5,))
    b = problem.b.copy()
    b[3, 0] = np.nan
    result = solve(LinearSystem(problem.A, b), solvers.CG(), throw=False)
    assert "4 CONVERGED" in result.explain() and "1 NONFINITE_INPUT" in result.explain()
    assert result.worst == Status.NONFINITE_INPUT and not result.ok
    assert result.status.shape == result.residual.shape == (5,)


def test_the_history_is_that_of_the_looks(rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng)
    seen: list[Look] = []
    result = solve(problem, solvers.CG(), observe=seen.append)
    assert [look.iteration for look in seen] == result.looks.tolist()
    np.testing.assert_allclose([float(look.estimate) for look in seen], result.history)
    assert result.looks[0] == 0 and result.looks[-1] == result.iterations
    np.testing.assert_allclose(result.history[0], 1.0)
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(seen))


def test_the_plot_shows_the_history_the_end_and_the_target(rng: np.random.Generator) -> None:
    result = solve(random_system(Kind.POSITIVE, rng=rng), solvers.CG(), stop=Stop(rtol=1e-6))
    ax = result.plot(Figure().subplots())
    curve, end, target = ax.get_lines()
    np.testing.assert_allclose(curve.get_ydata(), result.history)
    np.testing.assert_allclose(end.get_ydata(), [result.residual])
    np.testing.assert_allclose(target.get_ydata(), [1e-6, 1e-6])
    assert ax.get_yscale() == "log" and ax.get_xlabel() == "iteration"


def test_time_limits_hold_and_are_told(rng: np.random.Generator) -> None:
    """A slow operator: the limit ends the solve within about one step."""
    import time

    problem = random_system(Kind.POSITIVE, rng=rng, n=60, condition=1e8)

    class Slow(Dense):
        def _apply(self, x: np.ndarray) -> np.ndarray:
            time.sleep(0.02)
            return super()._apply(x)

    slow = Slow(problem.A.params["matrix"], traits=problem.A.traits)
    began = time.perf_counter()
    result = solve(LinearSystem(slow, problem.b), solvers.CG(),
                   stop=Stop(rtol=1e-12, max_seconds=0.2), throw=False)  # fmt: skip
    assert result.status == Status.MAX_SECONDS
    assert time.perf_counter() - began < 2.0
    assert result.seconds.solve >= 0.2


def test_atol_is_in_the_units_of_the_residual(rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng)
    result = solve(problem, solvers.CG(), stop=Stop(rtol=0.0, atol=1e-3))
    r = problem.b - problem.A(result.x)
    assert np.linalg.norm(r) <= 1e-3
    np.testing.assert_allclose(result.target, 1e-3 / np.linalg.norm(problem.b))
