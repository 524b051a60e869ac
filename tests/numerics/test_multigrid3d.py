"""Black-box multigrid in three dimensions against its definition, and its iterations."""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np
import pytest

from sciml import LinearSystem, Space, Status, Stop, solve
from sciml.operators import Diffusion, Identity, NodalDiffusion, Side
from sciml.operators.dense import Diagonal
from solvers import CG, Auto, FlexibleCG
from solvers.multigrid import Cycle, Multigrid, MultigridCG
from solvers.multigrid.coarsest import assemble
from tests.numerics.test_multigrid import dense, rough

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
DOUBLE = Multigrid(dtype=np.float64)
SIDES = (D, N, P, (N, D, D), (P, D, N), (D, P, N), ((D, N), (N, N), P), ((N, D), P, P))
SHAPES = ((8, 8, 8), (9, 6, 7), (5, 7, 6), (7, 5, 5), (12, 3, 2), (1, 9, 6), (4, 1, 25), (3, 20, 1))
DIRECTIONS = [o for o in itertools.product((-1, 0, 1), repeat=3) if o > (0, 0, 0)]


def links_of(levels: Any, level: int) -> dict[tuple[int, int, int], np.ndarray]:
    """Natural links (planes + 2, rows + 2, columns + 2) for each direction that is stored."""
    split = levels.view_links(level)
    columns = levels.plans[level].padded[2]
    natural = np.zeros((*split.shape[:3], columns + 2))
    for j in range(-1, columns + 1):
        natural[..., j + 1] = split[..., j % 2, j // 2 + 1]
    directions = [(0, 0, 1), (0, 1, 0), (1, 0, 0)] if len(split) == 3 else DIRECTIONS
    return dict(zip(directions, natural, strict=True))


def transfer(links: Any, shape: tuple[int, ...], rings: tuple[bool, ...]) -> np.ndarray:
    """P by its definition: the links summed over the axes along which a point is even, weighing
    the points next to it; what lies outside is 0."""
    coarse = tuple((n + 1) // 2 for n in shape)
    rows: dict[tuple[int, ...], np.ndarray] = {}

    def around(point: tuple[int, ...]) -> Any:
        here = tuple(x + 1 for x in point)
        for o, link in links.items():
            yield o, link[here]
            yield tuple(-x for x in o), link[tuple(x - y for x, y in zip(here, o, strict=True))]

    def row(point: tuple[int, ...]) -> np.ndarray:
        point = tuple(x % n if r else x for x, n, r in zip(point, shape, rings, strict=True))
        if any(not 0 <= x < n for x, n in zip(point, shape, strict=True)):
            return np.zeros(coarse)
        if point in rows:
            return rows[point]
        odd = [x % 2 for x in point]
        found, total = np.zeros(coarse), 0.0
        if not any(odd):
            found[tuple(x // 2 for x in point)] = total = 1.0
        else:
            for o, link in around(point):
                step = tuple(x * y for x, y in zip(o, odd, strict=True))
                if any(step):
                    found = found + link * row(tuple(np.add(point, step)))
                    total += link
        rows[point] = found / total
        return rows[point]

    return np.stack([row(point).ravel() for point in np.ndindex(*shape)])


def sweep(A: np.ndarray, shape: tuple[int, ...], z: np.ndarray, r: np.ndarray, back: bool) -> None:
    """Eight-colour Gauss-Seidel."""
    colour = np.tensordot([4, 2, 1], np.indices(shape) % 2, 1).ravel()
    for c in reversed(range(8)) if back else range(8):
        own = colour == c
        z[own] += (r - A @ z)[own] / np.diag(A)[own]


@pytest.mark.parametrize(
    "shape", [(5, 4, 6), (4, 6, 5), (6, 5, 4), (1, 5, 6), (6, 2, 5), (9, 8, 6)]
)
@pytest.mark.parametrize("sides", [D, N, (N, D, (D, N)), (P, D, D), (D, N, P)], ids=str)
def test_a_cycle_is_the_textbook_one(shape: Any, sides: Any, rng: np.random.Generator) -> None:
    op = Diffusion(rough(rng, shape), ndim=3, boundary=sides)
    M = DOUBLE(op)
    levels = M.blocks[0].levels
    if levels.plans[0].shape != levels.plans[0].padded:
        pytest.skip("a ring of odd length gets one more point")
    A = op.assemble().toarray() * M.back
    matrices, transfers = [], []
    for level, plan in enumerate(levels.plans):
        if plan.shape != plan.padded:  # a ring of odd length further down
            break
        matrices.append(assemble(levels.view_links(level), None, plan.shape, levels.rings, 1)[0])
        if level:
            P_ = transfer(links_of(levels, level - 1), levels.plans[level - 1].shape, levels.rings)
            transfers.append(P_)
            galerkin = P_.T @ matrices[level - 1] @ P_
            size = np.abs(galerkin).max()
            np.testing.assert_allclose(matrices[level], galerkin, atol=1e-12 * size)
    np.testing.assert_allclose(matrices[0], A, atol=1e-12 * np.abs(A).max())

    def cycle(level: int, r: np.ndarray) -> np.ndarray:
        A = matrices[level]
        if level == len(levels.plans) - 1:
            return np.linalg.pinv(A, hermitian=True, rcond=1e-10) @ r
        z = np.zeros_like(r)
        sweep(A, levels.plans[level].shape, z, r, False)
        z += transfers[level] @ cycle(level + 1, transfers[level].T @ (r - A @ z))
        sweep(A, levels.plans[level].shape, z, r, True)
        return z

    r = rng.standard_normal(A.shape[0])
    if sides is N:
        r -= r.mean()  # what A reaches
    if len(matrices) == len(levels.plans):
        found = M(r.reshape(shape)).ravel() / M.back
        expected = cycle(0, r)
        if sides is N:  # which solution the coarsest level picks is its own affair
            found, expected = found - found.mean(), expected - expected.mean()
        np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cycle", [Cycle.V, Cycle.W])
def test_symmetric_positive_and_close_to_the_inverse(
    shape: Any, sides: Any, cycle: Cycle, rng: np.random.Generator
) -> None:
    op = Diffusion(rough(rng, shape), ndim=3, boundary=sides, spacing=1.0)
    M = dense(Multigrid(cycle=cycle, dtype=np.float64)(op))
    np.testing.assert_allclose(M, M.T, atol=1e-11 * np.abs(M).max())
    A = op.assemble().toarray()
    values = np.linalg.eigvals(M @ A).real
    assert values.max() < 1.15
    values = np.sort(values)[int(op.singular) :]
    assert values.min() > 0.1


def test_solid_cells_masses_and_nodes(rng: np.random.Generator) -> None:
    shape = (9, 10, 11)
    k = rough(rng, shape)
    solid = np.zeros(shape, bool)
    solid[3:5, 2:7, 4:] = True
    mass = rng.random(shape)
    for op in (
        Diffusion(k, ndim=3, boundary=(D, N, N), solid=solid),
        0.5 * Diffusion(k, ndim=3, solid=solid) + Diagonal(mass),
        Diffusion(rough(rng, shape), ndim=3, boundary=(P, N, P)) + 3.0 * Identity(Space(shape)),
        NodalDiffusion(rough(rng, shape), ndim=3, spacing=(0.1, 0.12, 0.09)),
    ):
        M = dense(DOUBLE(op))
        A = op(np.eye(op.domain.size).reshape(-1, *op.domain.shape)).reshape(len(M), -1).T
        np.testing.assert_allclose(M, M.T, atol=1e-11 * np.abs(M).max())
        values = np.linalg.eigvals(M @ A).real
        assert values.min() > 0.1
        assert values.max() < 1.15


def field(name: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    waves = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
    square = waves[:, None, None] ** 2 + waves[:, None] ** 2 + waves**2
    noise = np.fft.fftn(rng.standard_normal((n, n, n)))
    cells = np.arange(n) // 8
    match name:
        case "constant":
            return np.ones((n, n, n))
        case "log-normal":  # variance 2
            g = np.fft.ifftn(noise / (1 + 0.05**2 * square)).real
            return np.exp(np.sqrt(2) * g / g.std())
        case "two phases":
            g = np.fft.ifftn(noise * np.exp(-(0.05**2) * square / 4)).real
            return np.where(g > 0, 1.0, 1e6)
        case "checkerboard":
            odd = cells[:, None, None] + cells[:, None] + cells
            return np.where(odd % 2 == 0, 1.0, 1e6)
        case "blocks":
            return (10 ** (6 * rng.random((n, n, n))))[np.ix_(cells, cells, cells)]
    raise ValueError(name)


MOST = {"constant": 8, "log-normal": 9, "two phases": 13, "checkerboard": 10, "blocks": 10}


@pytest.mark.parametrize("name", MOST)
def test_iterations(name: str, rng: np.random.Generator) -> None:
    k = field(name, 40)
    op = Diffusion(k, ndim=3)
    result = solve(LinearSystem(op, rng.standard_normal(k.shape)), CG(M=Multigrid()))
    assert result.iterations <= MOST[name]


@pytest.mark.parametrize("sides", [N, P, (P, N, N)], ids=str)
def test_a_consistent_singular_system(sides: Any, rng: np.random.Generator) -> None:
    op = Diffusion(rough(rng, (17, 20, 13)), ndim=3, boundary=sides)
    b = op.consistent(rng.standard_normal(op.domain.shape))
    result = solve(LinearSystem(op, b), CG(M=Multigrid()), stop=Stop(rtol=1e-8))
    assert result.iterations <= 16
    again = solve(LinearSystem(op, b), Auto(), stop=Stop(rtol=1e-8))
    assert again.status == Status.CONVERGED


def test_threads_do_not_matter(rng: np.random.Generator) -> None:
    k = rough(rng, (41, 36, 38))
    r = rng.standard_normal(k.shape)
    most = numba.get_num_threads()
    found = []
    for count in sorted({1, 2, most}):
        if count > most:
            pytest.skip("one thread only")
        numba.set_num_threads(count)
        try:
            found.append(Multigrid(cycle=Cycle.W)(Diffusion(k, ndim=3))(r))
        finally:
            numba.set_num_threads(most)
    for other in found[1:]:
        assert other.tobytes() == found[0].tobytes()


def test_members_equal_their_own_systems(rng: np.random.Generator) -> None:
    shape = (6, 7, 9)
    k, r = rough(rng, (3, *shape)), rng.standard_normal((3, *shape))
    mass = Identity(Space(shape))
    together = DOUBLE(Diffusion(k, ndim=3) + 2.0 * mass)(r)
    for i in range(3):
        alone = DOUBLE(Diffusion(k[i], ndim=3) + 2.0 * mass)(r[i])
        np.testing.assert_allclose(together[i], alone, rtol=1e-12, atol=1e-13 * np.abs(alone).max())


def test_an_f_cycle_needs_a_flexible_method(rng: np.random.Generator) -> None:
    k = field("two phases", 24)
    system = LinearSystem(Diffusion(k, ndim=3), rng.standard_normal(k.shape))
    result = solve(system, FlexibleCG(M=Multigrid(cycle=Cycle.F)))
    assert result.iterations <= 13


def test_update_equals_a_new_one(rng: np.random.Generator) -> None:
    a, b = (Diffusion(rough(rng, (12, 9, 10)), ndim=3) for _ in range(2))
    r = rng.standard_normal(a.domain.shape)
    updated = Multigrid()(a).update(b)
    assert updated(r).tobytes() == Multigrid()(b)(r).tobytes()


def test_bytes_per_unknown() -> None:
    assert Multigrid()(Diffusion(np.ones((64, 64, 64)), ndim=3)).nbytes < 60 * 64**3


def test_many_small_systems_in_3d_are_not_for_the_batched_solver(rng: np.random.Generator) -> None:
    op = Diffusion(rough(rng, (2, 6, 6, 6)), ndim=3)
    system = LinearSystem(op, rng.standard_normal((2, 6, 6, 6)))
    with pytest.raises(TypeError, match=r"2-D.*CG\(M=Multigrid"):
        solve(system, MultigridCG())
    assert solve(system, Auto()).ok
