"""Remedies for PINNs: hard conditions, causal and balanced weights, windows, Nyström sketches."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml import Stop
from sciml.operators import Dense
from solvers import CG, Jacobi
from solvers.pinn import nystrom, sketch, spectrum
from solvers.pinn.balance import balanced, balancing, traces
from solvers.pinn.causal import Causal
from solvers.pinn.deepxde import as_network, precondition
from solvers.pinn.features import FourierEmbedding, PeriodicEmbedding
from solvers.pinn.gauss_newton import GaussNewton, Normal, Nystrom, Progress, minimise
from solvers.pinn.hard import HardConditions, Side, Transformed, box_conditions, hard_conditions
from solvers.pinn.residuals import PointwiseResiduals, Term
from solvers.pinn.windows import Trained, Windowed
from tests.numerics._pinns import F64, d, tanh_network

SEEDS = st.integers(0, 2**31)


def _poisson(network, k: float = 1.0, points: int = 40, *, hard=False, weights=(1.0, 10.0)):
    """-u'' = (k pi)² sin(k pi x) on (-1, 1), u(±1) = 0 in the loss or by construction."""
    inside = torch.linspace(-1, 1, points + 2, dtype=F64)[1:-1]
    x = torch.cat([torch.tensor([-1.0, 1.0], dtype=F64), inside])[:, None]

    def terms(x, u):
        f = -d(d(u, x), x) - (k * math.pi) ** 2 * torch.sin(k * math.pi * x)
        found = [Term(f[2:], slice(2, points + 2), weights[0], "the equation")]
        return found if hard else [*found, Term(u[:2], slice(0, 2), weights[1], "u(±1)")]

    return PointwiseResiduals(network, x, terms)


def _error(network, k: float) -> float:
    x = torch.linspace(-1, 1, 401, dtype=F64)[:, None]
    true = torch.sin(k * math.pi * x)
    return float((network(x).detach() - true).norm() / true.norm())


# -- Nyström sketches -----------------------------------------------------------------------------


def _krylov(**how) -> GaussNewton:
    return GaussNewton(normal=Normal.KRYLOV, stop=Stop(rtol=1e-8, max_iters=2000), **how)


def test_the_spectrum_of_a_loss_is_that_of_its_jacobian():
    _, J = _poisson(tanh_network(1, 6, 1)).linearise()
    values = torch.linalg.svdvals(J.matrix()).numpy() ** 2
    found = spectrum(J.normal).eigenvalues[::-1][: len(values)]
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-12 * values[0])


def test_a_sketch_changes_the_iterations_and_not_the_answer():
    plain, sketched = (_poisson(tanh_network(1, 12, 12, 1)) for _ in range(2))
    now, _ = minimise(plain, _krylov(damping=1e-8), iterations=1)
    then, _ = minimise(sketched, _krylov(damping=1e-8, nystrom=Nystrom(rank=20)), iterations=1)
    torch.testing.assert_close(sketched.theta(), plain.theta(), rtol=1e-5, atol=1e-7)
    assert then.unsolved == now.unsolved == 0
    assert 0 < 3 * then.inner < now.inner


def test_sketched_trainings_resume_to_the_bit():
    method = _krylov(nystrom=Nystrom(rank=10, seed=5))
    whole, parts = (_poisson(tanh_network(1, 8, 1)) for _ in range(2))
    now, _ = minimise(whole, method, iterations=5)
    then, _ = minimise(parts, method, iterations=2)
    then, _ = minimise(parts, method, iterations=3, start=then)
    assert torch.equal(whole.theta(), parts.theta()) and now == then
    assert now.inner > 5 * 10  # sketches were made


def test_a_restored_model_goes_on_with_its_sketch(dde, tmp_path):
    def model():
        dde.config.set_random_seed(1)
        line = dde.geometry.Interval(-1, 1)
        equation = lambda x, u: -dde.grad.hessian(u, x) - torch.sin(x)  # noqa: E731
        data = dde.data.PDE(line, equation, [], 12, 2)
        net = dde.nn.FNN([1, 6, 1], "tanh", "Glorot uniform")
        net.apply_output_transform(hard_conditions(line))
        return precondition(dde.Model(data, net), _krylov(nystrom=Nystrom(rank=8)))

    whole, first, second = model(), model(), model()
    whole.train(iterations=4, verbose=0)
    first.train(iterations=2, verbose=0)
    path = first.save(str(tmp_path / "m"), verbose=0)
    second.restore(path, verbose=0)
    second.train(iterations=2, verbose=0)
    pairs = zip(whole.net.parameters(), second.net.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert second.opt.progress == whole.opt.progress


def test_a_matrix_that_falls_below_rounding_is_sketched(rng):
    U = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    values = 10.0 ** -np.arange(40)
    A = Dense((U * values) @ U.T + 1e-17 * rng.standard_normal((40, 40))).normal
    found = sketch(A, 30, rng=rng)
    assert np.isfinite(found.values).all() and found.values[0] == pytest.approx(1.0, rel=1e-8)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(30), atol=1e-10)
    root = nystrom(A, 30, 1e-6, rng=np.random.default_rng(0))
    inverse = sketch(A, 30, rng=np.random.default_rng(0)).inverse(1e-6)
    x = rng.standard_normal(40)
    np.testing.assert_allclose(root(root(x)), inverse(x), rtol=1e-10)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"normal": Normal.SAMPLES, "nystrom": Nystrom()}, "normal=Normal.KRYLOV"),
        ({"solver": CG(M=Jacobi()), "nystrom": Nystrom()}, "without a preconditioner"),
    ],
)
def test_sketches_that_would_not_be_used_are_refused(how, says):
    with pytest.raises(ValueError, match=says):
        GaussNewton(**how)
    with pytest.raises((TypeError, ValueError), match="rank"):
        Nystrom(rank=0)


# -- hard conditions ------------------------------------------------------------------------------


def _data(x):
    return torch.sin(3 * x[:, :1]) + x.square().sum(dim=1, keepdim=True) * x[:, -1:]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, dim=st.integers(1, 3), data=st.data())
def test_conditions_hold_on_the_sides_for_any_weights(seed, dim, data):
    sides = data.draw(st.lists(st.sampled_from(Side), min_size=dim, max_size=dim))
    rng = np.random.default_rng(seed)
    low = rng.uniform(-3, 3, dim)
    high = low + rng.uniform(0.1, 5, dim)
    if all(side is Side.NONE for side in sides):
        with pytest.raises(ValueError, match="NONE for all"):
            box_conditions(low, high, sides=sides)
        return
    network = tanh_network(dim, 5, 2, seed=seed)
    hard = Transformed(network, box_conditions(low, high, _data, sides=sides))
    zero = Transformed(network, box_conditions(low, high, sides=sides))
    x = torch.from_numpy(low + (high - low) * rng.random((7, dim)))
    assert bool((zero(x) != 0).any())
    for axis, side in enumerate(sides):
        ends = {Side.LOW: [low], Side.HIGH: [high], Side.BOTH: [low, high]}.get(side, [])
        for end in ends:
            at = x.clone()
            at[:, axis] = end[axis]
            torch.testing.assert_close(hard(at), _data(at).expand(-1, 2), rtol=1e-12, atol=1e-11)
            assert not bool(zero(at).any())


def test_conditions_of_deepxde_geometries(dde):
    shapes = dde.geometry
    time = shapes.TimeDomain(0, 2)
    cases = [
        shapes.Interval(-1, 2),
        time,
        shapes.Rectangle([0, 0], [1, 2]),
        shapes.GeometryXTime(shapes.Rectangle([0, -1], [1, 2]), time),
        shapes.Disk([0.5, 0], 2),
        shapes.GeometryXTime(shapes.Disk([0, 0], 1), time),
    ]
    for geometry in cases:
        hard = Transformed(tanh_network(geometry.dim, 4, 1), hard_conditions(geometry, _data))
        timed = isinstance(geometry, shapes.GeometryXTime)
        points = np.zeros((1, 1)) if geometry is time else geometry.random_boundary_points(20)
        if timed:
            points = np.vstack([points, geometry.random_initial_points(20)])
        x = torch.from_numpy(points.astype(np.float64))
        torch.testing.assert_close(hard(x), _data(x), rtol=1e-5, atol=1e-5)  # points are float32
    with pytest.raises(TypeError, match="geometry of DeepXDE"):
        hard_conditions("a disk")
    with pytest.raises(ValueError, match="distance of your own"):
        hard_conditions(shapes.CSGUnion(cases[2], shapes.Rectangle([2, 2], [3, 3])))
    with pytest.raises(ValueError, match="box with sides"):
        hard_conditions(cases[4], sides=[Side.LOW] * 2)


def test_hard_conditions_train_without_a_term_of_the_loss():
    network = Transformed(tanh_network(1, 10, 1), box_conditions([-1.0], [1.0]))
    minimise(_poisson(network, hard=True), GaussNewton(), iterations=25)
    assert _error(network, 1.0) < 1e-4


def test_bad_conditions_are_told():
    with pytest.raises(ValueError, match="low < high"):
        box_conditions([0.0], [0.0])
    with pytest.raises(ValueError, match="one length"):
        box_conditions([0.0], [1.0, 2.0])
    flat = box_conditions([0.0], [1.0], lambda x: x[:, 0])
    x = torch.rand(3, 1, dtype=F64)
    with pytest.raises(ValueError, match="keep the last axis"):
        flat(x, x)
    with pytest.raises(ValueError, match=r"points \(n, 1\)"):
        flat(torch.rand(3, 2, dtype=F64), x)
    assert isinstance(flat, HardConditions)


# -- causal weights -------------------------------------------------------------------------------


def test_causal_weights_in_closed_form():
    causal = Causal(lambda x, u: [u, 2 * u], edges=[0, 1, 2, 3], epsilon=0.3)
    x = torch.tensor([[9.0, 0.5], [8.0, 1.0], [7.0, 1.5], [6.0, 2.9], [5.0, 7.0]], dtype=F64)
    u = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]], dtype=F64)
    assert causal.slabs(x).tolist() == [0, 1, 1, 2, 2]
    losses = 5 * torch.tensor([1.0, (4 + 9) / 2, (16 + 25) / 2], dtype=F64)
    torch.testing.assert_close(causal.losses(x, u), losses)
    torch.testing.assert_close(causal(x, u)[1], 2 * u)  # before the first update
    causal.update(x, u)
    expected = torch.exp(-0.3 * torch.tensor([0.0, 5.0, 5 + 32.5], dtype=F64))
    torch.testing.assert_close(causal.weights, expected)
    torch.testing.assert_close(causal(x, u)[0], expected.sqrt()[[0, 1, 1, 2, 2], None] * u)
    assert causal.least == float(expected[-1])
    causal.update(x, 0 * u)
    assert causal.least == 1.0
    with pytest.raises(FloatingPointError):
        causal.update(x, math.nan * u)


def _decay():
    """u_t = -u, u(0) = 1, with causal weights; (residuals, causal)."""
    causal = Causal(lambda t, u: d(u, t) + u, edges=[0, 0.5, 1, 1.5, 2], epsilon=50.0)
    t = torch.linspace(0, 2, 41, dtype=F64)[:, None]

    def terms(t, u):
        return [Term(causal(t, u), slice(0, 41)), Term(u[:1] - 1, slice(0, 1), 10.0)]

    return PointwiseResiduals(tanh_network(1, 8, 1), t, terms), causal


def test_losses_never_rise_but_where_weights_changed():
    residuals, causal = _decay()
    now = Progress()
    for _ in range(8):
        x = residuals.inputs.clone().requires_grad_()
        causal.update(x, residuals.network(x))
        now, _ = minimise(residuals, GaussNewton(), iterations=1, start=now)
    changed = dict(now.changes)
    for k, (before, after) in enumerate(pairwise(now.losses)):
        assert after <= changed.get(k, before)
    assert changed and 0 not in changed
    assert causal.least > 0.99
    plain, _ = minimise(residuals, GaussNewton(), iterations=2, start=now)
    assert (
        plain.changes[: len(now.changes)] == now.changes and len(plain.changes) <= len(changed) + 1
    )


def test_causal_training_of_deepxde_models(dde):
    def model(every=1):
        dde.config.set_random_seed(1)
        equation = lambda t, u: dde.grad.jacobian(u, t) + u  # noqa: E731
        causal = Causal(equation, edges=np.linspace(0, 2, 5), epsilon=20.0)
        data = dde.data.PDE(dde.geometry.TimeDomain(0, 2), causal, [], 30, 2)
        net = dde.nn.FNN([1, 8, 1], "tanh", "Glorot uniform")
        hard = hard_conditions(data.geom, lambda t: torch.ones_like(t))
        net.apply_output_transform(hard)
        return dde.Model(data, net), causal

    trained, causal = model()
    precondition(trained).train(iterations=12, callbacks=[causal.callback()], verbose=0)
    t = np.linspace(0, 2, 21)[:, None]
    assert np.abs(trained.predict(t) - np.exp(-t)).max() < 1e-4
    assert causal.least > 0.99 and trained.opt.progress.changes
    usual, causal = model()
    usual.compile("adam", lr=1e-3, verbose=0)
    usual.train(iterations=3, callbacks=[causal.callback()], verbose=0)
    assert 0 < causal.least < 0.9
    with pytest.raises(ValueError, match="weighted equation"):
        other = Causal(causal.equation, edges=[0, 1])
        usual.train(iterations=1, callbacks=[other.callback()], verbose=0)


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.0, 1.0], [[0.0, 1.0]]])
def test_bad_edges_are_told(edges):
    with pytest.raises(ValueError, match="ascending"):
        Causal(lambda x, u: u, edges=edges)


# -- balanced weights -----------------------------------------------------------------------------


def test_balanced_weights_make_traces_alike(rng):
    weights = [3.0, 7.0]
    residuals = _poisson(tanh_network(1, 9, 1), 4.0, weights=weights)
    J = residuals.linearise()[1].matrix()
    before = traces(residuals)
    torch.testing.assert_close(before, torch.stack([J[:40].square().sum(), J[40:].square().sum()]))
    weights[:] = balanced(residuals)
    after = traces(residuals)
    torch.testing.assert_close(after, before.mean().expand(2))
    assert balanced(residuals) == pytest.approx(weights, rel=1e-12)
    # from products alone: the mean of the estimates is the trace
    probed = torch.stack([traces(residuals, probes=4, rng=rng) for _ in range(50)]).mean(0)
    torch.testing.assert_close(probed, after, rtol=0.2, atol=0)
    with pytest.raises(TypeError, match="Generator"):
        traces(residuals, probes=4)


def test_balancing_of_deepxde_models(dde):
    dde.config.set_random_seed(1)
    line = dde.geometry.Interval(-1, 1)
    equation = lambda x, u: -dde.grad.hessian(u, x) - torch.sin(x)  # noqa: E731
    ends = dde.icbc.DirichletBC(line, lambda x: 0, lambda x, on: on)
    model = dde.Model(
        dde.data.PDE(line, equation, ends, 12, 2), dde.nn.FNN([1, 6, 1], "tanh", "Glorot uniform")
    )
    model.compile("adam", lr=1e-3, verbose=0)
    before = [p.data for p in model.net.parameters()]
    model.train(iterations=2, callbacks=[balancing(every=2)], verbose=0)
    assert all(p.data is not None and p.dtype == torch.float32 for p in model.net.parameters())
    assert len(before) == 4 and len(model.loss_weights) == 2
    from solvers.pinn.deepxde import residuals

    again = traces(residuals(precondition(model)))
    torch.testing.assert_close(again[0], again[1], rtol=1e-6, atol=0)


# -- windows and features -------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, counts=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_windows_sum_to_one(seed, counts):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-2, 2, len(counts))
    high = low + rng.uniform(0.2, 3, len(counts))
    model = Windowed(low, high, counts, width=2, rng=rng)
    x = torch.from_numpy(low + (high - low) * rng.uniform(-0.2, 1.2, (30, len(counts))))
    w = model.partition(x)
    assert w.shape == (30, math.prod(counts)) and bool((w >= 0).all())
    torch.testing.assert_close(w.sum(dim=1), torch.ones(30, dtype=F64), rtol=0, atol=1e-13)
    assert int((w > 0).sum(dim=1).max()) <= 2 ** len(counts)


def test_a_windowed_network_is_the_sum_of_its_networks(rng):
    model = Windowed([0.0, -1.0], [2.0, 1.0], [3, 2], width=4, layers=2, outputs=2, rng=rng)
    x = torch.from_numpy(rng.uniform(0, 1, (9, 2)))
    total = torch.zeros(9, 2, dtype=F64)
    share = model.partition(x)
    for j in range(6):
        centre = torch.tensor([j // 2, [-1.0, 1.0][j % 2]], dtype=F64)
        h = (x - centre) / torch.tensor([1.0, 2.0], dtype=F64)
        for layer, (W, c) in enumerate(zip(model.weights, model.biases, strict=True)):
            h = h @ W[j].T + c[j]
            h = torch.tanh(h) if layer < 2 else h
        total += share[:, j : j + 1] * h
    torch.testing.assert_close(model(x), total)


def test_windows_have_three_continuous_derivatives(rng):
    model = Windowed([0.0], [1.0], [5], width=3, rng=rng)
    edges = torch.tensor([0.25, 0.5, 0.75], dtype=F64)[:, None]
    sides = []
    for shift in (-1e-12, 1e-12):
        x = (edges + shift).requires_grad_()
        found = [model(x)]
        for _ in range(3):
            found.append(d(found[-1], x))
        sides.append(torch.cat(found, dim=1))
    torch.testing.assert_close(*sides, rtol=1e-5, atol=1e-4)


def test_one_step_solves_a_linear_problem_of_high_frequency(rng):
    features = Windowed([-1.0], [1.0], [24], width=20, gain=4.0, trained=Trained.LAST, rng=rng)
    model = Transformed(features, box_conditions([-1.0], [1.0]))
    residuals = _poisson(model, 20.0, 800, hard=True)
    now, _ = minimise(residuals, GaussNewton(damping=1e-14), iterations=1)
    assert residuals.pointwise and now.iterations == 1
    assert _error(model, 20.0) < 1e-3
    J = residuals.linearise()[1].matrix()
    assert float((J != 0).double().mean()) <= 2 / 24 + 1e-3


def test_windows_are_networks_of_deepxde(dde, rng):
    line = dde.geometry.Interval(-1, 1)
    equation = lambda x, u: -dde.grad.hessian(u, x) - torch.sin(x)  # noqa: E731
    net = as_network(Windowed([-1.0], [1.0], [3], width=4, rng=rng).float())
    net.apply_output_transform(hard_conditions(line))
    net.apply_feature_transform(lambda x: 1.0 * x)
    model = dde.Model(dde.data.PDE(line, equation, [], 20, 2), net)
    model.compile("adam", lr=1e-3, verbose=0)
    model.train(iterations=1, verbose=0)
    precondition(model).train(iterations=10, verbose=0)
    x = np.linspace(-1, 1, 21)[:, None]
    assert np.abs(model.predict(x) - np.sin(x) + np.sin(1) * x).max() < 1e-4


def test_embeddings():
    x = torch.rand(5, 2, dtype=F64)
    periodic = PeriodicEmbedding([3.0, None], 2)
    found = periodic(x)
    assert found.shape == (5, periodic.size) == (5, 5)
    shifted = periodic(x + torch.tensor([3.0, 0.0], dtype=F64))
    torch.testing.assert_close(found, shifted, rtol=0, atol=1e-13)
    torch.testing.assert_close(found[:, 1], torch.cos(4 * math.pi / 3 * x[:, 0]))
    torch.testing.assert_close(found[:, 4], x[:, 1])
    fourier = FourierEmbedding(2, 4, [1.0, 0.0], rng=np.random.default_rng(0))
    assert fourier(x).shape == (5, fourier.size) == (5, 8)
    torch.testing.assert_close(fourier(x)[:, 4:], torch.sin(2 * math.pi * x @ fourier.waves.T))
    assert not bool(fourier.waves[:, 1].any())
    for bad in (periodic, fourier):
        with pytest.raises(ValueError, match=r"points \(n, 2\)"):
            bad(x[:, :1])
    with pytest.raises(ValueError, match="period > 0"):
        PeriodicEmbedding([None])
    with pytest.raises(ValueError, match="period > 0"):
        PeriodicEmbedding([3.0, 0.0])
    with pytest.raises(ValueError, match="scale >= 0"):
        FourierEmbedding(2, 4, -1.0, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (([0.0], [1.0], [0]), "counts"),
        (([0.0], [0.0], [2]), "low < high"),
        (([0.0], [1.0, 2.0], [2]), "one length"),
    ],
)
def test_bad_windows_are_told(args, says, rng):
    with pytest.raises(ValueError, match=says):
        Windowed(*args, rng=rng)
    with pytest.raises(ValueError, match="points"):
        Windowed([0.0], [1.0], [2], rng=rng)(torch.rand(3, 2, dtype=F64))
