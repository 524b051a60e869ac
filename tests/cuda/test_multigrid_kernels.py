"""Geometric multigrid for a GPU, run block by block on the host: its levels against matrices, its
cycle as a preconditioner against that of the CPU. CPU tensors stand for CUDA ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from sciml import Identity, LinearSystem, Stop, Trait, solve
from sciml.kernels import cuda
from sciml.kernels.cuda import multigrid as kernels
from sciml.operators import Diffusion, NodalDiffusion, Side
from solvers import CG, Multigrid
from solvers.multigrid import Cycle, Lines, Smoother
from solvers.multigrid.device import DeviceHierarchy, DeviceMultigrid, device_form
from tests.cuda._shim import COMPILER, Host

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the kernels with")
D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
ORDERS = (0, 1, 7)
F64 = np.dtype(np.float64)
# Even and odd lengths, rings of both, thin ones.
GRIDS = [
    ((9, 8), (D, D)),
    ((10, 7), (P, (N, D))),
    ((9, 11), (P, P)),
    ((2, 13), (P, D)),
    ((6, 5, 4), (D, D, D)),
    ((5, 4, 7), (P, N, P)),
    ((1, 6, 5), (P, D, N)),
]


def _taken_for_a_gpu(monkeypatch, order):
    """A host that takes CPU tensors for those of a GPU."""
    machine = Host(order)

    def device_of(*arrays):
        return machine if all(isinstance(a, torch.Tensor) for a in arrays) else None

    monkeypatch.setattr(cuda, "device_of", device_of)
    return machine


@pytest.fixture(params=ORDERS)
def there(request, monkeypatch):
    return _taken_for_a_gpu(monkeypatch, request.param)


@pytest.fixture
def shuffled(monkeypatch):
    return _taken_for_a_gpu(monkeypatch, 7)


def _k(rng, shape, spread=1.0):
    return np.exp(spread * rng.standard_normal(shape))


def _tensor(a):
    return torch.from_numpy(np.ascontiguousarray(a))


def _diffusion(k, sides, **more):
    return Diffusion(_tensor(k), ndim=len(sides), boundary=sides, **more)


def _matrix(A):
    """Of an operator on tensors."""
    n = A.domain.size
    unit = torch.eye(n, dtype=torch.float64).reshape(n, *A.domain.shape)
    return A(unit).reshape(n, n).numpy().T


def _hierarchy(A, there):
    device, form = device_form(A)
    return DeviceHierarchy(device, form, F64), kernels.Kernels(there, F64, F64), form


def _inside(grid, vector):
    """The points of a level's array."""
    full = vector.reshape(-1, *grid.padded)
    halo = [0 if axis == 0 and grid.flat else int(grid.halo) for axis in range(3)]
    cut = tuple(slice(h, h + n) for h, n in zip(halo, grid.n, strict=True))
    return full[(slice(None), *cut)].reshape(len(full), -1)


def _level_matrix(made, run, at):
    level = made.levels[at]
    found = torch.zeros((1, level.grid.points, level.grid.points), dtype=torch.float64)
    run.dense(1, level.grid, level.links, None, found)
    return found[0].numpy()


def _interpolation(made, run, at, fine_matrix):
    """P from level `at` + 1 to level `at`: by `correct`, and from all neighbours at the points that
    no cycle asks for."""
    coarse = made.levels[at].grid
    fine = made.fine.grid if at == 0 else made.levels[at - 1].grid
    n = coarse.points
    grid = torch.zeros((n, *coarse.padded), dtype=torch.float64)
    halo = [0 if axis == 0 and coarse.flat else 1 for axis in range(3)]
    for number in range(n):
        i = np.unravel_index(number, coarse.n)
        grid[(number, *(a + h for a, h in zip(i, halo, strict=True)))] = 1
    u = torch.zeros((n, fine.size), dtype=torch.float64)
    owners = torch.zeros(n, dtype=torch.int64)
    last = 0b1111 if fine.flat else 0b1111111  # without centres
    run.correct(n, fine, owners, made.levels[at].weights, grid.reshape(n, -1), u, which=last)
    P = _inside(fine, u).numpy().T.copy()
    if not fine.flat:
        i = np.indices(fine.n).reshape(3, -1)
        centres = (i % 2 == 1).all(axis=0)
        links = -fine_matrix[centres]
        links[:, np.flatnonzero(centres)] = 0
        P[centres] = links @ P / np.diag(fine_matrix)[centres, None]
    return P


@pytest.mark.parametrize(("shape", "sides"), GRIDS, ids=str)
def test_coarse_operators_are_galerkins(there, shape, sides, rng):
    A = _diffusion(_k(rng, shape), sides)
    made, run, form = _hierarchy(A, there)
    unit, scale = form.units
    fine = unit * scale * _matrix(A)
    for at in range(len(made.levels)):
        P = _interpolation(made, run, at, fine)
        coarse = _level_matrix(made, run, at)
        np.testing.assert_allclose(
            coarse, P.T @ fine @ P, rtol=0, atol=1e-13 * np.abs(coarse).max()
        )
        fine = coarse


@pytest.mark.parametrize(("shape", "sides"), GRIDS, ids=str)
def test_constants_are_interpolated_exactly_where_nothing_is_outside(shuffled, shape, sides, rng):
    shut = tuple(P if side is P else N for side in sides)
    A = _diffusion(_k(rng, shape), shut)
    made, run, form = _hierarchy(A, shuffled)
    fine = np.prod(form.units) * _matrix(A)
    for at in range(len(made.levels)):
        interpolation = _interpolation(made, run, at, fine)
        np.testing.assert_allclose(interpolation.sum(axis=1), 1, rtol=1e-12)
        fine = _level_matrix(made, run, at)


@pytest.mark.parametrize(("shape", "sides"), GRIDS, ids=str)
@pytest.mark.parametrize(
    ("there", "cycle"), [(0, Cycle.V), (1, Cycle.V), (7, Cycle.V), (7, Cycle.W)], indirect=["there"]
)
@pytest.mark.parametrize("smoother", Smoother)
def test_the_cycle_is_symmetric_and_positive(there, shape, sides, cycle, smoother, rng):
    A = _diffusion(_k(rng, shape, 2.0), sides)
    M = Multigrid(cycle, dtype=F64, smoother=smoother)(A)
    assert isinstance(M, DeviceMultigrid) and Trait.POSITIVE in M.traits
    B, own = _matrix(M), _matrix(A)
    np.testing.assert_allclose(B, B.T, rtol=0, atol=1e-14 * np.abs(B).max())
    assert np.linalg.eigvalsh(B)[0] > 0
    values, vectors = np.linalg.eigh(own)
    kept = values > 1e-10 * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    found = np.linalg.eigvalsh(root.T @ B @ root)
    assert found[0] > 0.1 and found[-1] < 1 + 1e-10


@pytest.mark.parametrize(("shape", "sides"), GRIDS, ids=str)
def test_chebyshevs_steps_are_those_of_its_polynomial(there, shape, sides, rng):
    """What they leave is T_2 of D^-1 A, 1 at 0; all points, centres too, are restricted and
    corrected; after the correction come the same steps, as Saad 2003, algorithm 12.1, has them."""
    A = _diffusion(_k(rng, shape), sides)
    device, form = device_form(A)
    made = DeviceHierarchy(device, form, F64, Smoother.CHEBYSHEV)
    run = kernels.Kernels(there, F64, F64)
    fine = np.prod(form.units) * _matrix(A)
    P = _interpolation(made, run, 0, fine)
    n, ndim = len(fine), len(shape)
    inverse, one = np.diag(1 / np.diag(fine)), np.eye(n)
    low, high = 1 / ndim, 2.0
    middle, half = (high + low) / 2, (high - low) / 2
    x = (middle * one - inverse @ fine) / half
    left = (2 * x @ x - one) / (2 * (middle / half) ** 2 - 1)  # T_2, 1 at 0
    residuals = torch.eye(n, dtype=torch.float64)
    f, found = (torch.zeros((n, made.levels[0].grid.size), dtype=torch.float64) for _ in range(2))
    z, owners = torch.zeros((n, n), dtype=torch.float64), torch.zeros(n, dtype=torch.int64)
    own = (owners, None, made.k, made.inv, residuals, z)
    first = made.levels[0]
    made.smoothing.down(run, own, first.weights, first.centres, f)
    smoothed = (one - left) @ np.linalg.pinv(fine)
    if Side.DIRICHLET in sum(A.boundary, ()):
        np.testing.assert_allclose(z.numpy().T, smoothed, rtol=0, atol=1e-12 * abs(smoothed).max())
    rest = P.T @ (one - fine @ z.numpy().T)
    np.testing.assert_allclose(_inside(first.grid, f).numpy().T, rest, rtol=0, atol=1e-13)
    inner = rng.standard_normal(first.grid.points)
    for e in found:
        _inside_view(first.grid, e)[...] = torch.from_numpy(inner.reshape(first.grid.n))
    out, before = torch.zeros_like(z), z.numpy().T.copy()
    made.smoothing.up(run, own, first.weights, first.centres, found, out, 1.0)
    corrected = before + (P @ inner)[:, None]
    steps = kernels.chebyshev(ndim, F64)
    y = corrected + float(steps["first"]) * inverse @ (one - fine @ corrected)
    last = y + float(steps["again"]) * (y - corrected)
    last += float(steps["next"]) * inverse @ (one - fine @ y)
    np.testing.assert_allclose(out.numpy().T, last, rtol=0, atol=1e-12 * abs(last).max())


def _inside_view(grid, vector):
    halo = [0 if axis == 0 and grid.flat else 1 for axis in range(3)]
    cut = tuple(slice(h, h + n) for h, n in zip(halo, grid.n, strict=True))
    return vector.reshape(grid.padded)[cut]


def _fields(name, n, ndim, rng):
    shape = (n,) * ndim
    x = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n] * ndim, indexing="ij"))
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 3, mode="wrap")
    if name == "smooth":
        return np.exp(np.sin(2 * np.pi * x).sum(axis=0))
    if name == "lognormal":
        return np.exp(2 * noise / noise.std())
    return np.where(noise > 0, 1e4, 1.0)


def _iterations(A, b, M, rtol=1e-8):
    found = solve(LinearSystem(A, b), CG(M=M), stop=Stop(rtol=rtol, max_iters=100))
    assert found.ok
    return int(np.max(found.iterations))


@pytest.mark.parametrize(
    ("name", "sides"), [("smooth", N), ("lognormal", P), ("jumps", D)], ids=str
)
@pytest.mark.parametrize(("n", "ndim"), [(32, 2), (12, 3)])
def test_iterations_are_those_of_the_cpu(shuffled, name, sides, n, ndim, rng):
    k = _fields(name, n, ndim, rng)
    b = rng.standard_normal(k.shape)
    b -= 0 if sides is D else b.mean()
    # in float64: the CPU's kernels compile for a minute, each type anew
    expected = _iterations(Diffusion(k, ndim=ndim, boundary=sides), b, Multigrid(dtype=F64))
    found = _iterations(_diffusion(k, (sides,) * ndim), _tensor(b), Multigrid())
    assert found <= expected + 2


@pytest.mark.parametrize("width", [0.8, 1.5])
def test_a_peak_between_far_smaller_numbers_does_not_overflow(shuffled, width):
    """On a lattice of a few entries, or on a face, it is e^-1000 and less."""
    n = 32
    i = np.arange(n) - n / 2 + 0.5
    b = np.exp(-(i[:, None, None] ** 2 + i[:, None] ** 2 + i**2) / (2 * width**2))
    A = _diffusion(np.ones((n, n, n)), (D,) * 3)
    with np.errstate(under="ignore"):
        assert _iterations(A, _tensor(b), Multigrid(dtype=np.float32)) <= 11


def test_a_vector_that_is_0_nearly_everywhere_is_brought_near_1(host, rng):
    r = np.zeros((3, 5000))
    r[0, 4999], r[1, 17], r[2] = 3e-200, -5e30, 0
    r, scale = torch.from_numpy(r), torch.zeros(3, dtype=torch.float64)
    kernels.Kernels(host, np.dtype(np.float32), np.dtype(np.float64)).scales(3, 5000, r, scale)
    brought = (scale[:, None] * r).abs().amax(dim=1)
    assert all(1 <= float(v) < 2 for v in brought[:2]) and float(scale[2]) == 1
    assert all(math.frexp(float(s))[0] == 0.5 for s in scale)


CASES = {
    "nodes, 2-D": lambda k, f: NodalDiffusion(f(k), ndim=2),
    "nodes, 3-D": lambda k, f: NodalDiffusion(f(k), ndim=3),
    "mass": lambda k, f: _massive(Diffusion(f(k), ndim=2, boundary=N)),
    "mass, 3-D": lambda k, f: _massive(Diffusion(f(k), ndim=3, boundary=N)),
    "solid": lambda k, f: Diffusion(f(k), ndim=2, solid=f(_wall(k.shape))),
    "solid, 3-D": lambda k, f: Diffusion(f(k), ndim=3, solid=f(_wall(k.shape))),
    "solid and mass": lambda k, f: _massive(Diffusion(f(k), ndim=2, solid=f(_wall(k.shape)))),
    "units far from 1": lambda k, f: Diffusion(f(1e30 * k), ndim=2),
    "few unknowns": lambda k, f: Diffusion(f(k[:4, :4].copy()), ndim=2),
    "a batch": lambda k, f: Diffusion(f(np.stack([k, 1 / k, k**2])), ndim=2),
    "a batch, 3-D": lambda k, f: Diffusion(f(np.stack([k, 1 / k, k**2])), ndim=3),
}


def _massive(A):
    return 0.1 * A + 2.0 * Identity(A.domain)


def _wall(shape):
    solid = np.zeros(shape, bool)
    solid[tuple(slice(n // 4, n // 2) for n in shape)] = True
    solid[2 * shape[0] // 3] = True
    solid[(2 * shape[0] // 3, *(n // 2 for n in shape[1:]))] = False
    return solid


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operators_that_the_cpu_takes(shuffled, case, dtype, rng):
    k = _k(rng, (9, 8, 10) if "3-D" in case else (24, 17))
    own, on_device = CASES[case](k, np.asarray), CASES[case](k, _tensor)
    shape = (*own.batch_shape, *own.domain.shape)
    b = rng.standard_normal(shape)
    b *= 1e-60  # beyond float32
    expected = _iterations(own, b, Multigrid(dtype=F64))
    assert isinstance(Multigrid()(on_device), DeviceMultigrid)
    assert _iterations(on_device, _tensor(b), Multigrid(dtype=dtype)) <= expected + 2


@pytest.mark.parametrize("case", CASES)
def test_chebyshev_takes_these_operators_too(shuffled, case, rng):
    k = _k(rng, (9, 8, 10) if "3-D" in case else (24, 17))
    A = CASES[case](k, _tensor)
    b = _tensor(1e-60 * rng.standard_normal((*A.batch_shape, *A.domain.shape)))
    before, now = (_iterations(A, b, Multigrid(dtype=np.float32, smoother=s)) for s in Smoother)
    assert now <= before
    assert ("smooth" in shuffled.launched) == (A.domain.size > 64)


@pytest.mark.parametrize("name", ["smooth", "lognormal", "jumps"])
@pytest.mark.parametrize(("n", "ndim", "fewer"), [(64, 2, 0), (16, 3, 2)])
def test_chebyshev_takes_fewer_iterations(shuffled, name, n, ndim, fewer, rng):
    k = _fields(name, n, ndim, rng)
    A, b = _diffusion(k, (D,) * ndim), _tensor(rng.standard_normal(k.shape))
    before, now = (_iterations(A, b, Multigrid(smoother=s)) for s in Smoother)
    assert now <= before - fewer


def test_right_hand_sides_of_a_batch_find_their_operator(shuffled, rng):
    k = _k(rng, (3, 12, 9), 0.3)  # no jumps, which one member alone may not have
    A = _diffusion(k, (D, D))
    M, r = Multigrid(dtype=F64)(A), rng.standard_normal((2, 3, 12, 9))
    z = M(_tensor(r)).numpy()
    for m in range(3):
        alone = Multigrid(dtype=F64)(_diffusion(k[m], (D, D)))
        np.testing.assert_allclose(z[:, m], alone(_tensor(r[:, m])).numpy(), rtol=1e-13, atol=1e-18)
    many = M(_tensor(r[0, :1]))
    assert tuple(many.shape) == (3, 12, 9)
    assert M(torch.zeros((0, 3, 12, 9), dtype=torch.float64)).shape == (0, 3, 12, 9)


def test_float32_cycles_are_linear_at_any_size(shuffled, rng):
    M = Multigrid(dtype=np.float32)(_diffusion(_k(rng, (9, 8)), (D, D)))
    r = rng.standard_normal((9, 8))
    point = np.zeros((9, 8))
    point[3, 4] = 1
    for b in (r, point):
        z = M(_tensor(b)).numpy()
        for size in (2.0**-600, 2.0**500):
            assert np.array_equal(M(_tensor(size * b)).numpy(), size * z)
    assert not M(torch.zeros((9, 8), dtype=torch.float64)).any()


@pytest.mark.parametrize("smoother", Smoother)
def test_nothing_goes_between_host_and_device_in_an_application(
    shuffled, smoother, rng, monkeypatch
):
    A = _diffusion(_k(rng, (3, 12, 9)), (D, D))
    M, r = Multigrid(smoother=smoother)(A), torch.ones((3, 12, 9), dtype=torch.float64)
    z = M._apply(r)  # finds the owners once

    def refuse(*_args, **_more):
        raise AssertionError("a value went between host and device")

    for name in ("item", "numpy", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    monkeypatch.setattr(torch, "from_numpy", refuse)
    again = M._apply(r)
    monkeypatch.undo()
    assert torch.equal(z, again)


def test_what_is_not_supported_is_told(shuffled, rng):
    A = _diffusion(_k(rng, (9, 8)), (D, D))
    with pytest.raises(ValueError, match="expected points on a GPU"):
        Multigrid(lines=(Lines.ROWS,))(A)
    with pytest.raises(ValueError, match="expected no algebraic level"):
        Multigrid(algebraic=1)(A)
    with pytest.raises(ValueError, match=r"expected Smoother\.GAUSS"):
        Multigrid(smoother=Smoother.CHEBYSHEV)(Diffusion(_k(rng, (9, 8))))
    M = Multigrid()(A)
    assert M.nbytes > 0
    with pytest.raises(ValueError, match="build a new one"):
        M.update(_diffusion(_k(rng, (9, 9)), (D, D)))
    with pytest.raises(TypeError, match="not symmetric"):
        Multigrid(Cycle.F)(A).H(torch.zeros((9, 8), dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smooth", "jumps"])
def test_iterations_at_64_cubed(shuffled, name, rng):
    k = _fields(name, 64, 3, rng)
    b = rng.standard_normal(k.shape)
    recipe = Multigrid(dtype=np.float32)
    assert (
        _iterations(_diffusion(k, (D,) * 3), _tensor(b), recipe)
        <= {"smooth": 11, "jumps": 14}[name]
    )
