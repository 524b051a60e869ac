"""A search direction in one pass equals the three passes, and memory goes round within a solve."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from sciml import LinearSystem, Stop, solve
from sciml._memory import empty, recycling
from sciml.operators import Diffusion, NodalDiffusion, Side, _faces
from solvers import CG

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC


def cases(rng: np.random.Generator) -> list[Any]:
    k = np.exp(rng.standard_normal((37, 41)))
    solid = rng.random((37, 41)) < 0.2
    cube = np.exp(rng.standard_normal((9, 11, 13)))
    return [
        Diffusion(k),
        Diffusion(k, boundary=P),
        Diffusion(k, boundary=(N, P), solid=solid),
        Diffusion(k.astype(np.float32)),
        Diffusion(cube, ndim=3, boundary=(P, D, N)),
        NodalDiffusion(k),
    ]


def test_one_pass_equals_three(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_faces, "_SEARCH_FROM", 0)
    before = numba.get_num_threads()
    for op in cases(rng):
        z, p = op.domain.random(rng, (2,))
        beta = z.dtype.type(0.3)
        bits = set()
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            x, Ax, inner = op.search(z, beta, p)
            bits.add((x.tobytes(), Ax.tobytes(), inner.tobytes()))
        numba.set_num_threads(before)
        assert len(bits) == 1
        eps = np.finfo(z.dtype).eps
        np.testing.assert_allclose(x, z + beta * p, rtol=2 * eps, atol=2 * eps)
        assert (Ax == op(x)).all()
        np.testing.assert_allclose(inner, np.vdot(x, Ax), rtol=100 * eps)


def test_a_batch_goes_the_common_way(rng: np.random.Generator) -> None:
    op = Diffusion(np.ones((400, 400)))
    z = rng.standard_normal((2, 400, 400))
    assert op.search(z, 0.5, z) is None


def test_memory_is_handed_out_again_only_when_nobody_refers_to_it() -> None:
    with recycling():
        first = empty((300, 300), np.float64)
        at = first.ctypes.data
        part = first[3:]
        del first
        assert empty((300, 300), np.float64).ctypes.data != at  # part still refers to it
        del part
        again = empty((300, 300), np.float64)
        assert again.ctypes.data == at
        assert empty((300, 300), np.float64).ctypes.data != at
        assert again.flags.writeable
    outside = empty((300, 300), np.float64)
    assert outside.base is None


def test_results_outlive_the_solve(rng: np.random.Generator) -> None:
    op = Diffusion(np.exp(rng.standard_normal((300, 300))))
    b = rng.standard_normal((300, 300))
    stop = Stop(max_iters=5)
    first = solve(LinearSystem(op, b), CG(), stop=stop, throw=False)
    kept = first.x.copy()
    solve(LinearSystem(op, 2 * b), CG(), stop=stop, throw=False)
    assert (first.x == kept).all()
