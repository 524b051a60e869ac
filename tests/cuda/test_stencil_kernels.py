"""Kernels of grids and vectors, run block by block on the host, against those of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciml import LinearSystem, Space, Stop, Trait, solve
from sciml.kernels import cuda
from sciml.operators import Dense, Diffusion, NodalDiffusion, Side
from sciml.testing import check_operator
from solvers import CG, Jacobi
from tests.cuda._shim import Syncs

SHAPES = [(1, 7), (7, 1), (33, 20), (17, 130), (1, 1, 3), (5, 6, 40), (20, 9, 3), (34, 2, 33)]
SIDES = [
    Side.DIRICHLET,
    Side.NEUMANN,
    Side.PERIODIC,
    (Side.DIRICHLET, Side.NEUMANN),
]
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 4e-15}


def _field(rng, shape, dtype, contrast=4.0):
    return np.exp(contrast * rng.standard_normal(shape)).astype(dtype)


def _close(found, expected, dtype):
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= TOLERANCE[np.dtype(dtype)] * scale


def _sides(side, ndim):
    return side if isinstance(side, Side) else [side] * ndim


def _agrees(host, A, x, b, p):
    """All forms of the product, for two members, with those of the CPU."""
    ndim = A.domain.ndim
    form = A._on_device(x)
    _close(form.product(host, A.k, x), A(x), x.dtype)
    _close(form.residual(host, A.k, x, b), b - A(x), x.dtype)
    squares = ((b - A(x)) ** 2).reshape(2, -1).sum(axis=1)
    np.testing.assert_allclose(form.misfit(host, A.k, x, b), squares, rtol=1e-13)
    beta = np.array([0.7, -2.0])
    step, Astep, inner = form.search(host, A.k, x, beta, p)
    expected = x + beta.reshape(2, *(1,) * ndim) * p
    np.testing.assert_allclose(step, expected, rtol=1e-14, atol=1e-14)
    _close(Astep, A(expected), x.dtype)
    products = (expected * A(expected)).reshape(2, -1).sum(axis=1)
    np.testing.assert_allclose(inner, products, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("side", SIDES, ids=str)
def test_cells_are_those_of_the_cpu(host, shape, side, rng):
    ndim = len(shape)
    solid = rng.random(shape) < 0.2 if min(shape) > 1 else None
    A = Diffusion(
        _field(rng, shape, np.float64), ndim=ndim, boundary=_sides(side, ndim), solid=solid
    )
    x, b, p = rng.standard_normal((3, 2, *shape))
    _agrees(host, A, x, b, p)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nodes_are_those_of_the_cpu(host, shape, rng):
    ndim = len(shape)
    A = NodalDiffusion(_field(rng, [n + 1 for n in shape], np.float64), ndim=ndim)
    x, b, p = rng.standard_normal((3, 2, *shape))
    _agrees(host, A, x, b, p)


@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [Diffusion, NodalDiffusion])
def test_k_of_each_member_and_of_another_precision(host, kind, real, stored, rng):
    cells = (3, 9, 14)
    shape = cells if kind is Diffusion else (3, 8, 13)
    A = kind(_field(rng, cells, stored), ndim=2).to(dtype=real)
    x = rng.standard_normal((3, *shape[1:])).astype(real)
    _close(A._on_device(x).product(host, A.k, x), A(x), real)


def test_long_walks_are_in_pieces_of_few_planes(host, rng):
    A = Diffusion(_field(rng, (70, 3, 5), np.float64), ndim=3, boundary=Side.PERIODIC)
    x = rng.standard_normal((70, 3, 5))
    form = A._on_device(x)
    assert form._pieces(1) == (16, 5) and form._pieces(4096) == (70, 1)
    _close(form.product(host, A.k, x), A(x), x.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 255), (3, 1000), (2, 5000)], ids=str)
def test_vectors_are_those_of_numpy(host, shape, dtype, rng):
    x, r, p, q = rng.standard_normal((4, *shape)).astype(dtype)
    alpha = rng.standard_normal(shape[0]).astype(dtype)
    x_new, r_new, square = cuda.vectors.descend(host, x, r, p, q, alpha)
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(x_new, x + alpha[:, None] * p, rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(r_new, r - alpha[:, None] * q, rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(square, (r_new**2).sum(axis=1), rtol=10 * tolerance)
    z = cuda.vectors.add_scaled(host, x, alpha, p)
    np.testing.assert_allclose(z, x + alpha[:, None] * p, rtol=0, atol=10 * tolerance)
    inner = cuda.vectors.inner(host, x, y := np.abs(p))
    np.testing.assert_allclose(inner, (x * y).sum(axis=1), atol=100 * tolerance * shape[1] ** 0.5)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(1, 1), (3, 300)], ids=str)
def test_complex_inner_products(host, shape, dtype, rng):
    x, y = Space(shape, np.dtype(dtype)).random(rng), Space(shape, np.dtype(dtype)).random(rng)
    found = cuda.vectors.inner(host, x, y)
    assert found.dtype == dtype
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    error = abs(found - np.vecdot(x, y)) / size
    assert error.max() < TOLERANCE[found.real.dtype]


# -- through the package, as on a GPU --------------------------------------------------------


def _torch(A):
    return A.to(xp=torch)


@pytest.mark.parametrize("kind", [Diffusion, NodalDiffusion])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_operators_keep_their_laws_by_kernels(rehearsal, kind, batch, rng):
    A = _torch(kind(_field(rng, (*batch, 6, 7), np.float64, 1.0), ndim=2))
    check_operator(A, like=torch.zeros(1), rng=rng)
    assert set(rehearsal.launched) & {"cells", "nodes"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("members", [None, 3])
def test_cg_runs_by_kernels_alone_and_is_certified(rehearsal, members, dtype, rng):
    shape = (12, 15)
    batch = () if members is None else (members,)
    A = Diffusion(_field(rng, shape, dtype, 1.0), ndim=2)
    b = rng.standard_normal((*batch, *shape)).astype(dtype)
    stop = Stop(rtol=1e-5)
    expected = solve(LinearSystem(A, b), CG(), stop=stop)
    found = solve(LinearSystem(_torch(A), torch.from_numpy(b)), CG(), stop=stop)
    assert np.all(found.ok)
    assert np.all(abs(np.subtract(found.iterations, expected.iterations)) <= 16)
    x, wide = found.x.numpy().astype(np.float64), A.to(dtype=np.float64)
    for rest, member in zip((b - wide(x)).reshape(-1, 180), b.reshape(-1, 180), strict=True):
        assert np.linalg.norm(rest) <= 1.0001e-5 * np.linalg.norm(member)  # by the CPU's operator
    counts = {k: rehearsal.launched.count(k) for k in set(rehearsal.launched)}
    assert counts["cells_search"] == counts["descend"] - found.restarts - 1
    assert counts["cells_misfit"] >= 1


def test_preconditioned_cg_takes_the_same_steps(rehearsal, rng):
    A = NodalDiffusion(_field(rng, (13, 13), np.float64, 1.0))
    b = rng.standard_normal((12, 12))
    stop = Stop(rtol=1e-8, check_every=1)
    expected = solve(LinearSystem(A, b), CG(M=Jacobi()), stop=stop)
    found = solve(LinearSystem(_torch(A), torch.from_numpy(b)), CG(M=Jacobi()), stop=stop)
    assert found.ok and found.iterations == expected.iterations
    np.testing.assert_allclose(found.history, expected.history, rtol=1e-6)


def test_complex_systems_run_by_kernels(rehearsal, rng):
    n = 12
    M = Space((n, n), np.dtype(np.complex128)).random(rng)
    A = Dense(M @ M.conj().T / n + np.eye(n), traits={Trait.POSITIVE})
    b = A.range.random(rng, (2,))
    expected = solve(LinearSystem(A, b), CG(), stop=Stop(rtol=1e-10))
    found = solve(LinearSystem(_torch(A), torch.from_numpy(b)), CG(), stop=Stop(rtol=1e-10))
    assert {"descend", "add_scaled", "inner_complex"} <= set(rehearsal.launched)
    np.testing.assert_allclose(found.x.numpy(), expected.x, rtol=1e-7)


def test_gradients_go_the_differentiable_way(rehearsal, rng):
    k = torch.from_numpy(_field(rng, (5, 6), np.float64)).requires_grad_()
    A = Diffusion(k)
    y = A(torch.ones(5, 6, dtype=torch.float64))
    assert y.requires_grad and not rehearsal.launched
    assert Trait.POSITIVE in A.traits


@pytest.mark.parametrize("M", [None, Jacobi()])
def test_no_step_between_looks_waits_for_the_device(rehearsal, M, rng):
    A = _torch(Diffusion(_field(rng, (20, 20), np.float64, 1.0)))
    problem = LinearSystem(A, torch.from_numpy(rng.standard_normal((20, 20))))
    solver = CG(M=M).prepare(problem)
    state = solver.init(problem, None)
    with Syncs() as syncs:
        state = solver.advance(state, 16)
        between = syncs.count
        float(state.estimate)
    assert between == 0 and syncs.count == 1
