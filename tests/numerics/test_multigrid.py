"""Black-box multigrid against dense linear algebra, and how many iterations it takes."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from sciml import LinearSystem, Space, Status, Stop, solve
from sciml.operators import Diffusion, Identity, NodalDiffusion, Side, Sparse
from sciml.operators.dense import Diagonal
from solvers import CG, FlexibleCG
from solvers.multigrid import Cycle, Multigrid

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
SIDES = (D, N, P, (N, D), (P, D), (D, P), ((D, N), (N, N)), ((N, D), P))
SHAPES = ((16, 16), (20, 17), (9, 12), (7, 7), (30, 3), (1, 25), (5, 4))
DOUBLE = Multigrid(dtype=np.float64)


def rough(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.exp(rng.standard_normal(shape))


def dense(M: Any) -> np.ndarray:
    n = M.domain.size
    return M(np.eye(n).reshape(n, *M.domain.shape)).reshape(n, n).T


def field(name: str, n: int) -> np.ndarray:
    """Coefficients that multigrid should be robust for."""
    rng = np.random.default_rng(0)
    waves = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
    square = waves[:, None] ** 2 + waves**2
    noise = np.fft.fft2(rng.standard_normal((n, n)))
    cells = np.arange(n) // 8
    match name:
        case "constant":
            return np.ones((n, n))
        case "exponential":  # log-normal, variance 2, covariance exp(-r / 0.05)
            g = np.fft.ifft2(noise * (1 + 0.05**2 * square) ** -0.75).real
            return np.exp(np.sqrt(2) * g / g.std())
        case "two phases":
            g = np.fft.ifft2(noise * np.exp(-(0.05**2) * square / 4)).real
            return np.where(g > 0, 1.0, 1e6)
        case "discs":  # a third of the square, overlapping and all but touching
            x, inside = (np.arange(n) + 0.5) / n, np.zeros((n, n), bool)
            for *centre, radius in rng.uniform([0, 0, 0.02], [1, 1, 0.08], (45, 3)):
                inside |= (x[:, None] - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
            return np.where(inside, 1e6, 1.0)
        case "checkerboard":
            return np.where((cells[:, None] + cells) % 2 == 0, 1.0, 1e6)
        case "blocks":
            return (10 ** (6 * rng.random((n, n))))[np.ix_(cells, cells)]
    raise ValueError(name)


# -- the cycle against its definition ----------------------------------------------------------


def column(split: np.ndarray, j: int) -> np.ndarray:
    """Column j of a split array (..., 2, W)."""
    return split[..., j % 2, j // 2 + 1]


def interpolation(M: Any, A: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """P, dense: edges from the stored weights, centres from the matrix (A P = 0 there)."""
    n0, n1 = shape
    h, v = M.blocks[0].levels.view_weights(0)
    c1 = (n1 + 1) // 2
    weights = np.zeros((n0 * n1, (n0 + 1) // 2 * c1))
    for i, j in itertools.product(range(n0), range(n1)):
        row, coarse = weights[i * n1 + j], i // 2 * c1 + j // 2
        if i % 2 == 0 and j % 2 == 0:
            row[coarse] = 1
        elif i % 2 == 0:
            west = h[i // 2 + 1, j // 2 + 1]
            row[coarse] = west
            if j + 1 < n1:
                row[coarse + 1] = 1 - west
        elif j % 2 == 0:
            north = v[i // 2 + 1, j // 2 + 1]
            row[coarse] = north
            if i + 1 < n0:
                row[coarse + c1] = 1 - north
    i, j = np.divmod(np.arange(n0 * n1), n1)
    centres = (i % 2 == 1) & (j % 2 == 1)
    off = A - np.diag(np.diag(A))
    weights[centres] = -(off[centres] @ weights) / np.diag(A)[centres, None]
    return weights


@pytest.mark.parametrize("shape", [(8, 8), (7, 8), (8, 7), (7, 7), (9, 4), (6, 5)])
@pytest.mark.parametrize("sides", [D, N, (N, D), ((D, N), (N, D))])
def test_a_cycle_is_the_textbook_one(
    shape: tuple[int, int], sides: Any, rng: np.random.Generator
) -> None:
    op = Diffusion(rough(rng, shape), boundary=sides)
    M = DOUBLE(op)
    levels = M.blocks[0].levels
    A = op.assemble().toarray() * M.back
    transfer = interpolation(M, A, shape)
    inner = transfer[np.abs(A.sum(axis=1)) < 1e-9 * np.diag(A)]
    if sides is N:
        np.testing.assert_allclose(inner.sum(axis=1), 1, rtol=1e-12)
    galerkin = transfer.T @ A @ transfer
    from solvers.multigrid.coarsest import assemble

    coarse = assemble(levels.view_links(1), None, levels.plans[1].shape, levels.rings, 1)[0]
    np.testing.assert_allclose(coarse, galerkin, atol=1e-12 * np.abs(galerkin).max())

    i, j = np.divmod(np.arange(A.shape[0]), shape[1])
    colours = [np.flatnonzero((i % 2 == a) & (j % 2 == b)) for a in (0, 1) for b in (0, 1)]
    r = rng.standard_normal(A.shape[0])
    if sides is N:
        r -= r.mean()  # what A reaches
    z = np.zeros_like(r)
    for colour in colours:
        z[colour] += (r - A @ z)[colour] / np.diag(A)[colour]
    z += transfer @ np.linalg.pinv(galerkin, hermitian=True, rcond=1e-10) @ transfer.T @ (r - A @ z)
    for colour in reversed(colours):
        z[colour] += (r - A @ z)[colour] / np.diag(A)[colour]
    got = M(r.reshape(shape)).reshape(-1) / M.back
    if sides is N:  # constants are free
        got, z = got - got.mean(), z - z.mean()
    np.testing.assert_allclose(got, z, atol=1e-11 * np.abs(z).max())


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_symmetric_positive_and_close_to_the_inverse(
    shape: tuple[int, int], sides: Any, rng: np.random.Generator
) -> None:
    op = Diffusion(rough(rng, shape), boundary=sides)
    for recipe in (DOUBLE, Multigrid(cycle=Cycle.W, dtype=np.float64)):
        B = dense(recipe(op))
        assert np.abs(B - B.T).max() <= 1e-13 * np.abs(B).max()
        found = np.linalg.eigvals(B @ op.assemble().toarray()).real
        assert found.max() < 1.1
        assert np.sort(found)[int(op.singular)] > (0.02 if max(shape) > 5 * min(shape) else 0.25)


def test_solid_cells_masses_and_nodes(rng: np.random.Generator) -> None:
    k, solid = rough(rng, (20, 17)), rng.random((20, 17)) < 0.2
    free = Diffusion(k, boundary=N)
    cases = (
        (Diffusion(k, solid=solid), 0.02),
        (3.0 * free + 50.0 * Identity(free.domain), 0.4),
        (0.1 * free + Diagonal(rng.random((20, 17))), 0.4),
        (NodalDiffusion(k), 0.4),
    )
    for op, least in cases:
        B = dense(DOUBLE(op))
        assert np.abs(B - B.T).max() <= 1e-13 * np.abs(B).max()
        found = np.linalg.eigvals(B @ op.assemble().toarray()).real
        assert least < found.min() and found.max() < 1.1


# -- iterations --------------------------------------------------------------------------------

MOST = {
    "constant": 6,
    "exponential": 7,
    "two phases": 11,
    "discs": 12,
    "checkerboard": 9,
    "blocks": 10,
}


@pytest.mark.parametrize("dtype", [None, np.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", MOST)
def test_iterations(name: str, dtype: Any, rng: np.random.Generator) -> None:
    op = Diffusion(field(name, 256))
    result = solve(
        LinearSystem(op, rng.standard_normal((256, 256))),
        CG(M=Multigrid(dtype=dtype)),
        stop=Stop(rtol=1e-6),
    )
    assert result.iterations <= MOST[name]


@pytest.mark.parametrize("shape", [(129, 127), (300, 40), (64, 200)])
@pytest.mark.parametrize("sides", [D, (N, D), (P, D)], ids=str)
def test_iterations_on_any_grid(
    shape: tuple[int, int], sides: Any, rng: np.random.Generator
) -> None:
    op = Diffusion(rough(rng, shape), boundary=sides, spacing=1.0)
    problem = LinearSystem(op, rng.standard_normal(shape))
    assert solve(problem, CG(M=Multigrid()), stop=Stop(rtol=1e-8)).iterations <= 14


@pytest.mark.parametrize("spacing", [(10.0, 1.0), (1.0, 10.0), (100.0, 1.0), (1.0, 100.0)], ids=str)
@pytest.mark.parametrize(("sides", "most"), [(D, 16), (N, 60), ((P, D), 60)], ids=str)
def test_stretched_cells(spacing: Any, sides: Any, most: int, rng: np.random.Generator) -> None:
    k, b = np.exp(0.5 * rng.standard_normal((96, 90))), rng.standard_normal((96, 90))
    op = Diffusion(k, boundary=sides, spacing=spacing)
    if op.singular:
        b -= b.mean()
    assert solve(LinearSystem(op, b), CG(M=Multigrid())).iterations <= most
    small = Diffusion(k[:14, :11].copy(), boundary=sides, spacing=spacing)
    B = dense(DOUBLE(small))
    assert np.abs(B - B.T).max() <= 1e-13 * np.abs(B).max()
    found = np.sort(np.linalg.eigvals(B @ small.assemble().toarray()).real)
    assert found[int(small.singular)] > 0.005 and found[-1] < 1.2


def test_alone_it_converges(rng: np.random.Generator) -> None:
    from solvers import Direct

    op = Diffusion(field("exponential", 64))
    result = solve(LinearSystem(op, rng.standard_normal((64, 64))), Direct(M=Multigrid()))
    assert result.ok and result.iterations < 30


def test_the_cycle_is_chosen_from_k() -> None:
    assert Multigrid()(Diffusion(field("exponential", 64))).cycle is Cycle.V
    assert Multigrid()(Diffusion(field("checkerboard", 64))).cycle is Cycle.W


def test_an_f_cycle_is_not_symmetric(rng: np.random.Generator) -> None:
    problem = LinearSystem(Diffusion(field("blocks", 64)), rng.standard_normal((64, 64)))
    with pytest.raises(TypeError, match="Hermitian"):
        solve(problem, CG(M=Multigrid(cycle=Cycle.F)))
    assert solve(problem, FlexibleCG(M=Multigrid(cycle=Cycle.F))).iterations <= 20


# -- singular systems --------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [N, P, (P, N)], ids=str)
def test_a_consistent_singular_system(sides: Any, rng: np.random.Generator) -> None:
    op = Diffusion(rough(rng, (100, 90)), boundary=sides)
    b = rng.standard_normal((100, 90))
    result = solve(LinearSystem(op, b - b.mean()), CG(M=Multigrid()), stop=Stop(rtol=1e-10))
    assert result.iterations <= 20
    result = solve(LinearSystem(op, b), CG(M=Multigrid()), throw=False)
    assert result.status is not Status.CONVERGED


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_consistent_part_of_a_right_hand_side(library: str, rng: np.random.Generator) -> None:
    k, b, solid = rough(rng, (12, 9)), rng.standard_normal((3, 12, 9)), np.zeros((12, 9), bool)
    solid[3:5, 2:6] = True
    b[:, solid] = 0
    array = torch.from_numpy if library == "torch" else np.asarray
    op = Diffusion(array(k), boundary=N, solid=solid)
    with pytest.warns(UserWarning, match="lies along the constants"):
        found = np.asarray(op.consistent(array(b)))
    np.testing.assert_allclose(found[:, ~solid].sum(axis=1), 0, atol=1e-12)
    assert (found[:, solid] == 0).all()
    assert op.consistent(array(found)) is not None  # no warning: errors are raised by the tests
    with pytest.raises(ValueError, match="mean 0 over the fluid"):
        op.consistent(array(b), strict=True)
    assert solve(LinearSystem(op, array(found)), CG(M=Multigrid())).ok
    held = Diffusion(array(k))
    assert held.consistent(array(b), strict=True) is not None


# -- what must not matter ----------------------------------------------------------------------


def test_units_do_not_matter(rng: np.random.Generator) -> None:
    k, b = rough(rng, (80, 70)), rng.standard_normal((80, 70))
    plain = solve(LinearSystem(Diffusion(k), b), CG(M=Multigrid()))
    for of_k, of_b in ((1e-30, 1e-60), (1e25, 1e100), (1e-200, 1.0)):
        scaled = solve(LinearSystem(Diffusion(of_k * k), of_b * b), CG(M=Multigrid()))
        assert scaled.iterations == plain.iterations
        np.testing.assert_allclose(scaled.x * (of_k / of_b), plain.x, rtol=1e-4)


def test_right_hand_sides_out_of_range_of_single(rng: np.random.Generator) -> None:
    M = Multigrid()(Diffusion(rough(rng, (40, 40))))
    point = np.zeros((40, 40))
    point[3, 5] = 1.0  # in none of the rows that are sampled
    for r in (rng.standard_normal((40, 40)), point):
        z = M(r)
        for power in (-600, 600):
            np.testing.assert_allclose(np.ldexp(M(np.ldexp(r, power)), -power), z, rtol=1e-5)


def test_threads_do_not_matter(rng: np.random.Generator) -> None:
    import numba

    r = rng.standard_normal((300, 290))
    before = numba.get_num_threads()
    for sides in (D, P):
        op = Diffusion(rough(rng, (300, 290)), boundary=sides)
        found = set()
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            found.add(Multigrid()(op)(r).tobytes())
        numba.set_num_threads(before)
        assert len(found) == 1


def test_threads_of_python_may_share_a_cycle(rng: np.random.Generator) -> None:
    M = Multigrid()(Diffusion(rough(rng, (60, 60))))
    rs = rng.standard_normal((64, 60, 60))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(M, rs))
    for r, z in zip(rs, found, strict=True):
        assert (M(r) == z).all()


@pytest.mark.parametrize("members", [1, 3, 17])
def test_members_equal_their_own_systems(members: int, rng: np.random.Generator) -> None:
    # Jumps decide about lines, for a batch as a whole: none here.
    k, r = rough(rng, (members, 20, 22)) ** 0.5, rng.standard_normal((members, 20, 22))
    for dtype in (np.float32, np.float64):
        M = Multigrid(cycle=Cycle.V, dtype=dtype)(Diffusion(k, ndim=2))
        alone = [Multigrid(cycle=Cycle.V, dtype=dtype)(Diffusion(one)) for one in k]
        for _ in range(2):
            wanted = np.stack([m(x) for m, x in zip(alone, r, strict=True)])
            tight = 1e-4 if dtype is np.float32 else 1e-12
            np.testing.assert_allclose(M(r), wanted, atol=tight * np.abs(wanted).max())
    both = np.stack([r, 2 * r])
    assert (M(both)[1] == M(both[1])).all()


def test_torch_and_float32(rng: np.random.Generator) -> None:
    k, b = rough(rng, (50, 60)), rng.standard_normal((50, 60))
    ours = solve(LinearSystem(Diffusion(k), b), CG(M=Multigrid()))
    tensors = LinearSystem(Diffusion(torch.from_numpy(k)), torch.from_numpy(b))
    theirs = solve(tensors, CG(M=Multigrid()))
    np.testing.assert_allclose(theirs.x.numpy(), ours.x, atol=1e-12 * np.abs(ours.x).max())
    single = LinearSystem(Diffusion(k.astype(np.float32)), b.astype(np.float32))
    result = solve(single, CG(M=Multigrid()), stop=Stop(rtol=1e-4))
    assert result.x.dtype == np.float32 and result.iterations <= 9


# -- update ------------------------------------------------------------------------------------


def test_update_equals_a_new_one_and_uses_up_the_old(rng: np.random.Generator) -> None:
    first, second = (Diffusion(rough(rng, (70, 61))) for _ in range(2))
    r = rng.standard_normal((70, 61))
    M = Multigrid()(first)
    memory = M.blocks[0].levels.links
    new = M.update(second)
    assert new.blocks[0].levels.links is memory
    assert (new(r) == Multigrid()(second)(r)).all()
    with pytest.raises(ValueError, match="use what update returned"):
        M(r)
    with pytest.raises(ValueError, match="expected an operator on"):
        new.update(Diffusion(rough(rng, (5, 6))))


def test_bytes_per_unknown() -> None:
    M = Multigrid()(Diffusion(np.ones((512, 512))))
    assert M.nbytes <= 50 * 512**2


# -- bad input ---------------------------------------------------------------------------------


def test_what_it_refuses(rng: np.random.Generator) -> None:
    from scipy.sparse import eye_array

    op = Diffusion(rough(rng, (6, 6)))
    for other in (Sparse(eye_array(9).tocsr()), -1.0 * op, op @ op, Identity(op.domain)):
        with pytest.raises(TypeError, match="use AMG for a sparse matrix"):
            Multigrid()(other)
    with pytest.raises(TypeError, match="a Cycle"):
        Multigrid(cycle="V")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float32, float64 or None"):
        Multigrid(dtype=np.int32)
    with pytest.raises(TypeError, match="an Operator"):
        Multigrid()(np.eye(3))  # type: ignore[arg-type]


def test_grids_too_small_to_coarsen(rng: np.random.Generator) -> None:
    for shape in ((1, 1), (1, 2), (3, 3), (2, 1)):
        op = Diffusion(rough(rng, shape))
        result = solve(LinearSystem(op, rng.standard_normal(shape)), CG(M=Multigrid()))
        assert result.iterations <= 2
        many = LinearSystem(Diffusion(rough(rng, (3, *shape)), ndim=2), np.ones((3, *shape)))
        assert (solve(many, CG(M=Multigrid())).iterations <= 2).all()


def _disc(n: int, rng: np.random.Generator) -> np.ndarray:
    y, x = (np.mgrid[:n, :n] + 0.5) / n
    return (x - 0.45) ** 2 + (y - 0.5) ** 2 < 0.2**2


def _baffles(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two walls one cell thick, each with a gap at one end."""
    solid = np.zeros((n, n), bool)
    solid[n // 3, : 9 * n // 10] = solid[2 * n // 3, n // 10 :] = True
    return solid


def _gravel(n: int, rng: np.random.Generator) -> np.ndarray:
    """Cells at random; what they cut off is solid too."""
    labels = ndimage.label(rng.random((n, n)) > 0.15)[0]
    return labels != np.argmax(np.bincount(labels.reshape(-1))[1:]) + 1


@pytest.mark.parametrize("draw", [_disc, _baffles, _gravel])
@pytest.mark.parametrize("boundary", [D, N])
def test_obstacles_cost_no_iterations(draw: Any, boundary: Any, rng: np.random.Generator) -> None:
    """Of any shape and at any size: an empty box of one k takes 5 or 6."""
    for n in (48, 96, 192):
        solid = draw(n, rng)
        A = Diffusion(np.ones((n, n)), boundary=boundary, solid=solid)
        b = np.where(solid, 0, rng.standard_normal((n, n)))
        if boundary is N:
            b[~solid] -= b[~solid].mean()
        result = solve(LinearSystem(A, b), CG(M=Multigrid()), stop=Stop(rtol=1e-6))
        assert result.iterations <= 11, n


def test_solid_cells_stand_alone(rng: np.random.Generator) -> None:
    """What lies in them passes through A^-1 itself, and nothing of it reaches the fluid."""
    solid = _disc(24, rng)
    A = 3.0 * Diffusion(np.ones((24, 24)), solid=solid) + 0.5 * Identity(Space((24, 24), float))
    r = rng.standard_normal((24, 24))
    M = Multigrid()(A)
    found = M(np.where(solid, r, 0))
    np.testing.assert_allclose(found[solid], (r / A.diagonal())[solid], rtol=1e-12)
    assert (found[~solid] == 0).all()
    np.testing.assert_array_equal(M(r)[~solid], M(np.where(solid, 0, r))[~solid])
