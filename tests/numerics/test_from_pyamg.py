"""PyAMG's hierarchies with our cycle: against PyAMG's own cycle, and what CG makes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import solvers
from sciml import LinearSystem, Stop, Trait, solve
from sciml.operators import Sparse
from sciml.testing import check_operator
from solvers import AMG, from_pyamg
from tests.numerics._amg import DOUBLE, grid, neumann, positive, steps, turned

pyamg: Any = pytest.importorskip("pyamg")

SETUPS = {"RS": pyamg.ruge_stuben_solver, "SA": pyamg.smoothed_aggregation_solver}
POISSON = pyamg.gallery.poisson
EITHER = pytest.mark.parametrize("kind", SETUPS)


@pytest.fixture(autouse=True)
def seeded() -> Any:
    """PyAMG draws from the global state; others find it as they left it."""
    before = np.random.get_state()
    np.random.seed(0)
    yield
    np.random.set_state(before)


def slanted(n: int) -> Any:
    """Diffusion a hundred times faster along one direction, at 60 degrees to the grid."""
    gallery = pyamg.gallery
    stencil = gallery.diffusion_stencil_2d(epsilon=0.01, theta=np.pi / 3, type="FE")
    return gallery.stencil_grid(stencil, (n, n), format="csr")


def airfoil() -> Any:
    """Finite elements on an unstructured mesh."""
    return pyamg.gallery.load_example("airfoil")["A"].tocsr()


def with_l1_jacobi(ml: Any) -> Any:
    """PyAMG's own cycle, with the smoother that ours has."""
    for level in ml.levels[:-1]:
        d = level.A.diagonal()
        step = 1.5 / (abs(level.A.toarray()) * np.sqrt(d[:, None] / d)).sum(axis=1)

        def smooth(A: Any, x: np.ndarray, b: np.ndarray, step: np.ndarray = step) -> None:
            x += step * (b - A @ x)

        level.presmoother = level.postsmoother = smooth
    return ml


def rebuilt(change: Callable[[Any], None]) -> Any:
    ml = pyamg.ruge_stuben_solver(POISSON((30, 30), format="csr"))
    change(ml.levels)
    return ml


# -- the cycle ---------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("matrix", [POISSON((30, 31), format="csr"), slanted(30), airfoil()])
def test_the_cycle_is_pyamgs_with_this_smoother(kind: str, matrix: Any, rng: Any) -> None:
    ml = SETUPS[kind](matrix)
    assert len(ml.levels) >= 3
    M = from_pyamg(ml, dtype=DOUBLE)
    x = rng.standard_normal(matrix.shape[0])
    expected = with_l1_jacobi(ml).aspreconditioner() @ x
    np.testing.assert_allclose(M(x), expected, rtol=0, atol=1e-11 * abs(expected).max())
    assert Trait.POSITIVE in M.traits and np.linalg.eigvalsh(M.dense()).min() > 0
    check_operator(M)


def test_blocks_of_elasticity_are_taken(rng: Any) -> None:
    matrix, modes = pyamg.gallery.linear_elasticity((12, 12), format="bsr")
    ml = pyamg.smoothed_aggregation_solver(matrix, B=modes)
    x = rng.standard_normal(matrix.shape[0])
    expected = with_l1_jacobi(ml).aspreconditioner() @ x
    found = from_pyamg(ml, dtype=DOUBLE)(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * abs(expected).max())


def test_one_level_is_solved_directly() -> None:
    matrix = POISSON((20, 20), format="csr")
    ml = pyamg.ruge_stuben_solver(matrix, max_levels=1)
    assert steps(positive(matrix), from_pyamg(ml, dtype=DOUBLE)) == 1


def test_a_multiple_of_the_transpose_is_the_same_cycle(rng: Any) -> None:
    def tripled(levels: Any) -> None:
        levels[0].R = 3 * levels[0].R
        for level in levels[1:]:
            level.A = 3 * level.A

    x = rng.standard_normal(900)
    expected = from_pyamg(rebuilt(lambda _: None), dtype=DOUBLE)(x)
    np.testing.assert_allclose(from_pyamg(rebuilt(tripled), dtype=DOUBLE)(x), expected, rtol=1e-12)


@EITHER
def test_the_hierarchy_is_left_as_it_was(kind: str) -> None:
    ml = SETUPS[kind](POISSON((30, 30), format="csr"))
    matrices = [getattr(level, n) for level in ml.levels for n in "APR" if hasattr(level, n)]
    before = [(A.format, A.data.tobytes(), A.indices.tobytes()) for A in matrices]
    M = from_pyamg(ml)
    assert before == [(A.format, A.data.tobytes(), A.indices.tobytes()) for A in matrices]
    x = np.ones(900)
    expected = M(x)
    for A in matrices:
        A.data[:] = np.nan
    np.testing.assert_array_equal(M(x), expected)


# -- with CG -----------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize(
    "matrix", [POISSON((64, 64), format="csr"), POISSON((14, 14, 14), format="csr"), slanted(64),
               airfoil()],
)  # fmt: skip
def test_cg_takes_the_iterations_of_pyamgs_with_a_jacobi_smoother(kind: str, matrix: Any) -> None:
    """PyAMG's damped by 4 / (3 spectral radius), the best or next to it of 1, 4/3 and 1.5."""
    jacobi = ("jacobi", {"omega": 4 / 3})
    ml = SETUPS[kind](matrix, presmoother=jacobi, postsmoother=jacobi)
    b = np.random.default_rng(1).standard_normal(matrix.shape[0])
    theirs: list[float] = []
    ml.solve(b, tol=1e-8, accel="cg", residuals=theirs)
    result = solve(
        LinearSystem(positive(matrix), b), solvers.CG(M=from_pyamg(ml)), stop=Stop(rtol=1e-8)
    )
    assert result.ok
    assert np.linalg.norm(b - matrix @ result.x) <= 1e-8 * np.linalg.norm(b)
    assert result.iterations <= 1.25 * (len(theirs) - 1) + 1


@EITHER
def test_singular_and_single_precision_matrices(kind: str) -> None:
    for matrix, rtol in ((neumann(30), 1e-8), (grid(30).astype(np.float32), 1e-4)):
        matrix = sp.csr_matrix(matrix)
        b = matrix @ np.random.default_rng(1).standard_normal(900).astype(matrix.dtype)
        M = from_pyamg(SETUPS[kind](matrix))
        result = solve(LinearSystem(positive(matrix), b), solvers.CG(M=M), stop=Stop(rtol=rtol))
        assert result.ok and result.iterations <= 20 and result.x.dtype == matrix.dtype


def test_another_matrix_of_the_pattern_keeps_the_interpolation(rng: Any) -> None:
    matrix = POISSON((30, 30), format="csr")
    M = from_pyamg(pyamg.ruge_stuben_solver(matrix), dtype=DOUBLE)
    x = rng.standard_normal(900)
    np.testing.assert_allclose(2 * M.update(positive(2 * matrix))(x), M(x), rtol=1e-9)


def test_it_moves_to_another_library(rng: Any) -> None:
    matrix = POISSON((40, 40), format="csr")
    ml, b = pyamg.smoothed_aggregation_solver(matrix), rng.standard_normal(1600)
    expected = solve(LinearSystem(positive(matrix), b), solvers.CG(M=from_pyamg(ml)))
    A = Sparse(ml.levels[0].A, traits={Trait.POSITIVE}).to(xp=torch)
    M = from_pyamg(ml).to(xp=torch)
    there = torch.from_numpy(b)
    found = solve(LinearSystem(A, there), solvers.CG(M=M))
    assert isinstance(found.x, torch.Tensor) and found.iterations == expected.iterations
    np.testing.assert_allclose(found.x.numpy(), expected.x, rtol=1e-6)
    # by torch's own functions, as on a GPU without kernels
    general = M(there.requires_grad_()).detach().numpy()
    here = from_pyamg(ml)(b)
    np.testing.assert_allclose(general, here, rtol=0, atol=1e-5 * abs(here).max())


# -- what is refused ---------------------------------------------------------------------------


def test_bad_hierarchies_are_refused() -> None:
    matrix = POISSON((30, 30), format="csr")
    complex_one = sp.csr_matrix(turned(grid(20))[0])
    uneven = matrix.copy()
    uneven[0, 1] *= 2

    def skewed(levels: Any) -> None:
        levels[0].R = sp.csr_matrix(sp.diags(np.linspace(1, 2, levels[1].A.shape[0]))) @ levels[0].R

    def of_another_shape(levels: Any) -> None:
        levels[0].P = levels[1].P

    def without(levels: Any) -> None:
        del levels[0].P

    def thinned(levels: Any) -> None:
        levels[1].A = sp.csr_matrix(sp.diags(levels[1].A.diagonal()))

    def complex_p(levels: Any) -> None:
        levels[0].P = levels[0].P * 1j

    def whole(levels: Any) -> None:
        levels[0].A = levels[0].A.astype(int)

    large = pyamg.ruge_stuben_solver(POISSON((40, 40), format="csr"), max_levels=1)
    for ml, kind, words in (
        (None, TypeError, "hierarchy of PyAMG"),
        (matrix, TypeError, "hierarchy of PyAMG"),
        (AMG()(positive(matrix)), TypeError, "hierarchy of PyAMG"),
        (pyamg.smoothed_aggregation_solver(complex_one), TypeError, "a real matrix"),
        (pyamg.ruge_stuben_solver(uneven), TypeError, "a symmetric matrix"),
        (rebuilt(list.clear), TypeError, "hierarchy of PyAMG"),
        (rebuilt(whole), TypeError, "float32 or float64"),
        (rebuilt(complex_p), TypeError, "a real matrix as P on level 0"),
        (rebuilt(without), TypeError, "a sparse matrix as P on level 0"),
        (rebuilt(of_another_shape), ValueError, "P of shape"),
        (rebuilt(skewed), ValueError, r"multiple of P\^T on level 0"),
        (rebuilt(thinned), ValueError, "A = R A P on level 1"),
        (large, ValueError, "max_coarse"),
        (pyamg.ruge_stuben_solver(-matrix), np.linalg.LinAlgError, "positive diagonal"),
    ):
        with pytest.raises(kind, match=words):
            from_pyamg(ml)
    with pytest.raises(TypeError, match="expected dtype"):
        from_pyamg(rebuilt(lambda _: None), dtype="float16")


def test_pyamg_itself_is_not_needed(monkeypatch: Any) -> None:
    ml = rebuilt(lambda _: None)
    for name in [n for n in sys.modules if n.partition(".")[0] == "pyamg"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert from_pyamg(ml).domain.size == 900
