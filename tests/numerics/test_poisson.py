"""Fast Poisson solves against dense inverses, and what they do for a variable coefficient."""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np
import pytest
import torch
from scipy import fft

from sciml import LinearSystem, Status, Stop, solve
from sciml.kernels.tridiagonal import solve_columns
from sciml.operators import Diffusion, Identity, NodalDiffusion, Side
from sciml.operators._eigen import Axis, _transform, invert
from solvers import CG, Direct, FastPoisson
from tests.laws.cases import LIKE, STRICT

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
PAIRS = (D, N, P, (D, N), (N, D))
ENDS = {"D D": (2, 2), "N N": (0, 0), "D N": (2, 0), "N D": (0, 2), "nodes": (1, 1), "ring": None}


def dense(M: Any) -> np.ndarray:
    n = M.domain.size
    return M(np.eye(n).reshape(n, *M.domain.shape)).reshape(n, n).T


def pseudo_inverse(op: Any) -> np.ndarray:
    return np.linalg.pinv(op.assemble().toarray(), hermitian=True, rcond=1e-12)


def second_difference(n: int, ends: tuple[int, int] | None) -> np.ndarray:
    T = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    if ends is None:
        T[0, -1] -= 1
        T[-1, 0] -= 1
    else:
        T[0, 0] += ends[0] - 1
        T[-1, -1] += ends[1] - 1
    return T


@pytest.mark.parametrize("sides", list(itertools.product(PAIRS, PAIRS)), ids=str)
@pytest.mark.parametrize("shape", [(6, 7), (5, 1), (1, 4), (2, 9)])
def test_two_dimensions(shape: tuple[int, int], sides: Any) -> None:
    op = Diffusion(np.full(shape, 3.0), boundary=sides, spacing=(0.3, 1.7))
    wanted = pseudo_inverse(op)
    M = FastPoisson()(op)
    np.testing.assert_allclose(dense(M), wanted, atol=1e-12 * np.abs(wanted).max())
    single = FastPoisson()(
        Diffusion(np.full(shape, 3, "float32"), boundary=sides, spacing=op.spacing)
    )
    e = np.eye(op.domain.size, dtype="float32").reshape(-1, *shape)
    got = single(e)
    assert got.dtype == np.float32
    got = got.reshape(len(e), -1)
    np.testing.assert_allclose(got, wanted, atol=2e-6 * np.abs(wanted).max() + 1e-12)


@pytest.mark.parametrize("sides", [D, N, P, (D, P, N), ((N, D), (D, N), P), (P, P, D)], ids=str)
def test_three_dimensions(sides: Any) -> None:
    op = Diffusion(np.full((4, 5, 6), 0.2), ndim=3, boundary=sides, spacing=(1.0, 0.5, 0.25))
    wanted = pseudo_inverse(op)
    np.testing.assert_allclose(dense(FastPoisson()(op)), wanted, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("cells", [(7, 8), (2, 5), (4, 5, 6)])
def test_nodes(cells: tuple[int, ...]) -> None:
    op = NodalDiffusion(np.full(cells, 2.0), ndim=len(cells))
    wanted = np.linalg.inv(op.assemble().toarray())
    np.testing.assert_allclose(dense(FastPoisson()(op)), wanted, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("library", ["torch", STRICT])
@pytest.mark.parametrize("sides", [(D, N), ((N, D), P), ((D, N), D)], ids=str)
def test_other_libraries_agree(library: str, sides: Any, rng: np.random.Generator) -> None:
    b = rng.standard_normal((3, 8, 9))
    k = np.full((8, 9), 1.5)
    wanted = FastPoisson()(Diffusion(k, boundary=sides))(b)
    xp = torch if library == "torch" else LIKE[STRICT].__array_namespace__()
    got = FastPoisson()(Diffusion(xp.asarray(k), boundary=sides))(xp.asarray(b))
    np.testing.assert_allclose(np.asarray(got), wanted, atol=1e-12 * np.abs(wanted).max())


# -- the transforms that other devices use, and the elimination -----------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize(
    "kind",
    [("dst", 1), ("dst", 2), ("dct", 2), ("dst", 3), ("dct", 3), ("dst", 4), ("dct", 4)],
    ids=str,
)
def test_transforms_of_tensors_are_those_of_scipy(
    kind: tuple[str, int], n: int, dtype: str, rng: np.random.Generator
) -> None:
    name, number = kind
    x = rng.standard_normal((3, n, 2)).astype(dtype)
    if number == 3:  # SciPy's type III halves one end: type II's transpose has it whole
        x[:, -1 if name == "dst" else 0] = 0
    sine = name == "dst"
    shifts = {1: (1, 1), 2: (0.5, float(sine)), 3: (float(sine), 0.5), 4: (0.5, 0.5)}[number]
    period = n + 1 if number == 1 else n
    got = _transform(torch.from_numpy(x), -2, period, shifts, sine)
    wanted = getattr(fft, name)(x, number, axis=-2) / 2
    assert got.dtype == getattr(torch, dtype)
    tol = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(got.numpy(), wanted, atol=tol * n)


@pytest.mark.parametrize("library", ["torch", STRICT])
@pytest.mark.parametrize("first", ENDS, ids=str)
@pytest.mark.parametrize("second", ENDS, ids=str)
def test_the_way_by_eigenvectors_alone(
    first: str, second: str, library: str, rng: np.random.Generator
) -> None:
    n, factors = (5, 6), (3.0, 0.4)
    A, B = (
        f * second_difference(m, ENDS[e])
        for f, m, e in zip(factors, n, (first, second), strict=True)
    )
    wanted = np.linalg.pinv(np.kron(A, np.eye(6)) + np.kron(np.eye(5), B), rcond=1e-12)
    x = rng.standard_normal((4, *n))
    xp = torch if library == "torch" else LIKE[STRICT].__array_namespace__()
    got = invert(xp.asarray(x), (Axis(5, ENDS[first]), Axis(6, ENDS[second])), factors)
    want = (x.reshape(4, -1) @ wanted).reshape(x.shape)
    np.testing.assert_allclose(np.asarray(got), want, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 3, 40])
@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_elimination(
    ends: tuple[int, int] | None, n: int, dtype: str, rng: np.random.Generator
) -> None:
    mu = np.concatenate([[1e-9, 0.3], 4 * rng.random(75)])
    x = rng.standard_normal((2, n, 77)).astype(dtype)
    y, scale = x.copy(), np.array([2.0, 0.5])
    solve_columns(y, mu, ends, scale)
    T = second_difference(n, ends)
    wanted = np.linalg.solve(T + mu[:, None, None] * np.eye(n), np.moveaxis(x, -1, 1)[..., None])
    wanted = scale[:, None, None] * np.moveaxis(wanted[..., 0], 1, -1)
    size = np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(y - wanted) / size)[..., 1:].max() < (2e-7 if dtype == "float32" else 1e-12)
    # at mu = 1e-9 the reference itself is only good to 1e-16 / 1e-9
    assert (np.abs(y - wanted) / size)[..., 0].max() < 1e-5


@pytest.mark.parametrize("side", [N, P], ids=str)
def test_a_stretched_box_loses_no_digits(side: Side) -> None:
    """Along the long axis the eigenvalue is 1e-12 of that along the short one."""
    n = 64
    op = Diffusion(np.ones((n, n)), boundary=side, spacing=(1.0, 3e4))
    j = np.arange(n)
    wave = np.cos(np.pi * (j + 0.5) / n) if side is N else np.cos(2 * np.pi * j / n)
    value = 4 * np.sin(np.pi / n / (2 if side is N else 1)) ** 2 / 3e4**2
    v = np.tile(wave, (n, 1))
    np.testing.assert_allclose(FastPoisson()(op)(v) * value, v, atol=1e-11)


def test_bits_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    shape = (1024, 1200)  # enough for two threads in every part
    x, b = rng.standard_normal((2, *shape))
    op = Diffusion(np.ones(shape), boundary=(P, D))
    M = FastPoisson()(op)
    whole, norm = M(x), op.squared_misfit(x, b)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(M(x), whole)
        assert op.squared_misfit(x, b) == norm
    finally:
        numba.set_num_threads(before)


def test_input_is_left_alone(rng: np.random.Generator) -> None:
    for k in (np.ones((6, 8)), rng.uniform(1, 2, (6, 8))):
        for sides in ((D, D), (P, P), (D, P)):
            x = rng.standard_normal((6, 8))
            kept = x.copy()
            FastPoisson()(Diffusion(k, boundary=sides))(x)
            np.testing.assert_array_equal(x, kept)


# -- in a solve -----------------------------------------------------------------------------------


def test_members_have_constants_of_their_own(rng: np.random.Generator) -> None:
    k = np.array([1.0, 5.0, 1e4])[:, None, None] * np.ones((3, 10, 12))
    b = rng.standard_normal((3, 10, 12))
    result = solve(LinearSystem(Diffusion(k, ndim=2), b), Direct(M=FastPoisson()))
    assert result.ok and (result.iterations == 1).all()
    for one, x, rhs in zip(k, result.x, b, strict=True):
        alone = solve(LinearSystem(Diffusion(one), rhs), Direct(M=FastPoisson())).x
        np.testing.assert_allclose(x, alone, rtol=1e-9, atol=1e-14 * np.abs(alone).max())


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_direct_is_certified_after_one_step(
    dtype: str, library: str, rng: np.random.Generator
) -> None:
    k, b = np.ones((40, 50), dtype), rng.standard_normal((40, 50)).astype(dtype)
    if library == "torch":
        k, b = torch.from_numpy(k), torch.from_numpy(b)
    rtol = 1e-3 if dtype == "float32" else 1e-10
    result = solve(LinearSystem(Diffusion(k), b), Direct(M=FastPoisson()), stop=Stop(rtol=rtol))
    assert result.iterations == 1 and result.x.dtype == b.dtype
    assert (result.applies.A, result.applies.M, result.applies.certify) == (0, 1, 1)


def test_single_precision_is_refined(rng: np.random.Generator) -> None:
    """One step leaves what float32 leaves; more of them end at the rounding of x."""
    A = Diffusion(np.ones((90, 80), "float32"))
    b = rng.standard_normal((90, 80)).astype("float32")
    one = Stop(rtol=1e-12, max_iters=1)
    first = solve(LinearSystem(A, b), Direct(M=FastPoisson()), stop=one, throw=False)
    best = solve(LinearSystem(A, b), Direct(M=FastPoisson()), stop=Stop(rtol=1e-12), throw=False)
    assert best.status is Status.STAGNATED and best.residual <= first.residual < 1e-3


def test_gradients(rng: np.random.Generator) -> None:
    k = torch.full((7, 8), 2.0, dtype=torch.float64, requires_grad=True)
    b = torch.from_numpy(rng.standard_normal((7, 8)))

    def answer(k: torch.Tensor) -> torch.Tensor:
        return solve(LinearSystem(Diffusion(k), b), Direct(M=FastPoisson())).x

    (got,) = torch.autograd.grad(answer(k).square().sum(), k)
    # scaling k by 1 + t scales x by 1 / (1 + t)
    total = 2 * answer(k).square().sum().detach()
    assert abs(float((got * k.detach()).sum() + total)) < 1e-10


def test_a_singular_system(rng: np.random.Generator) -> None:
    op = Diffusion(np.ones((30, 20)), boundary=N)
    b = rng.standard_normal((30, 20))
    for solver in (Direct(M=FastPoisson()), CG(M=FastPoisson())):
        consistent = solve(LinearSystem(op, b - b.mean()), solver)
        assert consistent.ok and abs(consistent.x.mean()) < 1e-15 and not consistent.notes
    for shift in (0.1, 10.0):
        result = solve(LinearSystem(op, b + shift), Direct(M=FastPoisson()), throw=False)
        assert result.status is Status.STAGNATED
        assert "no solution" in result.explain() and "subtract the mean" in result.explain()
        share = abs((b + shift).mean()) * b.size**0.5 / np.linalg.norm(b + shift)
        assert result.residual == pytest.approx(share)


def test_a_singular_system_with_variable_k(rng: np.random.Generator) -> None:
    op = Diffusion(np.exp(rng.uniform(0, 1, (30, 20))), boundary=(N, P))
    b = rng.standard_normal((30, 20))
    for recipe in (FastPoisson(), FastPoisson(scaled=False)):
        assert solve(LinearSystem(op, b - b.mean()), CG(M=recipe)).ok
        stop = Stop(max_iters=200)
        result = solve(LinearSystem(op, b + 1), CG(M=recipe), stop=stop, throw=False)
        assert not result.ok and "no solution" in result.explain()


def test_variable_k(rng: np.random.Generator) -> None:
    """Refinement where k is nearly constant, a preconditioner where it varies mildly."""
    b = rng.standard_normal((64, 64))
    wave = np.sin(np.linspace(0, 6, 64))
    near = Diffusion(1 + 1e-4 * wave[:, None] * wave)
    assert 1 < solve(LinearSystem(near, b), Direct(M=FastPoisson())).iterations <= 4
    mild = LinearSystem(Diffusion(np.exp(wave[:, None] * wave)), b)
    plain = solve(mild, CG()).iterations
    assert solve(mild, CG(M=FastPoisson())).iterations < plain / 8
    assert solve(mild, CG(M=FastPoisson(scaled=False))).iterations < plain / 2
    with pytest.raises(TypeError, match="k is not constant"):
        solve(mild, Direct(M=FastPoisson()))


def test_steps_do_not_grow_with_the_grid() -> None:
    counts = []
    for n in (24, 96):
        x = (np.arange(n) + 0.5) / n
        k = np.exp(np.sin(5 * x)[:, None] * np.cos(4 * x))
        found = solve(LinearSystem(Diffusion(k), np.ones((n, n))), CG(M=FastPoisson()))
        counts.append(int(found.iterations))
    assert counts[1] <= counts[0] + 2


def test_scaling_makes_the_diagonal_that_of_constant_k(rng: np.random.Generator) -> None:
    k = np.exp(rng.standard_normal((2, 5, 6)))
    op = Diffusion(k, ndim=2, boundary=((D, N), P), spacing=(0.4, 1.0))
    M = FastPoisson()(op)
    plain = Diffusion(np.ones((5, 6)), boundary=((D, N), P), spacing=(0.4, 1.0))
    np.testing.assert_allclose(M.weights**2 * op.diagonal(), plain.diagonal() + 0 * k, rtol=1e-12)
    exact = FastPoisson()(plain)
    x = rng.standard_normal((5, 6))
    np.testing.assert_allclose(M(x), M.weights * exact(M.weights * x), rtol=1e-12)


def test_the_mean_of_each_member(rng: np.random.Generator) -> None:
    k = np.exp(rng.standard_normal((2, 5, 6)))
    M = FastPoisson(scaled=False)(Diffusion(k, ndim=2))
    x = rng.standard_normal((2, 5, 6))
    for i in range(2):
        alone = FastPoisson()(Diffusion(np.full((5, 6), k[i].mean())))
        np.testing.assert_allclose(M(x)[i], alone(x[i]), rtol=1e-12)


# -- certifying in one pass -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    ["cells", "ring", "solid", "cells 3-D", "solid 3-D", "nodes", "nodes 3-D", "batch", "wide"],
)
def test_a_misfit_without_a_residual(case: str, rng: np.random.Generator) -> None:
    shape = (5, 6, 7) if "3-D" in case else (9, 13)
    k = np.exp(rng.standard_normal((2, *shape) if case == "batch" else shape))
    k = k.astype("float32") if case == "wide" else k
    solid = np.zeros(shape, bool)
    solid[(slice(1, 3),) * len(shape)] = "solid" in case
    if "nodes" in case:
        op: Any = NodalDiffusion(k, ndim=len(shape))
    else:
        sides = P if case == "ring" else (D, N, P)[: len(shape)]
        op = Diffusion(k, ndim=len(shape), boundary=sides, solid=solid)
    op = op.to(dtype="float64")
    x, b = rng.standard_normal((2, *op.batch_shape, *op.domain.shape))
    axes = tuple(range(-len(shape), 0))
    wanted = ((b - op(x)) ** 2).sum(axis=axes)
    np.testing.assert_allclose(op.squared_misfit(x, b), wanted, rtol=1e-13)
    got = op.to(xp=torch).squared_misfit(torch.from_numpy(x), torch.from_numpy(b))
    np.testing.assert_allclose(got, wanted, rtol=1e-13)
    x[..., -1] = np.nan
    assert np.isnan(op.squared_misfit(x, b)).all()


def test_a_false_claim_is_seen_through(rng: np.random.Generator) -> None:
    """A claim that the pass refutes goes on from the residual that it did not make."""
    op = Diffusion(1 + 5e-4 * rng.random((20, 20)))
    b = rng.standard_normal((20, 20))
    result = solve(LinearSystem(op, b), Direct(M=FastPoisson()), stop=Stop(rtol=1e-11))
    assert result.iterations > 1 and result.restarts == result.iterations - 1
    assert np.linalg.norm(b - op(result.x)) <= 1e-11 * np.linalg.norm(b)
    assert result.residual == pytest.approx(np.linalg.norm(b - op(result.x)) / np.linalg.norm(b))


def test_the_answer_is_not_the_right_hand_side() -> None:
    """An M that hands back its input must not make x the memory of b."""
    b = np.arange(1.0, 7.0).reshape(2, 3)
    one = Identity(Diffusion(np.ones((2, 3))).domain)
    x = solve(LinearSystem(one, b), Direct(M=one)).x
    np.testing.assert_array_equal(x, b)
    assert not np.shares_memory(x, b)


def test_what_it_refuses() -> None:
    solid = np.zeros((5, 5), bool)
    solid[2, 2] = True
    with pytest.raises(ValueError, match="without solid cells"):
        FastPoisson()(Diffusion(np.ones((5, 5)), solid=solid))
    with pytest.raises(TypeError, match="a Diffusion or NodalDiffusion"):
        FastPoisson()(Identity(Diffusion(np.ones((5, 5))).domain))
    with pytest.raises(TypeError, match="True or False"):
        FastPoisson(scaled="no")  # type: ignore[arg-type]
