"""Zebra line relaxation against dense linear algebra, and what it gains."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from sciml import LinearSystem, Stop, solve
from sciml.kernels.box import lines2d
from sciml.operators import Diffusion, Identity, Side
from solvers import CG
from solvers.multigrid import Cycle, Multigrid
from solvers.multigrid.coarsest import assemble
from solvers.multigrid.cycle import Lines
from solvers.multigrid.form import Form

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
ROWS, COLUMNS, BOTH, POINTS = Lines.ROWS, Lines.COLUMNS, Lines.BOTH, Lines.POINTS
KINDS = (ROWS, COLUMNS, BOTH)
SIDES = (D, N, P, ((D, N), P), (P, (N, D)))
SHAPES = ((9, 12), (16, 9), (6, 7), (13, 13), (5, 30), (30, 3))


class Chosen:
    """Makes Multigrid relax the given lines, whatever its rule says."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def __call__(
        self, op: Any, *lines: Lines, cycle: Cycle = Cycle.V, dtype: Any = np.float64
    ) -> Any:
        self.patch.setattr(Form, "lines", lambda form: lines)
        return Multigrid(cycle=cycle, dtype=dtype)(op)

    def iterations(self, op: Any, b: np.ndarray, *lines: Lines, cycle: Cycle, dtype: Any) -> int:
        self.patch.setattr(Form, "lines", lambda form: lines)
        recipe = Multigrid(cycle=cycle, dtype=dtype)
        stop = Stop(rtol=1e-6, max_iters=300)
        return solve(LinearSystem(op, b), CG(M=recipe), stop=stop, throw=False).iterations


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    return Chosen(monkeypatch)


def rough(rng: np.random.Generator, shape: tuple[int, ...], decades: float = 2.0) -> np.ndarray:
    return 10 ** rng.uniform(-decades, decades, shape)


def dense(M: Any) -> np.ndarray:
    n = M.domain.size
    return M(np.eye(n).reshape(n, *M.domain.shape)).reshape(n, n).T


# -- lines ---------------------------------------------------------------------------------------


def relax(levels: Any, level: int, kind: Lines, colour: int, r: np.ndarray) -> np.ndarray:
    """What relaxing the lines of one colour makes of 0, all others held at 0."""
    plan, (x, y) = levels.plans[level], levels.factors[level]
    u, w = np.zeros(plan.split, levels.dtype), np.zeros(plan.split, levels.dtype)
    rows, links, one = plan.padded[0], levels.view_links(level), levels.dtype.type(1)
    rest = (levels.rings, 1, one)
    if kind is ROWS:
        groups = lines2d.blocks(rows, colour, 1)
        lines2d._rows(0, groups, colour, True, r, u, links, x, *rest)
    else:
        count = lines2d._column_blocks(plan.width - 2)
        lines2d._columns(0, count, colour, True, False, r, u, links, y, w, *rest)
    found = np.zeros(plan.padded, levels.dtype)
    for parity in (0, 1):
        part = found[:, parity::2]
        part[...] = u[:, parity, 1 : part.shape[1] + 1]
    return found


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("shape", [(9, 12), (21, 18), (14, 7)], ids=str)
def test_lines_are_solved(
    shape: tuple[int, int], sides: Any, chosen: Chosen, rng: np.random.Generator
) -> None:
    solid = rng.random(shape) < 0.1
    levels = (
        chosen(Diffusion(rough(rng, shape), boundary=sides, solid=solid), BOTH).blocks[0].levels
    )
    for level in range(len(levels.plans) - 1):
        grid = levels.plans[level].padded
        mass = levels.view_mass(level)
        A = assemble(levels.view_links(level), mass, grid, levels.rings, 1)[0]
        where = np.divmod(np.arange(math.prod(grid)), grid[1])
        for kind, colour in itertools.product((ROWS, COLUMNS), (0, 1)):
            line = where[0 if kind is ROWS else 1]
            of_colour = np.where((line % 2 == colour) & (A.diagonal() > 0), line, -1)
            T = np.where((of_colour[:, None] == of_colour) & (of_colour >= 0), A, 0)
            r = T @ rng.standard_normal(len(T))  # a pocket of one line alone is singular
            u = relax(levels, level, kind, colour, r.reshape(grid)).reshape(-1)
            size = np.abs(T).sum(axis=1) * np.abs(u).max()
            np.testing.assert_array_less(np.abs(T @ u - r), 1e-11 * size + 1e-300)
            assert (u[of_colour < 0] == 0).all()


@pytest.mark.parametrize("sides", [N, P], ids=str)
@pytest.mark.parametrize("kind", [ROWS, COLUMNS], ids=str)
def test_pivots_lose_nothing_to_strong_links(sides: Any, kind: Lines, chosen: Chosen) -> None:
    """T 1 is what leaves the line, so that T^-1 of it is 1, though links along it are 1e9 times
    stronger, and far below the rounding of the diagonal in float32."""
    spacing = (10**4.5, 1.0) if kind is ROWS else (1.0, 10**4.5)
    op = Diffusion(np.ones((24, 20)), boundary=sides, spacing=spacing)
    levels = chosen(op, kind, dtype=np.float32).blocks[0].levels
    links = levels.view_links(0)
    across = links[1 if kind is ROWS else 0, 5, 0, 5]
    r = np.full((24, 20), 2 * across, np.float32)
    if sides is N:  # the lines at the sides have one neighbour only
        r[[0, -1] if kind is ROWS else np.s_[:, [0, -1]]] = across
    for colour in (0, 1):
        u = relax(levels, 0, kind, colour, r)
        lines = u[colour::2] if kind is ROWS else u[:, colour::2]
        np.testing.assert_allclose(lines, 1, rtol=1e-4)


# -- the cycle -------------------------------------------------------------------------------------


def interpolation(levels: Any, A: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """P, dense: edges from the stored weights, centres from the matrix (A P = 0 there)."""
    n0, n1 = shape
    h, v = levels.view_weights(0)
    c1 = (n1 + 1) // 2
    found = np.zeros((n0 * n1, (n0 + 1) // 2 * c1))
    for i, j in itertools.product(range(n0), range(n1)):
        row, coarse = found[i * n1 + j], i // 2 * c1 + j // 2
        if i % 2 == 1 and j % 2 == 1:
            continue
        own, step, inside = 1.0, 0, False
        if j % 2 == 1:
            own, step, inside = h[i // 2 + 1, j // 2 + 1], 1, j + 1 < n1
        elif i % 2 == 1:
            own, step, inside = v[i // 2 + 1, j // 2 + 1], c1, i + 1 < n0
        row[coarse] = own
        if inside:
            row[coarse + step] = 1 - own
    i, j = np.divmod(np.arange(n0 * n1), n1)
    centres = (i % 2 == 1) & (j % 2 == 1)
    off = A - np.diag(A.diagonal())
    found[centres] = -(off[centres] @ found) / A.diagonal()[centres, None]
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", [(8, 8), (7, 8), (8, 7), (7, 7), (9, 4), (6, 5)], ids=str)
@pytest.mark.parametrize("sides", [D, ((N, D), N)], ids=str)
def test_a_cycle_is_the_textbook_one(
    shape: tuple[int, int], sides: Any, kind: Lines, chosen: Chosen, rng: np.random.Generator
) -> None:
    op = Diffusion(rough(rng, shape, 0.5), boundary=sides)
    M = chosen(op, kind)
    A = op.assemble().toarray() * M.back
    transfer = interpolation(M.blocks[0].levels, A, shape)
    i, j = np.divmod(np.arange(A.shape[0]), shape[1])
    sets = [(i, c) for c in (0, 1) if kind & ROWS] + [(j, c) for c in (0, 1) if kind & COLUMNS]
    r = rng.standard_normal(A.shape[0])
    z = np.zeros_like(r)

    def relax(line: np.ndarray, colour: int) -> None:
        for one in range(colour, line.max() + 1, 2):
            p = np.flatnonzero(line == one)
            z[p] += np.linalg.solve(A[np.ix_(p, p)], (r - A @ z)[p])

    for line, colour in sets:
        relax(line, colour)
    z += transfer @ np.linalg.solve(transfer.T @ A @ transfer, transfer.T @ (r - A @ z))
    for line, colour in reversed(sets):
        relax(line, colour)
    got = M(r.reshape(shape)).reshape(-1) / M.back
    np.testing.assert_allclose(got, z, atol=1e-11 * np.abs(z).max())


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_symmetric_and_positive(
    shape: tuple[int, int], sides: Any, chosen: Chosen, rng: np.random.Generator
) -> None:
    """Rough k and cells ten times longer than wide: coarse links of both signs, odd rings."""
    k, solid = rough(rng, shape), rng.random(shape) < 0.15
    free = Diffusion(k, boundary=sides, spacing=(1.0, 0.1))
    held = Diffusion(k, boundary=sides, spacing=(1.0, 0.1), solid=solid)
    for op in (free, held, free + 3.0 * Identity(free.domain)):
        A = op.assemble().toarray()
        for lines in (*((kind,) for kind in KINDS), (POINTS, BOTH)):
            B = dense(chosen(op, *lines))
            # Pockets between solid cells hang on to the rest by little: rounding grows with that.
            rounding = 1e-11 if op is held else 1e-12
            assert np.abs(B - B.T).max() <= rounding * np.abs(B).max()
            assert np.linalg.eigvalsh(B).min() >= -1e-12 * np.abs(B).max()
            found = np.linalg.eigvals(B @ A).real
            # Masses are lumped and links that close odd rings are moved: no Galerkin operators.
            assert found.max() < (1.1 if "PERIODIC" not in str(sides) else 20)


# -- iterations --------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [D, N, P], ids=str)
@pytest.mark.parametrize("ratio", [10.0, 100.0])
def test_stretched_cells(
    sides: Any, ratio: float, chosen: Chosen, rng: np.random.Generator
) -> None:
    """A few iterations whatever the ratio and the size; points take 40 and more."""
    for n, kind in itertools.product((32, 128), (ROWS, COLUMNS)):
        spacing = (ratio, 1.0) if kind is ROWS else (1.0, ratio)
        op = Diffusion(np.ones((n, n + 3)), boundary=sides, spacing=spacing)
        b = rng.standard_normal((n, n + 3))
        b -= b.mean()
        for lines, dtype in itertools.product((kind, BOTH), (np.float32, np.float64)):
            most = 9 if sides is P else 6
            assert chosen.iterations(op, b, lines, cycle=Cycle.V, dtype=dtype) <= most


def test_lines_on_deeper_levels_where_k_jumps(chosen: Chosen, rng: np.random.Generator) -> None:
    """Random blocks of 5 x 5 cells to 1e6: the coarse grids see a new value at every point."""
    blocks = np.arange(256) // 5
    k = (10 ** (6 * rng.random((52, 52))))[np.ix_(blocks, blocks)]
    op, b = Diffusion(k), rng.standard_normal((256, 256))
    for cycle, gain in ((Cycle.V, 0.6), (Cycle.W, 0.8)):
        points, lines = (
            chosen.iterations(op, b, *chosen_lines, cycle=cycle, dtype=np.float32)
            for chosen_lines in ((POINTS,), (POINTS, POINTS, BOTH))
        )
        assert lines <= gain * points


# -- what must not matter ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("sides", [(N, D), P], ids=str)
def test_threads_do_not_matter(
    sides: Any, kind: Lines, chosen: Chosen, rng: np.random.Generator
) -> None:
    import numba

    op, r = Diffusion(rough(rng, (260, 291)), boundary=sides), rng.standard_normal((260, 291))
    before, found = numba.get_num_threads(), set()
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            found.add(chosen(op, kind, dtype=np.float32)(r).tobytes())
    finally:
        numba.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("sides", [D, P], ids=str)
def test_members_equal_their_own_systems(
    sides: Any, kind: Lines, chosen: Chosen, rng: np.random.Generator
) -> None:
    k, r = rough(rng, (3, 20, 23)), rng.standard_normal((3, 20, 23))
    wanted = [chosen(Diffusion(one, boundary=sides), kind)(x) for one, x in zip(k, r, strict=True)]
    got = chosen(Diffusion(k, ndim=2, boundary=sides), kind)(r)
    np.testing.assert_allclose(got, wanted, atol=1e-11 * np.abs(wanted).max())
