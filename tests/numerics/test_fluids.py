"""Flow on staggered grids, against closed forms and what the equations promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sciml import SolveError, Status, Stop
from sciml.fluids import (
    Advection,
    Flow,
    MACGrid,
    Plume,
    Velocity,
    advect_cells,
    advect_faces,
    ball,
    bunny,
    pressure_system,
    project,
)
from solvers import CG, IC0, Auto, Jacobi, Multigrid

SCHEMES = list(Advection)
SOLID = ball((12, 9), (0.5, 0.4), 0.2)


def scene(ndim: int) -> MACGrid:
    shape = (12, 9) if ndim == 2 else (8, 6, 7)
    return MACGrid(shape, solid=ball(shape, (0.5, *(0.4,) * (ndim - 1)), 0.2))


def random(grid: MACGrid, rng: np.random.Generator) -> Velocity:
    return tuple(rng.standard_normal(grid.faces(a)) for a in range(grid.ndim))


def centres(grid: MACGrid) -> list[np.ndarray]:
    at = [(np.arange(n) + 0.5) * grid.h for n in grid.shape]
    return list(np.meshgrid(*at, indexing="ij"))


def nodes(grid: MACGrid, axis: int) -> list[np.ndarray]:
    """Positions of the faces across `axis`."""
    at = [
        (np.arange(n + (a == axis)) + (0.0 if a == axis else 0.5)) * grid.h
        for a, n in enumerate(grid.shape)
    ]
    return list(np.meshgrid(*at, indexing="ij"))


# -- the grid ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradient_is_minus_the_adjoint_of_divergence(ndim: int, rng: np.random.Generator) -> None:
    grid = scene(ndim)
    u, p = random(grid, rng), rng.standard_normal(grid.shape)
    left = float((grid.divergence(u) * p).sum())
    right = -sum(float((a * b).sum()) for a, b in zip(u, grid.gradient(p), strict=True))
    assert left == pytest.approx(right, rel=1e-12)
    assert abs(left) > 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_pressure_operator_is_minus_div_grad_by_hand(ndim: int, rng: np.random.Generator) -> None:
    grid = scene(ndim)
    p = rng.standard_normal(grid.shape)
    want = np.zeros(grid.shape)
    for cell in np.ndindex(grid.shape):
        for axis in range(ndim):
            for step in (-1, 1):
                near = tuple(i + step * (a == axis) for a, i in enumerate(cell))
                inside = all(0 <= i < n for i, n in zip(near, grid.shape, strict=True))
                if inside and grid.fluid[cell] and grid.fluid[near]:
                    want[cell] += (p[cell] - p[near]) / grid.h**2
    composed = -grid.divergence(grid.gradient(p))
    np.testing.assert_allclose(composed, want, rtol=0, atol=1e-11 * np.abs(want).max())
    applied = np.where(grid.fluid, grid.pressure_operator(p), 0.0)
    np.testing.assert_allclose(applied, want, rtol=0, atol=1e-11 * np.abs(want).max())


def test_the_divergence_of_an_expansion_is_its_rate() -> None:
    grid = MACGrid((10, 8))
    expansion = tuple(nodes(grid, a)[a] for a in range(2))
    np.testing.assert_allclose(grid.divergence(expansion)[1:-1, 1:-1], 2, rtol=1e-12)


# -- transport ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_constant_stays_what_it_is(
    scheme: Advection, ndim: int, rng: np.random.Generator
) -> None:
    grid = scene(ndim)
    u = random(grid, rng)
    moved = advect_cells(grid, np.full(grid.shape, 0.1), u, 0.3, scheme)
    assert (moved == np.where(grid.fluid, 0.1, 0.0)).all()
    carried = advect_faces(grid, tuple(np.full_like(c, 0.1) for c in u), u, 0.3, scheme)
    for c, free in zip(carried, grid.open, strict=True):
        assert (c == np.where(free, 0.1, 0.0)).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_linear_profile_is_shifted_exactly(scheme: Advection, ndim: int) -> None:
    shape = (16, 14, 12)[:ndim]
    grid = MACGrid(shape)
    speed, slope, dt = (0.7, -0.4, 0.3)[:ndim], (1.0, 2.0, -3.0)[:ndim], 0.15
    flow = tuple(np.full(grid.faces(a), c) for a, c in enumerate(speed))
    shift = dt * sum(s * c for s, c in zip(slope, speed, strict=True))
    away = (slice(4, -4),) * ndim  # the furthest departure is 1.7 cells away, there and back

    def profile(at: list[np.ndarray]) -> np.ndarray:
        return sum(s * x for s, x in zip(slope, at, strict=True))

    values = profile(centres(grid))
    moved = advect_cells(grid, values, flow, dt, scheme)
    np.testing.assert_allclose(moved[away], values[away] - shift, rtol=0, atol=1e-13)
    carried = tuple(profile(nodes(grid, a)) for a in range(ndim))
    for got, was in zip(advect_faces(grid, carried, flow, dt, scheme), carried, strict=True):
        np.testing.assert_allclose(got[away], was[away] - shift, rtol=0, atol=1e-13)


def _rotated(n: int, scheme: Advection) -> tuple[float, np.ndarray]:
    """(mean error, field) of a smooth blob after a quarter turn, at a fixed Courant number."""
    grid = MACGrid((n, n))
    flow = (nodes(grid, 0)[1] - 0.5, 0.5 - nodes(grid, 1)[0])
    steps, (y, x) = n // 2, centres(grid)

    def blob(y0: float, x0: float) -> np.ndarray:
        return np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 0.1**2)

    field = blob(0.5, 0.72)
    for _ in range(steps):
        field = advect_cells(grid, field, flow, np.pi / 2 / steps, scheme)
    return float(np.abs(field - blob(0.72, 0.5)).mean()), field


@pytest.mark.parametrize(
    ("scheme", "least", "most"),
    [
        (Advection.SEMI_LAGRANGIAN, 0.6, 1.2),
        (Advection.MACCORMACK_UNLIMITED, 1.8, 2.3),
        (Advection.MACCORMACK, 1.7, 2.5),
    ],
)
def test_order_in_a_smooth_rotation(scheme: Advection, least: float, most: float) -> None:
    (coarse, _), (fine, field) = _rotated(64, scheme), _rotated(128, scheme)
    assert least < np.log2(coarse / fine) < most
    if scheme is not Advection.MACCORMACK_UNLIMITED:
        assert field.min() >= 0 and field.max() <= 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_limiter_makes_no_extremum_and_is_needed(ndim: int, rng: np.random.Generator) -> None:
    grid = scene(ndim)
    u = random(grid, rng)
    values = (rng.random(grid.shape) < 0.5).astype(float)
    for scheme in (Advection.SEMI_LAGRANGIAN, Advection.MACCORMACK):
        moved = advect_cells(grid, values, u, 0.1, scheme)
        assert moved.min() >= 0 and moved.max() <= 1
    free = advect_cells(grid, values, u, 0.1, Advection.MACCORMACK_UNLIMITED)
    assert free.min() < -0.01 or free.max() > 1.01


def test_what_lies_in_solid_cells_is_not_looked_at(rng: np.random.Generator) -> None:
    grid = scene(2)
    u, values = grid.closed(random(grid, rng)), rng.random(grid.shape)
    other = np.where(grid.fluid, values, 1e9)
    for scheme in SCHEMES:
        once = advect_cells(grid, values, u, 0.1, scheme)
        assert (once == advect_cells(grid, other, u, 0.1, scheme)).all()


# -- projection --------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", [CG(), CG(M=IC0()), CG(M=Multigrid()), Auto()], ids=str)
def test_what_is_certified_is_the_divergence_that_is_left(
    method: Any, ndim: int, rng: np.random.Generator
) -> None:
    grid, dt, stop = scene(ndim), 0.03, Stop(rtol=1e-7)
    u = random(grid, rng)
    before = np.linalg.norm(grid.divergence(u))
    found = project(grid, u, dt, method, stop=stop)
    left = grid.divergence(found.velocity)
    assert np.linalg.norm(left) <= 1e-7 * before * (1 + 1e-6)
    assert np.linalg.norm(left) == pytest.approx(found.result.residual * before, rel=1e-3)
    assert found.divergence.max == np.abs(left).max() * dt
    rms = np.sqrt((left[grid.fluid] ** 2).mean()) * dt
    assert found.divergence.rms == pytest.approx(rms, rel=1e-12)
    assert found.divergence.rms <= found.divergence.bound * (1 + 1e-6)
    for c, free in zip(found.velocity, grid.open, strict=True):
        assert not c[~free].any() and c[free].any()


def test_a_second_projection_changes_nothing(rng: np.random.Generator) -> None:
    grid, dt = scene(2), 0.03
    once = project(grid, random(grid, rng), dt, CG(M=IC0()), stop=Stop(rtol=1e-10))
    twice = project(grid, once.velocity, dt, CG(M=IC0()), stop=Stop(rtol=1e-3))
    size = max(np.abs(c).max() for c in once.velocity)
    for a, b in zip(once.velocity, twice.velocity, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-8 * size)
    for rtol in (1e-13, 0.0):  # rounding is all that is left then, and more is not asked for
        exact = project(grid, once.velocity, dt, CG(M=IC0()), stop=Stop(rtol=rtol))
        again = project(grid, exact.velocity, dt, CG(M=IC0()), stop=Stop(rtol=rtol))
        assert again.result.status is Status.CONVERGED and again.result.iterations <= 1


def test_a_gradient_is_taken_away_and_a_stream_function_kept(rng: np.random.Generator) -> None:
    """Hodge: u = curl psi + dt grad p; psi = 0 on the walls and in the solid, so no flow there."""
    grid, dt = scene(2), 0.1
    psi = np.zeros((13, 10))
    psi[1:-1, 1:-1] = rng.standard_normal((11, 8))
    for i, j in zip(*np.nonzero(~grid.fluid), strict=True):
        psi[i : i + 2, j : j + 2] = 0
    curl = (np.diff(psi, axis=1) / grid.h, -np.diff(psi, axis=0) / grid.h)
    assert np.abs(grid.divergence(curl)).max() < 1e-11
    p = rng.standard_normal(grid.shape) * grid.fluid
    mixed = tuple(c + dt * g for c, g in zip(curl, grid.gradient(p), strict=True))
    found = project(grid, mixed, dt, CG(M=Jacobi()), stop=Stop(rtol=1e-12))
    for got, want in zip(found.velocity, curl, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-8)
    shifted = (found.pressure - p)[grid.fluid]
    np.testing.assert_allclose(shifted, shifted.mean(), rtol=0, atol=1e-8)


def test_separate_basins_are_each_consistent(rng: np.random.Generator) -> None:
    solid = np.zeros((10, 8), bool)
    solid[:, 3] = True
    grid = MACGrid((10, 8), solid=solid)
    found = project(grid, random(grid, rng), 0.1, CG(M=IC0()), stop=Stop(rtol=1e-10))
    assert found.divergence.rms <= found.divergence.bound * (1 + 1e-6)


def test_at_rest_there_is_nothing_to_solve() -> None:
    grid = scene(2)
    found = project(grid, grid.still(), 0.1, CG())
    assert found.result.iterations == 0 and found.divergence.max == 0


def test_a_failed_projection_says_so(rng: np.random.Generator) -> None:
    grid = scene(2)
    with pytest.raises(SolveError, match="MAX_ITERS"):
        project(grid, random(grid, rng), 0.1, CG(), stop=Stop(max_iters=1))
    found = project(grid, random(grid, rng), 0.1, CG(), stop=Stop(max_iters=1), throw=False)
    assert found.divergence.rms > found.divergence.bound


# -- smoke -------------------------------------------------------------------------------------


def run(plume: Plume, flow: Flow, steps: int, dt: float) -> Flow:
    solver: Any = CG(M=IC0())
    for _ in range(steps):
        flow, found = plume.step(flow, dt, solver, stop=Stop(rtol=1e-9))
        solver = found.result.solver
    return flow


@pytest.mark.parametrize("ndim", [2, 3])
def test_smoke_rises_past_an_obstacle_and_stays_out_of_it(ndim: int) -> None:
    shape = (32, 24) if ndim == 2 else (20, 12, 12)
    middle = (0.375, 0.3)[ndim - 2]
    grid = MACGrid(shape, solid=bunny(shape, (0.5, *(middle,) * (ndim - 1)), 0.2))
    plume = Plume(grid, ball(shape, (0.12, *(middle,) * (ndim - 1)), 0.1))
    flow, height = plume.start(), centres(grid)[0]
    before = (flow.smoke * height).sum() / flow.smoke.sum()
    flow = run(plume, flow, 30, 0.04)
    assert (flow.smoke * height).sum() / flow.smoke.sum() > before + 0.05
    assert flow.smoke.min() >= 0 and flow.smoke.max() <= 1
    assert not flow.smoke[~grid.fluid].any()
    assert flow.time == pytest.approx(30 * 0.04)
    for c, free in zip(flow.velocity, grid.open, strict=True):
        assert not c[~free].any()


@pytest.mark.parametrize(
    ("scheme", "bound"),
    [
        (Advection.SEMI_LAGRANGIAN, 0.04),
        (Advection.MACCORMACK, 0.04),
        (Advection.MACCORMACK_UNLIMITED, 0.01),
    ],
)
def test_smoke_of_a_closed_box_is_kept_within_a_bound(scheme: Advection, bound: float) -> None:
    """Transport by interpolation conserves nothing by itself: 4 % in 60 steps of Courant 1."""
    grid = MACGrid((48, 48))
    y, x = centres(grid)
    blob = np.exp(-((y - 0.3) ** 2 + (x - 0.45) ** 2) / 0.12**2)
    plume = Plume(grid, np.zeros(grid.shape, bool), advection=scheme)
    flow = run(plume, Flow(grid.still(), np.zeros(grid.shape), blob), 60, 0.03)
    assert abs(flow.smoke.sum() / blob.sum() - 1) < bound
    assert max(np.abs(c).max() for c in flow.velocity) > 0.2


def test_a_plane_is_a_slab_that_does_not_vary() -> None:
    plane, slab = (16, 12), (16, 5, 12)
    solid, inflow = ball(plane, (0.55, 0.3), 0.14), ball(plane, (0.15, 0.35), 0.12)

    def thick(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.broadcast_to(a[:, None, :], slab))

    flat = Plume(MACGrid(plane, solid=solid), inflow)
    deep = Plume(MACGrid(slab, solid=thick(solid)), thick(inflow))
    one, other = run(flat, flat.start(), 12, 0.06), run(deep, deep.start(), 12, 0.06)
    np.testing.assert_allclose(other.smoke, thick(one.smoke), rtol=0, atol=1e-6)
    for axis, c in ((0, one.velocity[0]), (2, one.velocity[1])):
        same = np.broadcast_to(c[:, None, :], other.velocity[axis].shape)
        np.testing.assert_allclose(other.velocity[axis], same, rtol=0, atol=1e-6)
    assert np.abs(other.velocity[1]).max() < 1e-6
    assert np.abs(one.velocity[1]).max() > 0.05


def test_nothing_moves_without_buoyancy() -> None:
    plume = Plume(scene(2), ball((12, 9), (0.1, 0.3), 0.1), buoyancy=0.0)
    flow = run(plume, plume.start(), 3, 0.1)
    assert (flow.smoke == plume.start().smoke).all()
    assert not any(c.any() for c in flow.velocity)


def test_states_are_values(rng: np.random.Generator) -> None:
    plume = Plume(scene(2), ball((12, 9), (0.1, 0.3), 0.1))
    flow = Flow(random(plume.grid, rng), rng.random((12, 9)), rng.random((12, 9)))
    arrays = (*flow.velocity, flow.pressure, flow.smoke)
    before = [a.copy() for a in arrays]
    plume.step(flow, 0.1, CG())
    assert all((a == b).all() for a, b in zip(arrays, before, strict=True))


def test_threads_change_nothing(rng: np.random.Generator) -> None:
    import numba

    grid = MACGrid((64, 48))
    u, values = random(grid, rng), rng.random(grid.shape)
    threads, found = numba.get_num_threads(), []
    for count in (1, threads):
        numba.set_num_threads(count)
        found.append(advect_cells(grid, values, u, 0.1))
    assert (found[0] == found[1]).all()


# -- bad calls ---------------------------------------------------------------------------------


def test_bad_calls_are_refused(rng: np.random.Generator) -> None:
    grid = scene(2)
    u, values = random(grid, rng), rng.random(grid.shape)
    nan = (np.full_like(u[0], np.nan), u[1])
    calls: list[tuple[type[Exception], Any]] = [
        (ValueError, lambda: MACGrid((4,))),
        (ValueError, lambda: MACGrid((4, 0))),
        (ValueError, lambda: MACGrid((4, 4), spacing=0.0)),
        (ValueError, lambda: MACGrid((4, 4), solid=np.ones((4, 4), bool))),
        (TypeError, lambda: MACGrid((4, 4), solid=np.ones((4, 4)))),
        (ValueError, lambda: MACGrid((4, 4), solid=np.zeros((4, 5), bool))),
        (TypeError, lambda: grid.divergence(u[0])),
        (TypeError, lambda: grid.divergence(u[:1])),
        (ValueError, lambda: grid.divergence((u[1], u[0]))),
        (TypeError, lambda: grid.gradient(values.astype(np.float32))),
        (ValueError, lambda: advect_cells(grid, values, nan, 0.1)),
        (ValueError, lambda: advect_cells(grid, values * np.inf, u, 0.1)),
        (ValueError, lambda: advect_cells(grid, values, u, float("nan"))),
        (TypeError, lambda: advect_cells(grid, values, u, 0.1, "maccormack")),  # type: ignore
        (ValueError, lambda: project(grid, u, 0.0, CG())),
        (ValueError, lambda: Plume(grid, ~grid.fluid)),
        (TypeError, lambda: Plume(grid, values)),
        (ValueError, lambda: ball((4, 4), (0.5,), 0.1)),
        (ValueError, lambda: bunny((4, 4), (0.5, 0.5), 0.0)),
    ]
    for kind, call in calls:
        with pytest.raises(kind, match="expected"):
            call()
    assert pressure_system(grid, u, 0.1).b.shape == grid.shape
    with pytest.raises(SolveError, match="NONFINITE_INPUT"):
        project(grid, nan, 0.1, CG())


def test_velocities_beyond_all_bounds_do_not_reach_outside_the_grid() -> None:
    grid = scene(2)
    u = tuple(np.full(grid.faces(a), (-1) ** a * 1e308) for a in range(2))
    values = np.arange(grid.pressure_operator.domain.size, dtype=float).reshape(grid.shape)
    moved = advect_cells(grid, values, u, 1e300)
    assert moved.min() >= 0 and moved.max() <= values.max()
