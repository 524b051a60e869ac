"""The cycle of algebraic multigrid against explicit matrices, and what the literature promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io as sio
import scipy.sparse as sp
import torch

import solvers
from sciml import LinearSystem, SolveError, Space, Trait, solve
from sciml.operators import Sparse
from sciml.operators.diffusion import Diffusion, Side
from sciml.testing import check_operator
from solvers.precond import AMG, Coarsening
from solvers.precond.amg import cycle
from tests.numerics._amg import (
    AGGREGATION,
    DOUBLE,
    RECIPES,
    grid,
    inclusions,
    positive,
    steps,
    turned,
)

# -- the cycle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECIPES)
def test_the_cycle_is_that_of_explicit_matrices(kind: str, rng: np.random.Generator) -> None:
    """M = 2 W - W A W + (I - W A) P M' P^T (I - A W) on every level, with M' the next one's."""
    A = positive(grid(20, contrast=2))
    M = RECIPES[kind](A)
    matrix = A.assemble().toarray()
    transfers = [sp.csr_array((P[2], P[1], P[0])).toarray() for P in M.structure.transfers]
    assert len(transfers) >= 2

    def explicit(level: int, matrix: np.ndarray) -> np.ndarray:
        if level == len(transfers):
            return np.linalg.pinv(matrix, hermitian=True)
        d = np.diag(matrix)
        W = np.diag(1.5 / (abs(matrix) * np.sqrt(d[:, None] / d)).sum(axis=1))
        P = transfers[level]
        coarse = explicit(level + 1, P.T @ matrix @ P)
        rest = np.eye(len(W)) - W @ matrix
        return 2 * W - W @ matrix @ W + rest @ P @ coarse @ P.T @ rest.T

    expected = explicit(0, matrix)
    np.testing.assert_allclose(M.dense(), expected, atol=1e-12 * abs(expected).max())
    assert np.linalg.eigvalsh(expected).min() > 0


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cycle_keeps_the_laws_of_operators(kind: str, dtype: str) -> None:
    check_operator(RECIPES[kind](positive(grid(18, contrast=3).astype(dtype))))


def test_a_complex_cycle_keeps_the_laws_of_operators() -> None:
    for dtype in ("complex64", "complex128"):
        A, B = turned(grid(12, contrast=1))
        A = positive(A.astype(dtype))
        check_operator(AMG(AGGREGATION, near_nullspace=B, dtype=DOUBLE)(A))
        assert AMG(AGGREGATION)(A).data.dtype == np.complex64


@pytest.mark.parametrize("kind", RECIPES)
def test_bits_do_not_depend_on_the_number_of_threads(kind: str) -> None:
    import numba

    A = positive(grid(160, contrast=3))
    x = A.domain.random(np.random.default_rng(0), (2,))
    before, results = numba.get_num_threads(), []
    if before < 2:
        pytest.skip("one thread only")
    for count in (1, 2):
        numba.set_num_threads(count)
        try:
            M = AMG(RECIPES[kind].coarsening)(A)
            results.append((M(x), M.data, M.update(A).data))
        finally:
            numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("kind", RECIPES)
def test_the_cycle_of_array_libraries_is_the_compiled_one(
    kind: str, rng: np.random.Generator
) -> None:
    A = positive(grid(24, contrast=3))
    M = RECIPES[kind](A)
    x = A.domain.random(rng, (3,))
    general = M.scale * cycle(M.levels, M.coarsest, M.scale * x)
    np.testing.assert_allclose(general, M(x), rtol=0, atol=1e-13 * abs(general).max())


def test_a_hierarchy_moves_to_another_library(rng: np.random.Generator) -> None:
    A = positive(grid(24, contrast=3))
    x = A.domain.random(rng, (2,))
    for dtype, room in ((np.float32, 1e-5), (DOUBLE, 1e-13)):
        M = AMG(dtype=dtype)(A)
        expected = M(x)
        moved = M.to(xp=torch)
        assert isinstance(moved.data, torch.Tensor)
        on_host = moved(torch.from_numpy(x))  # compiled, as torch shares the memory
        np.testing.assert_array_equal(on_host.numpy(), expected)
        watched = torch.from_numpy(x).requires_grad_()  # and not where autograd watches
        general = moved(watched).detach().numpy()
        np.testing.assert_allclose(general, expected, rtol=0, atol=room * abs(expected).max())
        assert moved.nbytes > M.nbytes  # the index arrays are held twice
        with pytest.raises(TypeError, match="expected arrays of one library"):
            moved(x)


def test_foreign_arrays_are_refused_with_the_way_to_move() -> None:
    import array_api_strict as strict

    M = AMG()(positive(grid(10)))
    with pytest.raises(TypeError, match=r"host memory .* M\.to\(xp="):
        M(strict.ones(100, dtype=strict.float64))


# -- precision ---------------------------------------------------------------------------------


def test_a_single_precision_cycle_takes_the_same_steps_and_less_memory() -> None:
    A = positive(grid(60, contrast=2))
    single, double = AMG()(A), AMG(dtype=DOUBLE)(A)
    assert single.data.dtype == np.float32 and double.data.dtype == np.float64
    assert single.nbytes < 0.8 * double.nbytes
    assert steps(A, single, rtol=1e-12) <= steps(A, double, rtol=1e-12) + 1


def test_hidden_weak_modes_call_for_double_precision() -> None:
    """In single precision the weak modes of stiff inclusions drown, and CG sees M indefinite."""
    A = positive(inclusions(96, 11))
    b = A(A.domain.random(np.random.default_rng(0)))
    assert AMG()(A).data.dtype == np.float64
    assert solve(LinearSystem(A, b), solvers.CG(M=AMG())).iterations <= 12
    with pytest.raises(SolveError):
        solve(LinearSystem(A, b), solvers.CG(M=AMG(dtype=np.float32)))


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_units_do_not_matter(scale: float) -> None:
    matrix = grid(40, contrast=3)
    assert steps(positive(scale * matrix), AMG()) == steps(positive(matrix), AMG())
    M = AMG()(positive(matrix))
    x = M.domain.random(np.random.default_rng(0))
    size = abs(M(x)).max() * scale
    np.testing.assert_allclose(M(x * scale), M(x) * scale, rtol=0, atol=1e-6 * size)
    for bad in (0.0, np.nan, np.inf):  # not one of them raises, or turns into another
        x[3] = bad
        assert np.isfinite(M(x)).all() == np.isfinite(bad)


def test_float32_systems_are_solved() -> None:
    A = positive(grid(40, contrast=3).astype(np.float32))
    assert steps(A, AMG(), rtol=1e-4) <= 10
    assert AMG()(A)(A.domain.random(np.random.default_rng(0))).dtype == np.float32


@pytest.mark.parametrize("n", [32, 48, 64])
def test_rounding_of_a_singular_matrix_is_no_eigenvalue(n: int) -> None:
    """The null vector's energy is off by hundreds of eps on the coarsest level, to either side."""
    A = Diffusion(np.ones((n, n, n)), ndim=3, boundary=Side.NEUMANN)
    b = np.random.default_rng(0).standard_normal(A.domain.shape)
    result = solve(LinearSystem(A, b - b.mean()), solvers.CG(M=AMG()))
    assert result.iterations <= 10
    assert AMG()(A).data.dtype == np.float32  # such an eigenvalue is no weak mode


# -- what it is worth --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matrix", "most"),
    [(grid(32), 9), (grid(128), 10), (grid(128, contrast=6, seed=1), 16), (inclusions(128, 6), 12),
     (grid(20, ndim=3), 9), (grid(20, contrast=3, ndim=3), 11)],
)  # fmt: skip
def test_ruge_stueben_converges_whatever_the_mesh_and_the_contrast(matrix: Any, most: int) -> None:
    assert steps(positive(matrix), AMG()) <= most


def test_smoothed_aggregation_needs_less_memory_in_three_dimensions() -> None:
    pytest.importorskip("pyamg")
    A = positive(grid(24, ndim=3))
    classical, aggregated = AMG()(A), AMG(AGGREGATION)(A)
    assert aggregated.nbytes < 0.8 * classical.nbytes
    assert steps(A, aggregated) <= 16


def test_rigid_body_modes_save_iterations_on_elasticity() -> None:
    gallery = pytest.importorskip("pyamg.gallery")
    matrix, modes = gallery.linear_elasticity((30, 30))
    A = positive(matrix)
    assert modes.shape == (1800, 3)
    with_modes = steps(A, AMG(AGGREGATION, near_nullspace=modes, block=2))
    without = steps(A, AMG(AGGREGATION))
    assert with_modes < 25 and with_modes < 0.6 * without
    assert steps(A, AMG(AGGREGATION, near_nullspace=modes)) < 0.7 * without


def test_a_complex_near_null_space_saves_iterations() -> None:
    pytest.importorskip("pyamg")
    matrix, B = turned(grid(40))
    A = positive(matrix)
    with_modes = steps(A, AMG(AGGREGATION, near_nullspace=B))
    assert with_modes <= 16 and with_modes < 0.5 * steps(A, AMG(AGGREGATION))


@pytest.mark.parametrize(
    ("name", "most"),
    [("1138_bus.mtx", 15), ("ani4.mtx", 22), ("lap2D_5pt_n100.mtx", 10), ("gr_900_900_crg.mtx", 9),
     ("lap3D_7pt_n20.mtx", 10), ("airfoil.mat", 10), ("local_disc_galerkin_diffusion.mat", 60)],
)  # fmt: skip
def test_measured_matrices(shared_data: Path, name: str, most: int) -> None:
    path = shared_data / "matrices" / name
    matrix = sio.mmread(path) if path.suffix == ".mtx" else sio.loadmat(path)["A"]
    assert steps(positive(sp.csr_array(matrix).astype(float)), AMG()) <= most


# -- calls and accounts ------------------------------------------------------------------------


def test_bad_recipes_are_refused() -> None:
    B = np.ones((100, 1))
    for make, kind in (
        (lambda: AMG(True), TypeError),
        (lambda: AMG("SMOOTHED_AGGREGATION"), TypeError),
        (lambda: AMG(block=0), ValueError),
        (lambda: AMG(near_nullspace=B), ValueError),
        (lambda: AMG(block=2), ValueError),
        (lambda: AMG(AGGREGATION, near_nullspace=B[:, 0]), ValueError),
        (lambda: AMG(AGGREGATION, near_nullspace=B * np.nan), ValueError),
        (lambda: AMG(AGGREGATION, near_nullspace=[[1.0]] * 100), ValueError),
        (lambda: AMG(dtype="float16"), TypeError),
        (lambda: AMG(dtype=np.complex64), TypeError),
    ):
        with pytest.raises(kind, match="expected"):
            make()


def test_bad_matrices_are_refused() -> None:
    A, B = positive(grid(10)), np.ones((99, 1))
    matrix, _ = turned(grid(10))
    for recipe, bad, kind in (
        (AMG(), positive(matrix), TypeError),
        (AMG(), Sparse(grid(10), traits={Trait.LINEAR}), TypeError),
        (AMG(), None, TypeError),
        (AMG(AGGREGATION, near_nullspace=B), A, ValueError),
        (AMG(AGGREGATION, near_nullspace=np.ones((100, 1), complex)), A, ValueError),
        (AMG(AGGREGATION, block=3), A, ValueError),
    ):
        with pytest.raises(kind, match="expected"):
            recipe(bad)


def test_recipes_are_values() -> None:
    assert AMG() == AMG(Coarsening.RUGE_STUEBEN) and hash(AMG()) == hash(AMG(dtype=None))
    assert AMG(AGGREGATION) != AMG()
    assert "near_nullspace" not in repr(AMG(AGGREGATION, near_nullspace=np.ones((4, 1))))


@pytest.mark.parametrize("kind", RECIPES)
def test_every_array_held_is_counted(kind: str) -> None:
    M = RECIPES[kind](positive(grid(40)))
    held: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, np.ndarray):
            base = value if value.base is None else value.base
            held[id(base)] = base.nbytes
        elif isinstance(value, tuple):
            for part in value:
                visit(part)
        elif hasattr(value, "__dict__") and not isinstance(value, (Space, type, Trait)):
            for part in vars(value).values():
                visit(part)

    visit(M)
    assert 0.97 * sum(held.values()) <= M.nbytes <= 1.03 * sum(held.values())
    assert M.update(positive(grid(40))).nbytes == M.nbytes


def test_a_hierarchy_serves_many_right_hand_sides(rng: np.random.Generator) -> None:
    A = positive(grid(40, contrast=2))
    first = solve(LinearSystem(A, rng.standard_normal(1600)), solvers.CG(M=AMG()))
    b = rng.standard_normal((7, 1600))
    together = solve(LinearSystem(A, b), first.solver)
    assert first.solver.M is together.solver.M
    assert (together.iterations <= 12).all()
    M = first.solver.M
    np.testing.assert_array_equal(M(b)[4], M(b[4]))  # members do not mix, to the last bit


def test_the_global_random_state_is_left_alone() -> None:
    pytest.importorskip("pyamg")
    np.random.seed(7)
    expected = np.random.get_state()[1].tobytes()
    made = [AMG(AGGREGATION)(positive(grid(40))).data.tobytes() for _ in range(2)]
    assert made[0] == made[1]
    assert np.random.get_state()[1].tobytes() == expected
