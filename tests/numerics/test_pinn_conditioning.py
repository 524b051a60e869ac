"""Conditioning of physics-informed models: closed forms, and what preconditioners do to it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from sciml import LinearSystem, Operator, Stop, Trait, solve
from sciml.operators import Dense, Diagonal
from sciml.testing import SolverCase, check_solver
from solvers import CG
from solvers.pinn import (
    Factor,
    FourierModel,
    GradientDescent,
    Quadrature,
    advection,
    analytic,
    best_weight,
    conditioning,
    error_bound,
    gram,
    helmholtz,
    nystrom,
    poisson,
    residual_jacobian,
    spectrum,
)

MODELS: dict[str, Callable[[], FourierModel]] = {
    "Poisson": lambda: poisson(6),
    "Helmholtz": lambda: helmholtz(6, 2.3),
    "advection": lambda: advection(2, 3),
}


def _laplace(u, x):
    return -torch.func.hessian(u)(x).trace()


def _network(outputs: int = 1, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, outputs)).to(dtype)


def _square(n: int = 12) -> Quadrature:
    return Quadrature(np.random.default_rng(1).random((n, 2)))


# -- A ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_autodiff_gives_the_closed_form(name: str, rng: np.random.Generator) -> None:
    model = MODELS[name]()
    given = {"interior": model.interior, "boundary": model.edge, "weight": 0.3}
    J = residual_jacobian(model.module(), model.pde, **given)
    expected = model.matrix(0.3).dense()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(J.dense().T @ J.dense(), expected, atol=1e-13 * scale)
    v = rng.standard_normal(model.size)
    got = J.normal(torch.from_numpy(v)).numpy()  # matrix-free
    np.testing.assert_allclose(got, expected @ v, atol=1e-12 * scale)


@pytest.mark.parametrize("name", MODELS)
def test_without_the_boundary_a_is_the_squared_symbol(name: str) -> None:
    model = MODELS[name]()
    inside = model.D.assemble().toarray()
    np.testing.assert_allclose(inside.T @ inside, np.diag(np.abs(model.symbol) ** 2), atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_orthonormal(name: str) -> None:
    model = MODELS[name]()
    phi = model.features(model.interior.points)
    gram = phi.T @ (model.interior.weights[:, None] * phi)
    np.testing.assert_allclose(gram, np.eye(model.size), atol=1e-13)
    theta = np.random.default_rng(0).standard_normal(model.size)
    module = model.module()
    with torch.no_grad():
        module.theta.copy_(torch.from_numpy(theta))
    points = np.random.default_rng(1).random((5, len(model.low)))
    got = module(torch.from_numpy(points)).detach().numpy()[:, 0]
    np.testing.assert_allclose(got, model.features(points) @ theta, atol=1e-12)


def test_wide_jacobians_are_taken_by_rows() -> None:
    J = residual_jacobian(_network(), _laplace, interior=_square(4))
    assert J.range.size < J.domain.size
    eye = torch.eye(J.domain.size, dtype=torch.float64)
    np.testing.assert_allclose(J.dense(), J(eye).numpy().T, atol=1e-13)
    assert Trait.POSITIVE in J.normal.traits
    found = spectrum(J.normal)
    assert found.exact and found.rank == 4 and found.size == J.domain.size
    assert (found.eigenvalues[:-4] == 0).all()


def test_jacobian_is_the_derivative_of_the_residual(rng: np.random.Generator) -> None:
    """Also of a nonlinear D, in a system of equations, with frozen parameters."""

    def burgers(u, x):
        value, slope = u(x), torch.func.jacrev(u)(x)
        return torch.stack([slope[0, 1] + value[0] * slope[0, 0], value[1] ** 3])

    network = _network(outputs=2)
    network[0].bias.requires_grad_(False)
    J = residual_jacobian(network, burgers, interior=_square(5))
    assert J.range.size == 10 and J.domain.size == 2 * 6 + 6 * 2 + 2
    v = torch.from_numpy(rng.standard_normal(J.domain.size))
    h = 1e-5
    slope = (J.residual(J.theta + h * v) - J.residual(J.theta - h * v)) / (2 * h)
    np.testing.assert_allclose(J(v), slope, rtol=1e-7, atol=1e-9)


# -- kappa --------------------------------------------------------------------------------------


def _kappa_of_poisson(zero: float, weight: float) -> float:
    """For K to infinity: P A P^T is the identity but for two dimensions, which are coupled."""
    a, b = zero / math.sqrt(2 * math.pi), math.sqrt(math.pi**4 / 90 / math.pi)
    two = 2 * weight * np.outer([a, b], [a, b]) + np.diag([0.0, 1.0])
    values = np.append(np.linalg.eigvalsh(two), 1.0)
    return values.max() / values.min()


def test_kappa_of_poisson_grows_as_the_fourth_power() -> None:
    sizes = np.array([10, 20, 50, 100, 200])
    found = [spectrum(poisson(K).matrix()) for K in sizes]
    assert all(s.exact and s.rank == s.size for s in found)
    slope = np.polyfit(np.log(sizes), np.log([s.kappa for s in found]), 1)[0]
    assert abs(slope - 4) < 0.2


@pytest.mark.parametrize(("zero", "weight", "kappa"), [(1.0, 1.0, 10.6), (10.0, 0.1, 3.4)])
def test_kappa_of_poisson_is_flat_with_p(zero: float, weight: float, kappa: float) -> None:
    assert abs(_kappa_of_poisson(zero, weight) - kappa) < 0.05
    for K in (10, 50, 200):
        model = poisson(K)
        found = spectrum(model.matrix(weight), model.preconditioner(zero))
        assert found.kappa == pytest.approx(_kappa_of_poisson(zero, weight), rel=1e-3)


def test_the_best_weight_makes_kappa_tend_to_one() -> None:
    model = poisson(30)
    for zero in (10.0, 100.0, 1000.0):
        P = model.preconditioner(zero)
        best = best_weight(model.D, model.V, P)
        assert best.kappa - 1 < 4 / zero
        found = spectrum(model.matrix(best.weight), P).kappa
        assert found == pytest.approx(best.kappa, rel=1e-6)
        for other in (0.8, 1.25):  # it is the minimum
            assert spectrum(model.matrix(other * best.weight), P).kappa > best.kappa


def test_kappa_of_advection_depends_neither_on_speed_nor_size() -> None:
    plain, after = [], []
    for K, beta in ((2, 5), (2, 20), (4, 10)):
        model = advection(K, beta)
        plain.append(spectrum(model.matrix()).kappa)
        after.append(spectrum(model.matrix(0.1), model.preconditioner(10.0)).kappa)
    assert plain[1] > 10 * plain[0] and max(after) < 2 and max(after) - min(after) < 0.1


def test_kappa_of_helmholtz_is_one_plus_a_rank_one_change() -> None:
    model = helmholtz(40, 20.3)
    P = model.preconditioner()
    w = P(model.V.assemble().toarray())[0]
    expected = 1 + 2 * 0.5 * w @ w
    assert spectrum(model.matrix(0.5), P).kappa == pytest.approx(expected, rel=1e-12)
    assert spectrum(model.matrix(0.5)).kappa > 1e3


def test_features_that_nothing_sees_are_left_out_of_kappa() -> None:
    A = Dense(np.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]])).normal
    found = spectrum(A)
    assert (found.rank, found.size) == (2, 3) and found.kappa == pytest.approx(36)
    assert "over the 2 that are not 0" in found.explain()


def test_lanczos_agrees_with_all_eigenvalues() -> None:
    model = advection(3, 4)
    for P in (None, model.preconditioner(10.0)):
        full, fast = spectrum(model.matrix(), P), spectrum(model.matrix(), P, dense_up_to=1)
        assert full.exact and not fast.exact and fast.rank is None
        assert fast.eigenvalues[1] == pytest.approx(full.eigenvalues[-1], rel=1e-8)
        assert fast.kappa <= full.kappa * (1 + 1e-8)
        assert "kappa >=" in fast.explain()
    assert fast.kappa == pytest.approx(full.kappa, rel=1e-6)


def test_blocks_give_the_whole_spectrum() -> None:
    model = advection(3, 4)
    A, plain = model.matrix(0.1), spectrum(model.matrix(0.1))
    for P in (None, model.preconditioner(10.0)):
        full = spectrum(A, P)
        parts = spectrum(A, P, dense_up_to=40)
        assert parts.exact and "blocks" in parts.how and parts.rank == full.rank
        np.testing.assert_allclose(parts.eigenvalues, full.eigenvalues, rtol=1e-9, atol=1e-12)
    assert full.learned() == full.size > plain.learned()


def test_matrix_free_at_many_parameters() -> None:
    """A network of 1e5 parameters, by products alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(2, 320), nn.Tanh(), nn.Linear(320, 320), nn.Tanh(), nn.Linear(320, 1)
        ).double()
    J = residual_jacobian(network, _laplace, interior=_square(20), boundary=_square(5))
    assert J.domain.size > 1e5
    exact = np.linalg.svd(J.dense(), compute_uv=False)[0] ** 2
    found = spectrum(J.normal, steps=12)
    assert found.eigenvalues[1] == pytest.approx(exact, rel=1e-6)


def test_conditioning_of_a_model_and_of_a_network() -> None:
    model = poisson(8)
    found = conditioning(
        model.module(),
        model.pde,
        interior=model.interior,
        boundary=model.edge,
        P=analytic(torch.from_numpy(np.abs(model.symbol))),
    )
    assert found.preconditioned is not None
    assert found.plain.kappa == pytest.approx(spectrum(model.matrix()).kappa, rel=1e-9)
    assert found.preconditioned.kappa == pytest.approx(10.56, rel=1e-3)
    assert "P A P^T: kappa = 10.5" in found.explain()
    found = conditioning(
        _network(), _laplace, interior=_square(60),
        P=lambda A: gram(A, 1e-6, factor=Factor.EIGEN),
    )  # fmt: skip
    assert found.preconditioned is not None
    assert found.plain.rank == found.plain.size - 1  # D u does not see the last bias
    assert found.plain.kappa > 1e3 * found.preconditioned.kappa


# -- preconditioners ----------------------------------------------------------------------------


@pytest.fixture
def ill() -> Operator:
    """Positive definite, n = 40, eigenvalues 1 to 1e-8."""
    rng = np.random.default_rng(5)
    Q = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    return Dense(Q * np.geomspace(1e-4, 1, 40)).H.normal


@pytest.mark.parametrize("factor", Factor)
def test_gram_makes_kappa_one(ill: Operator, factor: Factor) -> None:
    assert spectrum(ill).kappa == pytest.approx(1e8, rel=1e-6)
    P = gram(ill, factor=factor)
    assert spectrum(ill, P).kappa == pytest.approx(1, abs=1e-6)
    damped = spectrum(ill, gram(ill, 1e-3, factor=factor)).eigenvalues
    values = np.geomspace(1e-8, 1, 40)
    np.testing.assert_allclose(damped, values / (values + 1e-3), rtol=1e-6)


def test_nystrom_flattens_what_its_rank_reaches(ill: Operator) -> None:
    damping = 1e-3
    A = ill + Diagonal(np.full(40, damping))
    assert spectrum(A).kappa > 900
    P = nystrom(ill, 20, damping, rng=np.random.default_rng(0))
    assert spectrum(A, P).kappa < 5
    exact = nystrom(ill, 40, damping, rng=np.random.default_rng(0))
    assert spectrum(A, exact).kappa == pytest.approx(1, abs=1e-4)
    system = LinearSystem(A, np.ones(40))
    fast, slow = solve(system, CG(M=P.normal)), solve(system, CG())
    assert fast.iterations < slow.iterations / 2


def test_preconditioners_of_a_network_are_in_its_library() -> None:
    A = residual_jacobian(_network(), _laplace, interior=_square(40)).normal
    for P in (gram(A, 1e-6), gram(A, 1e-6, factor=Factor.EIGEN),
              nystrom(A, 8, 1e-6, rng=np.random.default_rng(0))):  # fmt: skip
        assert torch.is_tensor(P(torch.ones(A.domain.size, dtype=torch.float64)))
        assert spectrum(A, P).kappa < spectrum(A).kappa


# -- training -----------------------------------------------------------------------------------


def _errors(
    model: FourierModel, truth: np.ndarray, weight: float, M: Operator | None, epochs: int
) -> np.ndarray:
    """Relative L2 error after each epoch of gradient descent; the truth is among the features."""
    problem = model.system(model.D(truth), model.V(truth), weight)
    method = GradientDescent(M=M).prepare(problem)
    state, found = method.init(problem, None, None), []
    for _ in range(epochs):
        state = method.advance(state, 1)
        found.append(np.linalg.norm(state.x - truth) / np.linalg.norm(truth))
    return np.array(found)


def test_poisson_trains_in_under_fifty_epochs_where_plain_descent_stalls() -> None:
    """u = exp(cos x) - 1 / e, which is 0 at both ends."""
    model = poisson(50)
    truth = model.coefficients(lambda p: np.exp(np.cos(p[:, 0])) - math.exp(-1))
    problem = model.system(model.D(truth), model.V(truth), 0.1)
    P = model.preconditioner(10.0)
    result = solve(problem, GradientDescent(M=P.normal), stop=Stop(rtol=1e-10))
    assert result.ok and result.iterations < 50
    distance = np.linalg.norm(result.x - truth)
    assert distance <= error_bound(problem, result.x, P) < 1e-6
    np.testing.assert_allclose(model.spectral(model.D(truth), model.V(truth)), truth, atol=1e-13)
    assert _errors(model, truth, 0.1, P.normal, 49)[-1] < 1e-9
    default = _errors(model, truth, 1.0, model.preconditioner().normal, 49)
    assert default[-1] < 1e-3
    rate = (default[-1] / default[-11]) ** 0.1
    assert rate == pytest.approx((10.56 - 1) / (10.56 + 1), abs=0.02)
    assert _errors(model, truth, 1.0, None, 500)[-1] > 0.5


@pytest.mark.parametrize("beta", [30, 50, 80])
def test_advection_is_solved(beta: int) -> None:
    """u = sin(x - beta t)."""
    model = advection(1, beta)
    u0 = np.array([0.0, 0.0, math.sqrt(math.pi)])
    truth = model.spectral(np.zeros(model.size), u0)
    points = np.random.default_rng(0).random((50, 2)) * 2 * math.pi
    u = model.features(points) @ truth
    np.testing.assert_allclose(u, np.sin(points[:, 1] - beta * points[:, 0]), atol=1e-11)
    P = model.preconditioner(10.0)
    result = solve(
        model.system(np.zeros(model.size), u0, 0.1), GradientDescent(M=P.normal),
        stop=Stop(rtol=1e-10),
    )  # fmt: skip
    assert result.ok and result.iterations < 50
    assert np.linalg.norm(result.x - truth) < 1e-8 * np.linalg.norm(truth)
    assert _errors(model, truth, 1.0, None, 500)[-1] > 0.9


def test_helmholtz_is_solved() -> None:
    model = helmholtz(40, 20.3)
    truth = model.coefficients(lambda p: np.exp(np.sin(p[:, 0])) + np.cos(20 * p[:, 0]))
    assert _errors(model, truth, 0.1, model.preconditioner().normal, 49)[-1] < 1e-9
    assert _errors(model, truth, 0.1, None, 500)[-1] > 0.3  # the wave that all but resonates
    spectral = model.spectral(model.D(truth), model.V(truth))
    np.testing.assert_allclose(spectral, truth, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "like"), [("float64", None), ("complex64", None), ("float32", torch.zeros(1))]
)
def test_gradient_descent_keeps_the_laws_of_solvers(dtype: str, like: torch.Tensor | None) -> None:
    check_solver(SolverCase(GradientDescent(), dtype=np.dtype(dtype), like=like))


def test_a_rate_is_kept() -> None:
    model = poisson(4)
    problem = model.system(np.ones(9), np.zeros(2))
    P = model.preconditioner()
    method = GradientDescent(M=P.normal, rate=0.25).prepare(problem)
    state = method.advance(method.init(problem, None), 1)
    np.testing.assert_allclose(state.x, 0.25 * P.normal(problem.b))


# -- bad input ----------------------------------------------------------------------------------


def _refuse(words: str, kind: type[Exception], call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "expected" in str(caught.value) and "got" in str(caught.value)


def test_bad_samples_are_refused() -> None:
    _refuse(r"shape \(0, 2\)", ValueError, lambda: Quadrature(np.zeros((0, 2))))
    _refuse(r"points\[:, None\]", ValueError, lambda: Quadrature(np.zeros(5)))
    _refuse("finite points", ValueError, lambda: Quadrature(np.full((3, 1), np.nan)))
    _refuse("weights", ValueError, lambda: Quadrature(np.zeros((3, 1)), np.ones(4)))
    _refuse("none negative", ValueError, lambda: Quadrature(np.zeros((2, 1)), np.array([1, -1.0])))
    _refuse("as an array", TypeError, lambda: Quadrature([[0.0]]))


def test_models_that_do_not_fit_are_refused() -> None:
    def ask(model=None, pde=_laplace, interior=None, **how):
        model = _network() if model is None else model
        return residual_jacobian(model, pde, interior=interior or _square(), **how)

    with torch.no_grad():
        broken = _network()
        broken[0].bias[0] = torch.nan
    _refuse(r"NaN or Inf at 12 of 12 points of the interior", ValueError, lambda: ask(broken))
    at = Quadrature(np.array([[0.5, 1.0], [0.0, 0.25]]))
    _refuse(
        re.escape("at 1 of 2 points of the interior, the first (0, 0.25)"),
        ValueError,
        lambda: ask(pde=lambda u, x: u(x) / x[0], interior=at),
    )
    _refuse(
        "takes the interior's points", ValueError, lambda: ask(interior=Quadrature(np.ones((3, 1))))
    )
    _refuse(
        r"shape \(2, 2\).*trace", ValueError, lambda: ask(pde=lambda u, x: torch.func.hessian(u)(x))
    )
    _refuse("a number or a vector", ValueError, lambda: ask(pde=lambda u, x: 1.0))
    flat = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)).double()
    _refuse(r"an output \(12, m\)", ValueError, lambda: ask(flat))
    _refuse("torch module", TypeError, lambda: ask(np.sin))
    _refuse("a function", TypeError, lambda: ask(pde="laplace"))
    _refuse("a Quadrature", TypeError, lambda: ask(boundary=np.ones((3, 2))))
    _refuse("weight", ValueError, lambda: ask(boundary=_square(2), weight=-1.0))
    _refuse("parameters to train", TypeError, lambda: ask(nn.Tanh()))
    _refuse("float32 or all float64", TypeError, lambda: ask(_network(dtype=torch.bfloat16)))


def test_operators_that_do_not_fit_are_refused(ill: Operator) -> None:
    rng = np.random.default_rng(0)
    J = Dense(np.ones((3, 2)))
    _refuse("POSITIVE", TypeError, lambda: spectrum(J))
    _refuse("expected P from", ValueError, lambda: spectrum(ill, J))
    _refuse("NaN or Inf", ValueError, lambda: spectrum(Dense(np.full((3, 2), np.nan)).normal))
    _refuse("POSITIVE", TypeError, lambda: gram(J))
    singular = Dense(np.array([[1.0, 0.0]])).normal
    for factor in Factor:
        _refuse("raise damping", np.linalg.LinAlgError, lambda f=factor: gram(singular, factor=f))
    _refuse("rank <= 40", ValueError, lambda: nystrom(ill, 41, 1.0, rng=rng))
    _refuse("damping > 0", ValueError, lambda: nystrom(ill, 4, 0.0, rng=rng))
    _refuse("zero > 0", ValueError, lambda: analytic(np.ones(3), zero=0.0))
    _refuse("finite symbol", ValueError, lambda: analytic(np.array([1.0, np.inf])))
    _refuse("0 < least", ValueError, lambda: best_weight(J, J, within=(2.0, 1.0)))
    _refuse("singular", ValueError, lambda: best_weight(J, J))
    _refuse("resonates", ValueError, lambda: helmholtz(4, 1.5))
    system = LinearSystem(singular, np.ones(2))
    _refuse("singular", ValueError, lambda: error_bound(system, np.zeros(2)))
    _refuse("all eigenvalues to count", ValueError, lambda: spectrum(ill, dense_up_to=1).learned())
