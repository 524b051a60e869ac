"""A learned prior: its proximal operator at any step, its values, and what it refuses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import sciml.priors.proximal as module
from sciml import Gaussian, Identity, InverseProblem, Space, Status, Stop, solve
from sciml.networks import (
    ConvexDense,
    ConvexImages,
    ConvexMixture,
    ConvexNetwork,
    PretrainedProximal,
    load_proximal,
    save_network,
)
from sciml.operators import Blur, Boundary, gaussian_kernel
from sciml.priors import LearnedProximal
from solvers import CG, FISTA, PlugAndPlayADMM
from solvers.proximal import Watch

STEPS = (0.1, 0.5, 0.9, 0.99)


def _seeded(make, seed: int = 3) -> ConvexNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def _curve(alpha: float = 0.05) -> ConvexDense:
    """A number's f, smooth and steeper than 1 in places: φ is not convex."""
    network = _seeded(partial(ConvexDense, 1, 12, 3, 2.0, alpha))
    with torch.no_grad():
        for layer in network.layers:
            layer.c.mul_(4.0)
    return network


def _shrinkage(alpha: float = 0.5) -> ConvexDense:
    """f(y) = alpha y, exactly: φ(x) = (1 / alpha − 1) / 2 x²."""
    network = ConvexDense(3, 4, 2, alpha=alpha)
    with torch.no_grad():
        for layer in network.layers:
            layer.c.zero_()
    return network


@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_a_quadratic_is_known_in_closed_form(dtype: str, rng: np.random.Generator) -> None:
    """prox of step g with g = weight (1/α − 1)/2 ‖x‖² divides by 1 + step weight (1/α − 1)."""
    space = Space((2, 3), np.dtype(dtype))
    prior = LearnedProximal(_shrinkage(), space, weight=0.3, solver=CG(), lipschitz=0.5)
    x = space.random(rng, (4,))
    for step in (0.0, 0.5, 1 / 0.3, 10.0, 100.0):  # any: φ is convex, L = alpha < 1 tells
        z, off = prior.prox_within(x, step)
        assert z.dtype == x.dtype and off.shape == (4,)
        np.testing.assert_allclose(z, x / (1 + 0.3 * step), rtol=1e-5, atol=1e-6)
    wanted = 0.15 * np.sum(np.abs(x.astype("complex128")) ** 2, axis=(1, 2))
    np.testing.assert_allclose(prior.value(x), wanted, rtol=1e-6)
    np.testing.assert_allclose(prior.slope(x), 0.3 * x, rtol=1e-5, atol=1e-6)


def test_every_step_is_the_minimum(rng: np.random.Generator) -> None:
    """Against a search over 200,000 z with φ(z) straight from ψ, for s below and above 1."""
    network = _curve().double()
    y = torch.linspace(-60, 60, 200_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        f, psi = network(y)[:, 0].numpy(), network.potential(y).numpy()
    y = y[:, 0].numpy()
    steepest = 1.001 * float((np.diff(f) / np.diff(y)).max())
    phi = y * f - f**2 / 2 - psi
    assert steepest > 1.2 and f[-1] - f[0] > 8
    space = Space((7,))
    prior = LearnedProximal(network, space, solver=CG(), lipschitz=steepest)
    x = rng.uniform(-3, 3, 7)
    most = steepest / (steepest - 1)
    for step in (*STEPS, 1.0, 0.5 + 0.5 * most):
        z, off = prior.prox_within(x, step)
        cost = step * phi + 0.5 * (f - x[:, None]) ** 2
        np.testing.assert_allclose(z, f[np.argmin(cost, axis=1)], atol=1e-3)
        assert float(off) < 1e-6
    with pytest.raises(ValueError, match=r"lipschitz=L of f with"):
        prior.prox(x, 1.01 * most)
    with pytest.raises(ValueError, match="no Lipschitz constant"):
        LearnedProximal(network, space, solver=CG()).prox(x, 1.01)
    at = np.argmin(np.abs(f - 0.7))
    assert float(prior.value(np.full(7, f[at]))) == pytest.approx(7 * phi[at], rel=1e-9)


def test_a_lipschitz_constant_that_f_exceeds_is_refused() -> None:
    """At once, or, where f is steep far from all that was tried, at the y of the step."""
    mixture, space = load_proximal(PretrainedProximal.LPN_MIXTURE), Space((1,))
    with pytest.raises(ValueError, match=r"expected lipschitz=L of f, at least 2\.3.*got 1$"):
        LearnedProximal(mixture, space, solver=CG(), lipschitz=1.0)
    far, at = _curve(), 1e3
    with torch.no_grad():
        for layer in far.layers:
            layer.b.sub_(layer.S[:, 0] * at)
        y = torch.linspace(-60, 60, 20_001, dtype=torch.float64)[:, None] + at
        f = far.double()(y)[:, 0].numpy()
    y = y[:, 0].numpy()
    steep = np.diff(f) / np.diff(y)
    k = int(np.argmax(steep))
    prior = LearnedProximal(far, space, solver=CG(), lipschitz=0.9 * steep[k])
    assert 0.99 * steep[k] < prior.steepness(y[k : k + 1]) < 1.01 * steep[k]
    for s in (0.5, 1.01):
        x = s * y[k : k + 1] + (1 - s) * f[k : k + 1]
        with pytest.raises(ValueError, match="a slope that f has"):
            prior.prox_within(x, s)
    true = LearnedProximal(far, space, solver=CG(), lipschitz=1.01 * steep[k])
    assert float(true.prox_within(x, s)[1]) < 1e-6


class _Turned(ConvexImages):
    """Whose forward is a monotone map, but no gradient."""

    def forward(self, x: torch.Tensor, sigma: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x, sigma) + 1e-3 * (x.flip(2) - x.transpose(2, 3).flip(3))


def test_a_forward_that_is_no_gradient_is_refused() -> None:
    space = Space((6, 6))
    network = _seeded(partial(_Turned, 1, 4, 2))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"expected forward as the gradient .*got one"):
        LearnedProximal(network, space)
    fine = _seeded(partial(ConvexImages, 1, 4, 2))
    LearnedProximal(fine, space)
    with torch.inference_mode():
        LearnedProximal(fine, space)
    fine.potential = lambda x, sigma=None: x.new_zeros(len(x))  # of which there is no gradient
    with pytest.raises(ValueError, match=r"expected forward as the gradient .*got one"):
        LearnedProximal(fine, space)
    assert torch.equal(before, torch.get_rng_state())


def test_the_bound_is_proven(rng: np.random.Generator, monkeypatch) -> None:
    """Inversions that are stopped early are off by no more than they say."""
    space = Space((20,))
    prior = LearnedProximal(_curve(), space, solver=CG())
    x = 3 * space.random(rng, (6,))
    exact = {step: prior.prox(x, step) for step in STEPS}
    monkeypatch.setattr(module, "_EXACT", 0.05)
    far = 0.0
    for step in STEPS:
        z, off = prior.prox_within(x, step)
        true = np.linalg.norm(z - exact[step], axis=1)
        assert (true <= off + 1e-7).all()
        far = max(far, true.max())
    assert far > 1e-3  # else nothing was tested


def test_a_step_changes_what_it_should(rng: np.random.Generator) -> None:
    """Steps reach from x itself to f(x), and the prox is not f with another scale."""
    space = Space((50,))
    prior = LearnedProximal(_curve(), space, solver=CG())
    x = 2 * space.random(rng)
    native = prior.prox(x, 1.0)
    distances = [np.linalg.norm(prior.prox(x, step) - native) for step in (1e-6, *STEPS, 1.0)]
    assert distances == sorted(distances, reverse=True) and distances[-1] == 0
    np.testing.assert_allclose(prior.prox(x, 1e-6), x, atol=1e-4)
    halved = LearnedProximal(_curve(), space, weight=0.5, solver=CG())
    np.testing.assert_array_equal(halved.prox(x, 2.0), native)
    np.testing.assert_allclose(halved.value(x), 0.5 * prior.value(x), rtol=1e-12)


def test_the_slope_is_the_gradient_of_the_value(rng: np.random.Generator) -> None:
    space = Space((5,), np.complex128)
    prior = LearnedProximal(_curve(), space, weight=2.0, solver=CG())
    x, v = space.random(rng, (3,)), space.random(rng, (3,))
    rise = (prior.value(x + 1e-4 * v) - prior.value(x - 1e-4 * v)) / 2e-4
    wanted = np.sum(np.conj(prior.slope(x)) * v, axis=1).real
    np.testing.assert_allclose(rise, wanted, rtol=1e-5, atol=1e-6)
    y, residual = prior.preimage(x)
    assert (residual < 1e-7).all()
    np.testing.assert_allclose(prior.prox(y, 0.5), x, atol=1e-7)


def test_a_y_that_is_known_saves_the_search(rng: np.random.Generator, monkeypatch) -> None:
    prior = LearnedProximal(_curve(), Space((20,)), weight=0.5, solver=CG())
    v = 2 * prior.space.random(rng, (3,))
    for step in (0.8, 2.0):
        z = prior.prox(v, step)
        y, true = z + (v - z) / (step * prior.weight), prior.value(z)
        np.testing.assert_allclose(prior.value(z, near=0 * z), true, rtol=1e-9)  # a poor start
        np.testing.assert_allclose(prior.prox_within(v, step, near=0 * z)[0], z, atol=1e-7)
        with monkeypatch.context() as without:
            without.setattr("sciml.priors._inversion._NEWTON", 0)
            assert np.isnan(prior.value(z)).all()
            np.testing.assert_allclose(prior.value(z, near=y), true, rtol=1e-9)
            np.testing.assert_allclose(prior.prox_within(v, step, near=y)[0], z, atol=1e-7)


def test_values_are_no_larger_than_the_truth(rng: np.random.Generator, monkeypatch) -> None:
    prior = LearnedProximal(_curve(), Space((20,)), solver=CG())
    x = prior.space.random(rng, (5,))
    true = prior.value(x)
    monkeypatch.setattr(module, "_EXACT", 0.1)
    monkeypatch.setattr(module, "_USABLE", 1.0)
    rough = prior.value(x)
    assert (rough <= true + 1e-12).all() and (rough < true - 1e-9).any()


def test_what_f_cannot_give_has_no_value(rng: np.random.Generator) -> None:
    """Without strong convexity f is bounded."""
    prior = LearnedProximal(_curve(alpha=0.0), Space((2,)), solver=CG())
    x = np.array([[0.1, 0.2], [0.1, 1e4]])
    found, (_, residual) = prior.value(x), prior.preimage(x)
    assert np.isfinite(found[0]) and np.isnan(found[1])
    assert residual[0] < 1e-7 and residual[1] > 1
    assert np.isnan(prior.slope(x)[1, 1]) and np.isfinite(prior.slope(x)[:, 0]).all()


def test_nan_stays_where_it_is(rng: np.random.Generator) -> None:
    prior = LearnedProximal(_curve(), Space((2, 2)), solver=CG())
    x = prior.space.random(rng, (2,))
    x[1, 0, 0] = np.nan
    for step in (0.5, 1.0):
        z, off = prior.prox_within(x, step)
        assert np.isfinite(z[0]).all() and np.isnan(z[1, 0, 0]) and np.isfinite(off[0])
    assert np.isnan(prior.prox_within(x, 0.5)[1][1])
    assert np.isfinite(prior.value(x)[0]) and np.isnan(prior.value(x)[1])


@pytest.mark.parametrize(
    "make, shape",
    [
        (partial(ConvexImages, 1, 4, 2, 1, 5.0, 0.05), (2, 5, 6)),
        (partial(ConvexImages, 2, 4, 2, 1, 5.0, 0.05), (2, 5, 6)),
        (partial(ConvexDense, 6, 8, 2, 5.0, 0.05), (2, 5, 6)),
        (partial(ConvexDense, 1, 8, 2, 5.0, 0.05), (3,)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_members_parts_and_libraries_agree(make, shape, dtype, rng: np.random.Generator) -> None:
    space = Space(shape, np.dtype(dtype))
    prior = LearnedProximal(_seeded(make), space, weight=1.0, solver=CG())
    tol = {"rtol": 1e-4, "atol": 1e-4} if dtype == "complex64" else {"rtol": 1e-6, "atol": 1e-7}
    x = space.random(rng, (2, 2))
    before = x.tobytes()
    for step in (0.4, 1.0):
        z = prior.prox(x, step)
        assert z.shape == x.shape and z.dtype == x.dtype
        for i in range(2):
            np.testing.assert_allclose(prior.prox(x[i, 1], step), z[i, 1], **tol)
        tensor = prior.prox(torch.from_numpy(x), step)
        np.testing.assert_array_equal(tensor.numpy(), z)
        if space.is_complex:
            real = LearnedProximal(_seeded(make), Space(shape, np.float32), weight=1.0, solver=CG())
            parts = real.prox(x.real.copy(), step) + 1j * real.prox(x.imag.copy(), step)
            np.testing.assert_allclose(z, parts, **tol)
    assert prior.value(x).shape == (2, 2)
    np.testing.assert_allclose(prior.value(x)[1, 0], prior.value(x[1, 0]), rtol=1e-4)
    assert prior.prox(x[:0], 1.0).shape == x[:0].shape == prior.prox(x[:0], 0.4).shape
    assert x.tobytes() == before


def test_a_network_for_many_levels_is_a_prior_at_each(rng: np.random.Generator) -> None:
    network = _seeded(partial(ConvexDense, 1, 8, 2, 5.0, 0.1, (0.1, 1.0)))
    with torch.no_grad():
        for layer in network.layers:
            layer.by_level.weight.add_(0.1)
    prior = LearnedProximal(network, Space((4,)), sigma=0.5, solver=CG())
    assert prior.weight == 4.0
    x = prior.space.random(rng)
    low = prior.at(0.2)
    assert low.weight == pytest.approx(25) and low.sigma == 0.2
    assert np.abs(low.prox(x, 0.04) - prior.prox(x, 0.25)).max() > 1e-3
    for sigma in (None, 0.05, 2.0, float("nan")):
        with pytest.raises(ValueError, match=r"expected sigma .*got"):
            LearnedProximal(network, prior.space, sigma=sigma)


def test_a_problem_is_solved_and_certified_with_it(rng: np.random.Generator) -> None:
    """With A = I the minimum is the proximal operator, at a step of the noise's variance."""
    space = Space((30,))
    prior = LearnedProximal(_curve(), space, solver=CG())
    y = 2 * space.random(rng)
    problem = InverseProblem(Identity(space), y, Gaussian(0.6), prior)
    result = solve(problem, FISTA(), stop=Stop(rtol=1e-7))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.x, prior.prox(y, 0.36), atol=1e-5)


def test_an_inversion_that_fails_is_no_success(rng: np.random.Generator, monkeypatch) -> None:
    space = Space((30,))
    prior = LearnedProximal(_curve(), space, solver=CG())
    problem = InverseProblem(Identity(space), 2 * space.random(rng), Gaussian(0.6), prior)
    monkeypatch.setattr("sciml.priors._inversion._NEWTON", 1)
    result = solve(problem, FISTA(), stop=Stop(rtol=1e-7, max_iters=20), throw=False)
    assert result.status != Status.CONVERGED


SPACE = Space((4, 3))
NETWORK = ConvexDense(1, 4, 2)


@pytest.mark.parametrize("call", [
    lambda: LearnedProximal("weights", SPACE), lambda: LearnedProximal(NETWORK, (4, 3)),
    lambda: LearnedProximal(NETWORK, SPACE, solver="CG"),
    lambda: LearnedProximal(NETWORK, SPACE, weight=0.0),
    lambda: LearnedProximal(NETWORK, SPACE, lipschitz=-1.0),
    lambda: LearnedProximal(NETWORK, SPACE, sigma=2.0),
    lambda: LearnedProximal(ConvexDense(4, 4, 2), SPACE),
    lambda: LearnedProximal(ConvexImages(3, 4, 2), SPACE),
    lambda: LearnedProximal(ConvexImages(1, 4, 2), Space((5,))),
    lambda: LearnedProximal(NETWORK, SPACE).prox(np.zeros((4, 3)), -1.0),
    lambda: LearnedProximal(NETWORK, SPACE).prox(np.zeros((4, 3)), 0.5),  # no solver
    lambda: LearnedProximal(NETWORK, SPACE).value(np.zeros((4, 3))),
    lambda: LearnedProximal(NETWORK, SPACE).prox(np.zeros((3, 4)), 1.0),
    lambda: LearnedProximal(NETWORK, SPACE).prox(np.zeros((4, 3), np.float32), 1.0),
    lambda: LearnedProximal(NETWORK, SPACE).prox([0.0], 1.0),
    lambda: LearnedProximal(NETWORK, SPACE).prox(
        torch.zeros(4, 3, dtype=torch.float64, requires_grad=True), 1.0
    ),
])  # fmt: skip
def test_bad_calls_are_refused(call) -> None:
    with pytest.raises((ValueError, TypeError), match=r"expected .*got"):
        call()


def test_infeasible_networks_are_refused() -> None:
    network = ConvexDense(1, 4, 2)
    with torch.no_grad():
        network.layers[1].W[0, 0] = -1.0
    with pytest.raises(ValueError, match=r"layers\.1\.W"):
        LearnedProximal(network, SPACE)


@pytest.mark.parametrize(("name", "value"), [
    ("alpha", -5.0), ("alpha", float("nan")), ("beta", -10.0), ("beta", 0.0),
    ("beta", float("inf")),
])  # fmt: skip
def test_attributes_that_are_infeasible_are_refused(name: str, value: float, tmp_path) -> None:
    for make in (partial(ConvexDense, 3, 4, 2), partial(ConvexImages, 1, 4, 2)):
        network = make()
        setattr(network, name, value)
        assert network.infeasible() == name
        with pytest.raises(ValueError, match=rf"expected a convex network.*got another {name}"):
            LearnedProximal(network, Space((4, 3)))
        with pytest.raises(ValueError, match=rf"expected a convex network.*got another {name}"):
            save_network(tmp_path / "network.safetensors", network, about={})
    mixture = ConvexMixture(3, 2, 2)
    mixture.alpha = -1.0
    assert mixture.infeasible() == "alpha"


def _blurred(dtype: str, rng: np.random.Generator) -> InverseProblem:
    """Whose data are better than what the network is told."""
    space = Space((32, 32), dtype)
    network = load_proximal(PretrainedProximal.LPN_NATURAL)
    A = Blur(gaussian_kernel(1.0).astype(dtype), space, boundary=Boundary.CIRCULAR)
    y = A(rng.random((32, 32)).astype(dtype))
    return InverseProblem(
        A, y, Gaussian(0.05), LearnedProximal(network, space, sigma=0.15, solver=CG())
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_watching_inverts_nothing_in_either_precision(dtype, rng, monkeypatch) -> None:
    problem, method = _blurred(dtype, rng), PlugAndPlayADMM()
    assert problem.step < problem.prior.native_step
    monkeypatch.setattr("sciml.priors._inversion._Curvature", None)  # what an inversion makes first
    watch = Watch(problem, method, start=False)
    stop = Stop(rtol=1e-12, max_iters=10)
    result = solve(problem, method, x0=problem.y, stop=stop, observe=watch, throw=False)
    seen = watch.certify(result)
    assert seen.watched == 9 and np.isfinite(seen.objective).all()
    assert "upper bound" in result.explain()


def test_ctrl_c_ends_an_inversion(rng, monkeypatch) -> None:
    def press(self, x):
        raise KeyboardInterrupt

    problem = _blurred("float64", rng)
    monkeypatch.setattr("sciml.priors._inversion._Curvature._apply", press)
    with pytest.raises(KeyboardInterrupt):
        problem.prior.value(problem.prior.prox(problem.y, problem.prior.native_step))
