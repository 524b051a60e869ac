"""The set-up of algebraic multigrid: coarsening, hard matrices, matrices of one pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import solvers
from sciml import LinearSystem, Status, Stop, Trait, solve
from sciml.operators import Diffusion, Sparse
from sciml.testing import check_operator
from solvers.precond import AMG
from tests.numerics._amg import DOUBLE, RECIPES, grid, neumann, positive, steps

# -- coarsening --------------------------------------------------------------------------------


def coarsened(matrix: sp.csr_array) -> tuple[Any, Any, np.ndarray]:
    from sciml.kernels.coarsening import splitting, strong_couplings

    parts = (matrix.indptr, matrix.indices, matrix.data)
    strong = strong_couplings(*parts, 0.25)
    return parts, strong, splitting(*strong)


def bumpy() -> sp.csr_array:
    """A matrix on a grid with unequal couplings of both signs, some of them long."""
    rng = np.random.default_rng(0)
    links = sp.coo_array(grid(40, contrast=2))
    links.data = links.data * (1 + rng.random(links.nnz))
    far = sp.random_array((1600, 1600), density=0.002, rng=rng) * 40.0
    matrix = (
        links
        + far * (2 * (rng.random() > 0.5) - 1)
        - sp.random_array((1600, 1600), density=0.002, rng=rng) * 400.0
    )
    return sp.csr_array(matrix + matrix.T)


@pytest.mark.parametrize("matrix", [grid(40), grid(40, contrast=4), bumpy(), grid(12, ndim=3)])
def test_coarsening_is_pyamgs(matrix: sp.csr_array) -> None:
    """Strong couplings, first pass and direct interpolation, entry by entry."""
    pytest.importorskip("pyamg")
    from pyamg.classical.interpolate import direct_interpolation
    from pyamg.classical.split import RS
    from pyamg.strength import classical_strength_of_connection

    from sciml.kernels.coarsening import _first_pass, _transposed_pattern, interpolation

    parts, strong, kind = coarsened(matrix)
    theirs = sp.csr_matrix(matrix)
    C = classical_strength_of_connection(theirs, theta=0.25, norm="min")
    assert len(strong[1]) == C.nnz - matrix.shape[0]
    first = _first_pass(*strong, *_transposed_pattern(*strong, matrix.shape[0]))
    np.testing.assert_array_equal(first, RS(C))
    P = interpolation(parts, strong, kind)
    expected = direct_interpolation(theirs, C, kind.astype(np.int32))
    ours = sp.csr_array((P[2], P[1], P[0]), shape=expected.shape)
    assert abs(ours - expected).max() < 1e-14 * abs(expected).max()


@pytest.mark.parametrize("matrix", [grid(40), grid(40, contrast=4), grid(12, ndim=3)])
def test_fine_unknowns_that_depend_on_each_other_share_a_coarse_one(matrix: sp.csr_array) -> None:
    """What the second pass is for (Ruge and Stüben 1987, criterion C1)."""
    _, (indptr, indices), kind = coarsened(matrix)
    near = [set(indices[indptr[i] : indptr[i + 1]].tolist()) for i in range(len(kind))]
    coarse = set(np.flatnonzero(kind).tolist())
    assert 0 < len(coarse) < 0.75 * len(kind)
    for i in np.flatnonzero(kind == 0):
        for j in near[i] - coarse:
            assert near[i] & near[j] & coarse


def test_a_second_pass_that_doubles_the_coarse_unknowns_is_not_kept() -> None:
    """As on the second level in 3-D."""
    from sciml.kernels.coarsening import (
        _first_pass,
        _second_pass,
        _transposed_pattern,
        interpolation,
    )

    x = np.arange(14) / 12
    k = np.sin(7 * x[:, None, None]) * np.cos(9 * x[:, None]) * np.sin(8 * x + 1)
    fine = sp.csr_array(Diffusion(np.exp(3 * k), ndim=3).assemble())
    parts, strong, kind = coarsened(fine)
    P = interpolation(parts, strong, kind)
    P = sp.csr_array((P[2], P[1], P[0]))
    _, strong, kind = coarsened(sp.csr_array(P.T @ fine @ P))
    first = _first_pass(*strong, *_transposed_pattern(*strong, len(kind)))
    second = first.copy()
    _second_pass(*strong, second)
    assert second.sum(dtype=int) > 2 * first.sum(dtype=int)
    np.testing.assert_array_equal(kind, first)


def test_an_unknown_may_gain_twice_its_dependents() -> None:
    """Leaves depend on two hubs: the first one taken doubles the weight of the other."""
    from sciml.kernels.coarsening import _first_pass, _transposed_pattern

    leaves = 300
    rows = [[0, 1]] * leaves + [[0]] + [[], []]
    order = [*range(2, leaves + 3), 0, 1]  # hubs 0 and 1, and one more leaf for 0
    lists = [rows[order.index(i)] for i in range(leaves + 3)]
    indptr = np.cumsum([0, *map(len, lists)]).astype(np.int32)
    indices = np.array([j for row in lists for j in row], np.int32)
    kind = _first_pass(indptr, indices, *_transposed_pattern(indptr, indices, leaves + 3))
    np.testing.assert_array_equal(np.flatnonzero(kind), [0, 1])


def test_interpolation_keeps_constants() -> None:
    """Where rows of A sum to zero, so do those of P sum to one, on every level."""
    M = AMG()(positive(neumann(40)))
    for P in M.structure.transfers:
        np.testing.assert_allclose(np.add.reduceat(P[2], P[0][:-1]), 1, atol=1e-10)


# -- hard matrices -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_neumann_problems(kind: str, dtype: str, rng: np.random.Generator) -> None:
    A = positive(neumann(40).astype(dtype))
    b = rng.standard_normal(1600)
    b = (b - b.mean()).astype(dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-10
    result = solve(LinearSystem(A, b), solvers.CG(M=RECIPES[kind]), stop=Stop(rtol=rtol))
    assert result.status == Status.CONVERGED and result.iterations <= 25


def test_many_floating_parts_and_lone_unknowns() -> None:
    """Parts without boundary coarsen to rows of zeros, which the coarse levels leave out."""
    parts = [neumann(9)] * 30 + [sp.eye_array(50)]
    A = positive(sp.block_diag(parts))
    M = AMG(dtype=DOUBLE)(A)
    assert np.isfinite(M.data).all()
    b = A(A.domain.random(np.random.default_rng(0)))
    result = solve(LinearSystem(A, b), solvers.CG(M=M), stop=Stop(rtol=1e-9))
    assert result.iterations <= 20


def test_small_and_uncoupled_matrices() -> None:
    for n in (1, 2, 25):  # one level only: the pseudo-inverse
        line = sp.diags_array([-1.0, 2.1, -1.0], offsets=[-1, 0, 1], shape=(n, n))
        assert steps(positive(line), AMG(dtype=DOUBLE)) == 1
    diagonal = positive(sp.diags_array(np.linspace(1, 9, 5_000)))  # nothing to coarsen
    assert steps(diagonal, AMG(dtype=DOUBLE)) == 1


def test_matrices_that_are_not_definite_are_refused() -> None:
    indefinite = grid(20)
    indefinite.setdiag(0.7 * indefinite.diagonal())
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        AMG()(positive(indefinite))
    with pytest.raises(np.linalg.LinAlgError, match="positive diagonal"):
        AMG()(positive(-1.0 * grid(5)))
    with pytest.raises(np.linalg.LinAlgError, match="positive diagonal"):
        AMG()(positive(sp.csr_array(np.diag([1.0, np.nan]))))


# -- update ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECIPES)
def test_update_is_the_set_up_with_p_kept(kind: str) -> None:
    first, second = grid(40, contrast=2), grid(40, contrast=3, seed=8)
    M = RECIPES[kind](positive(first))
    renewed = M.update(positive(second))
    assert renewed.structure is M.structure
    again = M.update(positive(first))
    for name in ("data", "coarsest", "scale"):
        np.testing.assert_array_equal(getattr(again, name), getattr(M, name))
    matrix = second
    for level, P in enumerate(M.structure.transfers):
        P = sp.csr_array(
            (P[2], P[1], P[0]), shape=(matrix.shape[0], len(M.structure.patterns[level + 1][0]) - 1)
        )
        matrix = P.T @ matrix @ P
    d = matrix.diagonal()
    s = np.sqrt(1.5 / (abs(matrix.toarray()) * np.sqrt(d[:, None] / d)).sum(axis=1))
    expected = np.linalg.pinv(matrix.toarray() * s[:, None] * s, hermitian=True)
    np.testing.assert_allclose(renewed.coarsest, expected.T, atol=1e-10 * abs(expected).max())
    fresh, old = steps(positive(second), RECIPES[kind]), steps(positive(second), M)
    assert steps(positive(second), renewed) < old
    check_operator(renewed)
    assert fresh <= steps(positive(second), renewed)


def test_update_refuses_what_it_cannot_use() -> None:
    M = AMG()(positive(grid(12)))
    wider = grid(12) + sp.csr_array(([1e-3, 1e-3], ([0, 100], [100, 0])), shape=(144, 144))
    for bad, kind in (
        (positive(wider), ValueError),
        (positive(grid(13)), ValueError),
        (positive(grid(12).astype(np.float32)), ValueError),
        (Sparse(grid(12), traits={Trait.LINEAR}), TypeError),
        (None, TypeError),
    ):
        with pytest.raises(kind, match="expected"):
            M.update(bad)
    with pytest.raises(np.linalg.LinAlgError):
        M.update(positive(-1.0 * grid(12)))


def test_a_batch_of_matrices_gets_a_cycle_each(rng: np.random.Generator) -> None:
    matrices = [grid(20, contrast=2, seed=s) for s in range(3)]
    values = np.stack([m.data for m in matrices])
    A = Sparse(matrices[0], values=values, traits={Trait.POSITIVE})
    M = AMG(dtype=DOUBLE)(A)
    check_operator(M)
    x = A.domain.random(rng, (3,))
    expected = AMG(dtype=DOUBLE)(positive(matrices[0]))
    np.testing.assert_allclose(M(x)[0], expected(x[0]))
    np.testing.assert_allclose(M(x)[2], expected.update(positive(matrices[2]))(x[2]))
    b = rng.standard_normal((3, 400))
    result = solve(LinearSystem(A, b), solvers.CG(M=AMG()), stop=Stop(rtol=1e-8))
    assert (result.iterations <= 18).all()
    again = M.update(Sparse(matrices[0], values=values[::-1].copy(), traits={Trait.POSITIVE}))
    np.testing.assert_allclose(again(x)[2], M.update(A)(x[[2, 1, 0]])[0], rtol=1e-9)
    k = np.exp(rng.standard_normal((2, 8, 8)))
    with pytest.raises(TypeError, match=r"expected Sparse\(matrix, values=\.\.\.\)"):
        AMG()(Diffusion(k, ndim=2))
