"""Scale, batch, library and place of the data make no difference, and inputs are never modified."""

from __future__ import annotations

import math
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

import solvers
from sciml import LeastSquares, LinearSystem, Status, Stop, solve
from sciml.arrays import device_of, dtype_of, namespace, to_numpy
from sciml.operators import Dense
from sciml.testing import Kind, random_system
from tests.faults._promises import (
    DTYPES,
    KRYLOV,
    TRAITS,
    ended_truly,
    hard_system,
    is_single,
    statuses,
)
from tests.laws.cases import LIKE, NUMPY
from tests.laws.methods import METHODS


def _tolerance(dtype: Any) -> float:
    return 1e-4 if is_single(dtype) else 1e-8


@pytest.mark.parametrize("name", METHODS)
def test_scale_is_no_matter(name: str, rng: np.random.Generator) -> None:
    """A and b by random factors up to 10^±145 (float64) and 10^±15 (float32): same steps ± 1."""
    method = METHODS[name]
    corners = [(1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)]
    for case in range(10):
        dtype = np.dtype(DTYPES[case % 4])
        stop = Stop(rtol=_tolerance(dtype), max_iters=2_000)
        reach = 145 if stop.rtol < 1e-6 else 15
        at = corners[case] if case < len(corners) else rng.uniform(-1, 1, 2)
        if abs(at[0] - at[1]) > 1:  # x itself must be representable
            at = (at[0], at[0])
        # Powers of two: rounding is the same, so nothing but overflow can make a difference.
        p, q = (2.0 ** round(math.log2(10) * reach * part) for part in at)
        problem = random_system(method.kind, n=16, dtype=dtype, rng=rng)
        A, b = problem.A.params["matrix"], problem.b
        moved = LinearSystem(
            Dense((A * p).astype(dtype), traits=TRAITS[method.kind]), (b * q).astype(dtype)
        )
        base = solve(problem, method.solver, stop=stop)
        result = solve(moved, method.solver, stop=stop, throw=False)
        assert result.status == Status.CONVERGED, f"{p:.1e}, {q:.1e}: {result.explain()}"
        assert abs(int(result.iterations) - int(base.iterations)) <= 1, f"{p:.1e}, {q:.1e}"


@pytest.mark.parametrize("solver", [solvers.LSQR(), solvers.LSMR()], ids=lambda s: s.name)
def test_scale_is_no_matter_for_least_squares(
    solver: solvers.LSQR | solvers.LSMR, rng: np.random.Generator
) -> None:
    A, b = rng.standard_normal((20, 6)), rng.standard_normal(20)
    base = solve(LeastSquares(Dense(A), b), solver)
    for p, q in ((1e140, 1.0), (1e-140, 1.0), (1.0, 1e140), (1.0, 1e-140), (1e70, 1e-70)):
        result = solve(LeastSquares(Dense(A * p), b * q), solver, throw=False)
        assert result.status == Status.CONVERGED, f"{p:.0e}, {q:.0e}: {result.explain()}"
        assert abs(int(result.iterations) - int(base.iterations)) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METHODS)
def test_trivial_systems(name: str, dtype: str, rng: np.random.Generator) -> None:
    """b = 0, an exact x0, one unknown, an empty batch; x never aliases an input."""
    method = METHODS[name]
    stop = Stop(rtol=_tolerance(dtype))
    problem = random_system(method.kind, n=8, dtype=dtype, rng=rng)
    A, b = problem.A, problem.b
    for x0 in (None, b, b * 0):
        result = solve(LinearSystem(A, b * 0), method.solver, x0=x0, stop=stop)
        assert result.iterations == 0 and result.residual == 0 and not result.x.any()
        assert x0 is None or not np.shares_memory(result.x, x0)
    beside = solve(
        LinearSystem(A, np.stack([b * 0, b])), method.solver, x0=np.stack([b, b]), stop=stop
    )
    assert beside.iterations[0] == 0 and beside.residual[0] == 0 and not beside.x[0].any()
    exact = np.ones(8, dtype)
    reached = solve(LinearSystem(A, A(exact)), method.solver, x0=exact, stop=stop)
    assert reached.iterations == 0 and reached.x.tobytes() == exact.tobytes()
    assert not np.shares_memory(reached.x, exact)
    one = random_system(method.kind, n=1, dtype=dtype, rng=rng)
    result = solve(one, method.solver, stop=stop)
    assert not ended_truly(result, one.A.params["matrix"], one.b, stop.rtol)
    identity = LinearSystem(Dense(np.eye(8, dtype=dtype), traits=TRAITS[method.kind]), b)
    result = solve(identity, method.solver, stop=stop)
    assert not np.shares_memory(result.x, b) and not result.restarts
    np.testing.assert_allclose(result.x, b, rtol=stop.rtol, atol=stop.rtol)
    empty = solve(LinearSystem(A, np.zeros((0, 8), dtype)), method.solver, stop=stop)
    assert empty.x.shape == (0, 8) and empty.ok and empty.applies.A == 0
    assert empty.explain()


@pytest.mark.parametrize("name", METHODS)
def test_inputs_are_never_modified(name: str, rng: np.random.Generator) -> None:
    """Hashes of A, b, x0 before and after, for ends of every kind; read-only arrays are taken."""
    method = METHODS[name]

    def press(look: Any) -> None:
        raise KeyboardInterrupt

    for dtype in DTYPES:
        rtol = _tolerance(dtype)
        ends = (Stop(rtol=rtol), Stop(rtol=0.0, max_iters=25), Stop(max_iters=1), None)
        for end in ends:
            problem = random_system(method.kind, n=12, dtype=dtype, rng=rng)
            arrays = [problem.A.params["matrix"], problem.b, problem.b * 0.5]
            for array in arrays:
                array.flags.writeable = False
            before = [sha256(a.tobytes()).hexdigest() for a in arrays]
            observe = press if end is None else None
            kept = solve(
                problem, method.solver, x0=arrays[2], stop=end, throw=False, observe=observe
            )
            assert [sha256(a.tobytes()).hexdigest() for a in arrays] == before
            assert not any(np.shares_memory(kept.x, a) for a in arrays)
            assert kept.x.flags.writeable
            kept.x[...] = 0  # the answer is the caller's to change
            assert [sha256(a.tobytes()).hexdigest() for a in arrays] == before


@pytest.mark.parametrize(
    ("name", "library", "dtype"),
    [
        (name, library, dtype)
        for name, method in KRYLOV.items()
        for library in method.libraries
        if library != NUMPY
        for dtype in DTYPES
    ],
)
def test_libraries_agree(name: str, library: str, dtype: str) -> None:
    """After 20 steps x agrees with NumPy's to 100 eps, in its own dtype, library and place."""
    method = KRYLOV[name]
    kind = {"kind": method.kind, "n": 40, "condition": 4.0, "dtype": dtype}
    stop = Stop(rtol=0.0, max_iters=20)
    base = random_system(rng=np.random.default_rng(5), **kind)
    other = random_system(rng=np.random.default_rng(5), like=LIKE[library], **kind)
    assert np.array_equal(to_numpy(other.b), base.b)
    here = solve(base, method.solver, stop=stop, throw=False)
    there = solve(other, method.solver, stop=stop, throw=False)
    assert namespace(there.x) is namespace(other.b)
    assert device_of(there.x) == device_of(other.b)
    assert dtype_of(there.x) == np.dtype(dtype)
    gap = np.linalg.norm(to_numpy(there.x) - here.x) / np.linalg.norm(here.x)
    assert gap <= 100 * np.finfo(dtype).eps, f"{gap / np.finfo(dtype).eps:.0f} eps"


@pytest.mark.parametrize("batch", [(0,), (1,), (7,), (2, 3)], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_its_members(
    name: str, batch: tuple[int, ...], rng: np.random.Generator
) -> None:
    """Members that hold NaN, are zero, or are hard spoil no other and are called by their name."""
    method = METHODS[name]
    members = math.prod(batch)
    stop = Stop(rtol=1e-8, max_iters=400)
    problem = hard_system(method.kind, 10, np.full(max(members, 2), 8.0), np.float64, rng)
    A, b = problem.A.params["matrix"][:members], problem.b[:members].copy()
    A = A if method.batched else problem.A.params["matrix"][0]
    bad, zero = (members > 1) * 1, (members > 2) * 2
    if bad:
        b[bad, 3] = np.nan
    if zero:
        b[zero] = 0
    shaped = A.reshape(*batch, 10, 10) if method.batched else A
    system = LinearSystem(Dense(shaped, traits=TRAITS[method.kind]), b.reshape(*batch, 10))
    result = solve(system, method.solver, stop=stop, throw=False)
    x, ends = result.x.reshape(members, 10), statuses(result)
    assert result.x.shape == (*batch, 10) and np.shape(result.status) == batch
    for i in range(members):
        if bad and i == bad:
            assert ends[i] == Status.NONFINITE_INPUT
            continue
        own = A[i] if method.batched else A
        alone = solve(
            LinearSystem(Dense(own, traits=TRAITS[method.kind]), b[i]),
            method.solver,
            stop=stop,
            throw=False,
        )
        assert ends[i] == alone.status, f"member {i}: {ends[i]!r}, alone {alone.status!r}"
        if alone.status != Status.CONVERGED:
            assert method.kind is Kind.GENERAL and name == "BiCGStab"
            continue
        steps = int(np.reshape(result.iterations, -1)[i])
        assert abs(steps - int(alone.iterations)) <= 1, f"member {i}"
        assert np.linalg.norm(own @ x[i] - b[i]) <= stop.rtol * np.linalg.norm(b[i]) * (1 + 1e-6)
    if zero:
        assert not x[zero].any()


def test_an_indefinite_member_spoils_no_other(rng: np.random.Generator) -> None:
    problem = hard_system(Kind.POSITIVE, 10, np.full(7, 20.0), np.float64, rng)
    A = problem.A.params["matrix"].copy()
    A[4] *= -1
    A[4, 0, 0] += 5
    A[4] = (A[4] + A[4].T) / 2
    system = LinearSystem(Dense(A, traits=TRAITS[Kind.POSITIVE]), problem.b)
    for solver in (solvers.CG(), solvers.FlexibleCG()):
        result = solve(system, solver, throw=False)
        assert (result.status[[0, 1, 2, 3, 5, 6]] == Status.CONVERGED).all()
        assert result.status[4] == Status.INDEFINITE
        steady = replace(Stop(), max_iters=int(max(result.iterations)))
        assert solve(problem, solver, stop=steady).ok
