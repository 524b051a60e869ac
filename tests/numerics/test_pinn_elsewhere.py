"""Residuals where a model was not trained: few points are told, exact solutions are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from solvers.pinn.causal import Causal
from solvers.pinn.deepxde import precondition
from solvers.pinn.elsewhere import elsewhere


def _poisson(dde, points: int, **how):
    """-u'' = 9 pi² sin(3 pi x) on (-1, 1), zero at the ends by a factor."""
    dde.config.set_random_seed(1)
    line = dde.geometry.Interval(-1, 1)

    def equation(x, u):
        return -dde.grad.hessian(u, x) - 9 * np.pi**2 * torch.sin(3 * np.pi * x)

    data = dde.data.PDE(line, equation, [], points, 0, train_distribution="uniform", **how)
    net = dde.nn.FNN([1, 12, 12, 1], "tanh", "Glorot uniform")
    net.apply_output_transform(lambda x, u: (1 - x**2) * u)
    return dde.Model(data, net)


def test_too_few_points_are_told(dde):
    """Four points are met to rounding, and what lies between is not."""
    few, many = (precondition(_poisson(dde, n)) for n in (4, 80))
    for model in (few, many):
        model.train(iterations=60, verbose=0)
    (found,), (sound,) = elsewhere(few), elsewhere(many)
    assert found.trained < 1e-6 < 1 < found.found and found.ratio > 1e6
    assert sound.ratio < 10 and sound.found < 0.1 * found.found
    assert found.largest >= found.found and -1 < found.where[0] < 1


def test_figures_are_those_of_the_equation(dde):
    """u = x y² + t: u_t - u_xx - u_yy = 1 - 2 x, whose mean square over (0, 1) is 1/3."""
    box = dde.geometry.GeometryXTime(
        dde.geometry.Rectangle([0, 0], [1, 1]), dde.geometry.TimeDomain(0, 1)
    )

    def equation(x, u):
        u_t = dde.grad.jacobian(u, x, i=0, j=2)
        bends = (dde.grad.hessian(u, x, i=k, j=k) for k in range(2))
        return [u_t - sum(bends), u_t * 0 + 0 * u]

    data = dde.data.TimePDE(box, equation, [], 30, 0, 0)
    net = dde.nn.FNN([3, 4, 1], "tanh", "Glorot uniform")
    net.apply_output_transform(lambda x, u: x[:, :1] * x[:, 1:2] ** 2 + x[:, 2:] + 0 * u)
    first, second = elsewhere(dde.Model(data, net), count=5_000)
    assert (first.name, second.name) == ("PDE 0", "PDE 1")
    assert first.found**2 == pytest.approx(1 / 3, rel=0.05)
    assert first.largest == pytest.approx(abs(1 - 2 * first.where[0]), rel=1e-9)
    assert 0.98 < first.largest <= 1 and second.found == second.largest == 0


def test_coefficients_that_are_given_beside_points(dde):
    line = dde.geometry.Interval(0, 1)
    data = dde.data.PDE(
        line, lambda x, u, k: k * u, [], 10, 0, auxiliary_var_function=lambda x: 2 * x
    )
    net = dde.nn.FNN([1, 4, 1], "tanh", "Glorot uniform")
    net.apply_output_transform(lambda x, u: x + 0 * u)
    (found,) = elsewhere(dde.Model(data, net), count=4_000)  # 2 x²
    assert found.found**2 == pytest.approx(4 / 5, rel=0.1)
    assert found.largest == pytest.approx(2 * found.where[0] ** 2, rel=1e-6)


def test_causal_weights_do_not_hide_late_times(dde):
    """u' - 1 = -1 for u = 0 everywhere, though the weights of later slabs are near 0."""
    causal = Causal(
        lambda x, u: dde.grad.jacobian(u, x) - 1, edges=np.linspace(0, 1, 6), epsilon=50.0
    )
    data = dde.data.PDE(dde.geometry.Interval(0, 1), causal, [], 20, 0)
    net = dde.nn.FNN([1, 4, 1], "tanh", "Glorot uniform")
    net.apply_output_transform(lambda x, u: 0 * u)
    model = dde.Model(data, net)
    x = torch.linspace(0, 1, 50)[:, None].requires_grad_()
    causal.update(x, net(x))
    assert causal.least < 1e-6
    (found,) = elsewhere(model, count=100)
    assert found.trained == found.found == found.largest == 1


def test_a_model_stays_as_it_was_and_draws_the_same_points(dde):
    model = _poisson(dde, 10)
    model.compile("adam", lr=1e-3, verbose=0)
    state = np.random.get_state()[1].copy()
    first, again, other = (elsewhere(model, count=50, seed=s)[0] for s in (0, 0, 1))
    assert np.array_equal(np.random.get_state()[1], state)
    assert first.found == again.found != other.found
    assert all(p.dtype == torch.float32 for p in model.net.parameters())
    model.train(iterations=1, verbose=0)


def test_bad_calls_are_refused(dde):
    with pytest.raises(ValueError, match="count"):
        elsewhere(_poisson(dde, 10), count=0)
    with pytest.raises(TypeError, match=r"a deepxde\.Model"):
        elsewhere(torch.nn.Linear(1, 1))
    x = np.zeros((3, 1), np.float32)
    data = dde.data.DataSet(X_train=x, y_train=x, X_test=x, y_test=x)
    with pytest.raises(TypeError, match=r"deepxde\.data\.PDE or TimePDE"):
        elsewhere(dde.Model(data, dde.nn.FNN([1, 3, 1], "tanh", "Glorot uniform")))
