"""Models that Gauss-Newton's steps cannot train, and trainings that come to nothing, in words."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from solvers.pinn.deepxde import as_network, precondition, residuals
from tests.numerics._pinns import poisson_model as _model

pytestmark = pytest.mark.usefixtures("globals_are_put_back")


def test_models_that_do_not_suit_are_refused(dde):
    with pytest.raises(TypeError, match=r"a deepxde\.Model"):
        precondition(torch.nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"GaussNewton\(\)"):
        precondition(_model(dde), "adam")
    with pytest.raises(ValueError, match='loss="MSE"'):
        precondition(_model(dde, loss="MAE"))
    model = _model(dde)
    model.net.regularizer = ("l2", 1e-4)
    with pytest.raises(ValueError, match="without regularization"):
        precondition(model)
    for weights in ([1.0], [1, 2, 3]):
        with pytest.raises(ValueError, match=f"2 loss weights, one a loss, got {len(weights)}"):
            precondition(_model(dde, compiled=False), loss_weights=weights)
        with pytest.raises(ValueError, match="2 loss weights"):
            precondition(_model(dde, loss_weights=weights))
    with pytest.raises(TypeError, match=r"float32: precondition\(model\) first"):
        residuals(_model(dde))
    with pytest.raises(ValueError, match=r"got none: train\(iterations=200\)"):
        precondition(_model(dde)).train()


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        ("mean l2 relative error", None),  # of targets 0: infinite
        (["MSE", "MAE"], None),
        (["MSE", "MAE"], [1e9, 1]),  # in a sum nobody would see it
        (["MSE", "MAE"], [1, 0]),
        (lambda true, found: torch.mean(torch.abs(true - found) ** 3), None),
    ],
)
def test_losses_that_are_no_mean_squares_are_refused(dde, loss, weights):
    model = _model(dde, loss=loss, loss_weights=weights)
    with pytest.raises(ValueError, match=r'mean squares.*for .* got .*loss="MSE"'):
        precondition(model)
    assert model.loss_weights == weights
    precondition(_model(dde, loss=["MSE", "mse"], loss_weights=weights))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("where", ["everywhere", "at a point"])
def test_residuals_that_are_not_finite_are_named(dde, compiled, where):
    line = dde.geometry.Interval(0, 1)
    zero = dde.icbc.DirichletBC(line, lambda x: 0 * x, lambda x, on: on)

    def equation(x, u):
        return torch.log(u - 100) if where == "everywhere" else u / x - 1

    net = dde.nn.FNN([1, 3, 1], "tanh", "Glorot uniform")
    model = dde.Model(dde.data.PDE(line, equation, [zero], 4, 2), net)
    if compiled:  # its losses are compared with ours, and the finite ones agree
        model.compile("adam", lr=1e-3, verbose=0)
    with pytest.raises(FloatingPointError, match=r"NaN or Inf in PDE 0 at \d+ of"):
        precondition(model).train(iterations=1, verbose=0)


def test_a_refused_model_is_as_it_was(dde):
    """Its class, precision, hooks and buffers: Adam goes on with it."""
    model = _model(dde, loss="MAE")
    model.net.register_buffer("scale", torch.ones(2))
    kind, hooks, names = type(model), dict(model.net._forward_pre_hooks), set(vars(model.net))
    weights = [p.detach().clone() for p in model.net.parameters()]
    with pytest.raises(ValueError, match="mean squares"):
        precondition(model)
    assert type(model) is kind and model.net._forward_pre_hooks == hooks
    assert set(vars(model.net)) == names and model.net.scale.dtype == torch.float32
    for p, before in zip(model.net.parameters(), weights, strict=True):
        assert p.dtype == torch.float32 and torch.equal(p, before)
    model.train(iterations=1, verbose=0)


def test_tensors_of_single_precision_are_told(dde):
    model = _model(dde)
    B = torch.ones(1, 4)
    model.net = dde.nn.FNN([4, 6, 1], "tanh", "Glorot uniform")
    model.net.apply_feature_transform(lambda x: torch.sin(x @ B))
    with pytest.raises(TypeError, match=r"tensors of your own float64, or B\.to\(x\)"):
        precondition(model)


@pytest.mark.parametrize("layer", [torch.nn.Dropout(0.1), torch.nn.BatchNorm1d(4)])
def test_networks_that_are_no_function_are_refused(dde, layer):
    model = _model(dde)
    parts = torch.nn.Linear(1, 4), torch.nn.Tanh(), layer, torch.nn.Linear(4, 1)
    model.net = as_network(torch.nn.Sequential(*parts))
    with pytest.raises(ValueError, match=r"function of its inputs, got .* as module\.2"):
        precondition(model)


def test_a_checkpoint_of_another_optimiser_is_refused(dde, tmp_path):
    model = _model(dde)
    model.train(iterations=1, verbose=0)
    saved = model.save(str(tmp_path / "adam"))
    precondition(model)
    with pytest.raises(ValueError, match=r"restore it before precondition\(model\)"):
        model.restore(saved)


def test_a_training_that_cannot_go_on_says_so(dde, capsys):
    line = dde.geometry.Interval(0, 1)
    data = dde.data.PDE(line, lambda x, u: u - 1, [], 5, 2)  # met exactly
    model = precondition(dde.Model(data, dde.nn.FNN([1, 3, 1], "tanh", "Glorot uniform")))
    model.train(iterations=200)
    step = model.train_state.step
    assert step < 200 and model.losshistory.steps[-1] == step
    assert (
        f"No step lowers the loss in float64: ended after {step} steps." in capsys.readouterr().out
    )


def test_constants_that_were_only_held_are_told(dde):
    line, k = dde.geometry.TimeDomain(0, 1), dde.Variable(1.0)
    start = dde.icbc.IC(line, lambda t: np.ones_like(t), lambda t, on: on)
    data = dde.data.PDE(line, lambda t, u: dde.grad.jacobian(u, t) + k * u, [start], 10, 2)
    model = dde.Model(data, dde.nn.FNN([1, 4, 1], "tanh", "Glorot uniform"))
    precondition(model, external_trainable_variables=k)
    with pytest.warns(UserWarning, match="held for all 3 steps: train for more than hold=15"):
        model.train(iterations=3, verbose=0)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("hard", [False, True])
def test_a_network_without_second_derivatives_is_told(dde, activation, hard):
    line = dde.geometry.Interval(0, 1)
    data = dde.data.PDE(line, lambda x, u: dde.grad.hessian(u, x) + u, [], 20, 2)
    net = dde.nn.FNN([1, 8, 1], activation, "Glorot uniform")
    if hard:  # a product with x (1 - x) bends
        net.apply_output_transform(lambda x, u: x * (1 - x) * u)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        precondition(dde.Model(data, net))
    flat = [w for w in told if "second derivatives" in str(w.message)]
    assert len(flat) == (activation == "relu" and not hard)
    assert all(w.filename == __file__ for w in flat)


def test_bad_models_are_told_what_is_wrong(dde):
    line = dde.geometry.Interval(0, 1)

    def train(equation, conditions, domain=4, boundary=2):
        net = dde.nn.FNN([1, 3, 1], "tanh", "Glorot uniform")
        data = dde.data.PDE(line, equation, conditions, domain, boundary)
        precondition(dde.Model(data, net)).train(iterations=1, verbose=0)

    with pytest.raises(TypeError, match=r"unknown constants.*dde\.Variable\(1\.0\)"):
        net = dde.nn.FNN([1, 3, 1], "tanh", "Glorot uniform")
        data = dde.data.PDE(line, lambda x, u: u, [], 4, 2)
        precondition(dde.Model(data, net), external_trainable_variables=["k"])
    never = dde.icbc.DirichletBC(line, lambda x: 0 * x, lambda x, on: False)
    with pytest.raises(ValueError, match=r"at least one point for condition 0 \(DirichletBC\)"):
        train(lambda x, u: u, [never])
    second = dde.icbc.DirichletBC(line, lambda x: 0 * x, lambda x, on: on, component=1)
    with pytest.raises(ValueError, match="how many outputs"):
        train(lambda x, u: u, [second])
    with pytest.raises(ValueError, match="how many outputs"):
        train(lambda x, u: u[:, 1:2], [])
    zero = dde.icbc.DirichletBC(line, lambda x: 0 * x, lambda x, on: on)
    for conditions in ([], [zero]):
        with pytest.raises(ValueError, match=r"PDE 0.*keep the last axis"):
            train(lambda x, u: u - x[:, 0], conditions)
        with pytest.raises(ValueError, match="PDE 1 to depend on what is trained"):
            train(lambda x, u: [u, dde.grad.jacobian(u, x).detach() + x], conditions)
        with pytest.raises(TypeError, match=r"expected PDE 1 as a tensor.*got None"):
            train(lambda x, u: [u, None], conditions)
    with pytest.raises(TypeError, match=r"expected PDE 0 as a tensor.*got None"):
        train(lambda x, u: None, [])
    with pytest.raises(TypeError, match="expected PDE 0 as a tensor"):
        train(lambda x, u: u.detach().numpy(), [])
    with pytest.raises(TypeError, match=r"torch\.sin\(x\) in place of np\.sin"):
        train(lambda x, u: u - np.sin(x), [])
    with pytest.raises(RuntimeError, match="must match"):  # of the equation itself, as it is
        train(lambda x, u: u - torch.ones(3, 1), [])
    seen = dde.icbc.PointSetBC(np.array([[0.2], [0.4]]), np.array([[1.0], [np.nan]]))
    with pytest.raises(FloatingPointError, match=r"condition 0 \(PointSetBC\) at 1 of 2 points"):
        train(lambda x, u: u, [seen])
    with pytest.raises(ValueError, match=r"at least one training point.*num_domain"):
        train(lambda x, u: u, [], domain=0, boundary=0)
