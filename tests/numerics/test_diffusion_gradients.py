"""Gradients of the diffusion operators with respect to k, and their threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sciml.operators.diffusion import Diffusion, NodalDiffusion
from tests.numerics._diffusion import (
    D,
    N,
    P,
    close,
    field,
)

# -- gradients ------------------------------------------------------------------------------------

OPERATORS = {
    "dirichlet": lambda k: Diffusion(k, ndim=2, spacing=(0.3, 0.4)),
    "mixed": lambda k: Diffusion(k, ndim=2, boundary=(P, (N, D))),
    "ring of two": lambda k: Diffusion(k[..., :2, :1], ndim=2, boundary=P),
    "neumann 3-D": lambda k: Diffusion(k[..., None], ndim=3, boundary=(N, D, N)),
    "nodal": lambda k: NodalDiffusion(k, ndim=2),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_vjp_is_the_slope_along_a_line(name, rng):
    k = field(rng, (4, 5), contrast=0.5)
    make = OPERATORS[name]
    A = make(k)
    x, ybar = rng.standard_normal((2, 3, *A.domain.shape))
    direction = rng.standard_normal(k.shape)
    grad = A.vjp_params(x, ybar)["k"]
    assert grad.shape == A.k.shape
    along = make(direction + 10).k - 10  # the part of k that the operator takes, in its shape
    step = 1e-5
    up, down = make(k + step * direction), make(k - step * direction)
    slope = ((up(x) - down(x)) * ybar).sum() / (2 * step)
    assert (grad * along).sum() == pytest.approx(slope, rel=1e-6, abs=1e-6 * np.abs(grad).max())


@pytest.mark.parametrize("k_batch", [(), (3,), (2, 1)])
@pytest.mark.parametrize("name", OPERATORS)
def test_vjp_is_what_autograd_finds(name, k_batch, rng):
    k = torch.from_numpy(field(rng, (*k_batch, 4, 5), contrast=1.0))
    A = OPERATORS[name](k)
    batch = np.broadcast_shapes(k_batch, (2, 3))
    x, ybar = torch.from_numpy(rng.standard_normal((2, *batch, *A.domain.shape)))
    leaf = A.k.clone().requires_grad_()
    y = A._with_arrays(lambda _: leaf)(x)
    (want,) = torch.autograd.grad(y, leaf, ybar)
    got = A.vjp_params(x, ybar)["k"]
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11 * float(want.abs().max()))


@pytest.mark.parametrize("form", ["cells", "nodes"])
def test_torch_path_passes_gradcheck(form, rng):
    solid = rng.random((3, 4)) < 0.3
    k = torch.from_numpy(field(rng, (2, 3, 4), contrast=0.5)).requires_grad_()
    shape = (3, 4) if form == "cells" else (2, 3)
    x = torch.from_numpy(rng.standard_normal((2, *shape))).requires_grad_()

    def run(k, x):
        if form == "nodes":
            return NodalDiffusion(k, ndim=2)(x)
        # x is 0 in solid cells, where the diagonal counts as a constant
        return Diffusion(k, ndim=2, boundary=((D, N), P), solid=solid)(x * torch.tensor(~solid))

    assert torch.autograd.gradcheck(run, (k, x))


def test_what_is_solid_stays_solid(rng):
    solid = rng.random((4, 5)) < 0.4
    k, x = field(rng, (4, 5)), rng.standard_normal((4, 5))
    A = Diffusion(k, solid=solid)
    np.testing.assert_array_equal(A._with_arrays(lambda p: p + 1e-3 * (p == 0))(x), A(x))
    there = A.to(xp=torch).to(dtype=np.float32).to(xp=np)
    close(there(x.astype(np.float32)), A(x), np.float32)


def test_solid_cells_get_no_gradient(rng):
    solid = rng.random((4, 5)) < 0.4
    A = Diffusion(field(rng, (4, 5)), solid=solid)
    x, ybar = rng.standard_normal((2, 4, 5))
    grad = A.vjp_params(x, ybar)["k"]
    assert (grad[solid] == 0).all() and (grad[~solid] != 0).any()


def test_torch_transforms_are_never_detached(rng):
    k, x = (torch.from_numpy(field(rng, (4, 5), contrast=0.5)) for _ in range(2))
    A = Diffusion(k)
    torch.testing.assert_close(torch.func.grad(lambda v: (v * A(v)).sum())(x), 2 * A(x))
    torch.testing.assert_close(torch.func.jvp(A, (x,), (x,))[1], A(x))
    torch.testing.assert_close(torch.func.vmap(A)(x.expand(3, 4, 5))[2], A(x))
    assert A(x.requires_grad_()).requires_grad
    with torch.no_grad():
        assert not A(x).requires_grad


# -- threads and processes ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 257), (12, 60, 70)], ids=str)
@pytest.mark.parametrize("side", [D, P])
def test_result_does_not_depend_on_threads(shape, side, rng):
    import numba

    k, x = field(rng, shape), rng.standard_normal(shape)
    forms = [
        Diffusion(k, ndim=len(shape), boundary=side),
        NodalDiffusion(field(rng, tuple(n + 1 for n in shape)), ndim=len(shape)),
    ]
    most = numba.get_num_threads()
    try:
        for A in forms:
            numba.set_num_threads(1)
            alone = A(x)
            numba.set_num_threads(most)
            np.testing.assert_array_equal(A(x), alone)
            close(alone, A._generic(x), np.float64)
    finally:
        numba.set_num_threads(most)


def test_eight_threads_may_apply_at_once(rng):
    A = Diffusion(field(rng, (8, 200, 210)), ndim=2)
    x = rng.standard_normal((8, 200, 210))
    want = A(x)
    with ThreadPoolExecutor(8) as pool:
        for y in pool.map(lambda _: A(x), range(32)):
            np.testing.assert_array_equal(y, want)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NUMBA_NUM_THREADS": "2", **environment},
    )


def test_threads_take_turns_on_a_layer_that_aborts_otherwise():
    done = run_python(
        """
        from concurrent.futures import ThreadPoolExecutor
        import numba
        import numpy as np
        from sciml.operators.diffusion import Diffusion
        A = Diffusion(np.ones((400, 400)))
        x = np.random.default_rng(0).standard_normal((400, 400))
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: A(x), range(64)))
        assert all((y == found[0]).all() for y in found)
        print(numba.threading_layer())
        """,
        NUMBA_THREADING_LAYER="workqueue",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "workqueue"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_runs_serially():
    done = run_python(
        """
        import os
        import numpy as np
        from sciml.operators.diffusion import Diffusion
        A = Diffusion(np.ones((400, 400)))
        x = np.random.default_rng(0).standard_normal((400, 400))
        want = A(x)
        child = os.fork()
        if child == 0:
            os._exit(0 if (A(x) == want).all() else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0", done.stderr


def test_import_loads_no_compiler():
    done = run_python(
        """
        import sys
        import sciml.operators.diffusion
        print(sorted({"numba", "scipy", "torch"} & set(sys.modules)))
        """
    )
    assert done.stdout.strip() == "[]", done.stderr
