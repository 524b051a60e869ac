"""DeepXDE models trained by Gauss-Newton: what of DeepXDE still works, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
import pytest
import torch

from solvers.pinn import Factor, conditioning, gram, spectrum
from solvers.pinn.deepxde import as_network, load_deepxde, precondition, residuals
from solvers.pinn.gauss_newton import GaussNewton
from solvers.pinn.intervals import confidence_intervals


@pytest.fixture(autouse=True)
def _globals_are_put_back(request):
    before = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == before
    if "dde" in request.fixturenames:
        assert request.getfixturevalue("dde").config.real.precision == 32


def _model(dde, *, compiled=True, hard=False, width=8, points=16, **how):
    """-u'' = pi² sin(pi x) on (-1, 1)."""
    dde.config.set_random_seed(1)
    line = dde.geometry.Interval(-1, 1)

    def equation(x, u):
        return -dde.grad.hessian(u, x) - np.pi**2 * torch.sin(np.pi * x)

    ends = dde.icbc.DirichletBC(line, lambda x: np.sin(np.pi * x), lambda x, on: on)
    data = dde.data.PDE(
        line, equation, [] if hard else [ends], points, 2,
        solution=lambda x: np.sin(np.pi * x), num_test=20,
    )  # fmt: skip
    net = dde.nn.FNN([1, width, width, 1], "tanh", "Glorot uniform")
    if hard:
        net.apply_output_transform(lambda x, u: (1 - x**2) * u)
    model = dde.Model(data, net)
    if compiled:
        model.compile("adam", lr=1e-3, metrics=["l2 relative error"], verbose=0, **how)
    return model


def _error(model) -> float:
    x = np.linspace(-1, 1, 101)[:, None]
    true = np.sin(np.pi * x)
    return float(np.linalg.norm(model.predict(x) - true) / np.linalg.norm(true))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("hard", [True, False])
def test_two_lines_train_a_model(dde, compiled, hard):
    model = _model(dde, compiled=compiled, hard=hard)
    points = model.data.train_x
    assert precondition(model) is model
    history, state = model.train(iterations=30, verbose=0)
    assert _error(model) < 1e-3
    assert model.data.train_x is points and points.dtype == np.float32
    assert state.step == 30 and state.best_step == 30
    assert history.steps == [0, 10, 20, 30]
    assert len(state.metrics_test) == (1 if compiled else 0)
    assert np.sum(state.loss_train) == pytest.approx(model.opt.progress.losses[-1], rel=1e-9)
    # DeepXDE's own way goes on from there
    residual = model.predict(np.linspace(-1, 1, 5)[:, None], operator=model.data.pde)
    assert np.abs(residual).max() < 0.5
    model.compile("adam", lr=1e-6, verbose=0)
    model.train(iterations=2, verbose=0)
    assert _error(model) < 1e-3


def test_the_conditioning_of_a_model_in_one_line(dde):
    model = precondition(_model(dde))
    J = residuals(model).linearise()[1]
    found = spectrum(J)
    values = np.linalg.svd(J.by_rows().numpy(), compute_uv=False) ** 2
    assert found.exact and found.size == J.domain.size and 0 < found.rank <= J.range.size
    np.testing.assert_allclose(found.eigenvalues[::-1][:5], values[:5], rtol=1e-9)
    both = conditioning(J, P=lambda A: gram(A, 1e-6, factor=Factor.EIGEN))
    assert both.preconditioned is not None
    assert both.plain.kappa == pytest.approx(found.kappa, rel=1e-6)
    assert both.preconditioned.learned() > found.learned()
    fast = spectrum(J, dense_up_to=1)
    assert fast.eigenvalues[1] == pytest.approx(values[0], rel=1e-6)
    with pytest.raises(TypeError, match="J alone"):
        conditioning(J, lambda u, x: u(x))
    axes = matplotlib.figure.Figure().subplots()
    assert both.plot(axes) is axes and len(axes.lines) == 2
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found.eigenvalues[::-1][: found.rank])
    with pytest.raises(ValueError, match="all eigenvalues to plot"):
        fast.plot(axes)


def test_loss_weights_are_those_of_the_model(dde):
    plain = _model(dde, loss_weights=[1, 100])
    X, y, aux = plain.data.train_next_batch()
    losses = plain._outputs_losses(True, X, y, aux)[1]
    r = residuals(precondition(plain))
    assert float(r.value().square().sum()) == pytest.approx(float(losses.sum()), rel=1e-5)
    assert [t.weight for t in r.terms()] == [1, 100]
    assert [t.name for t in r.terms()] == ["PDE 0", "condition 0 (DirichletBC)"]
    other = _model(dde)
    assert [t.weight for t in residuals(precondition(other, loss_weights=[2, 3])).terms()] == [2, 3]


def test_auxiliary_variables_are_those_of_the_training_points(dde):
    line = dde.geometry.Interval(0, 1)
    data = dde.data.PDE(
        line, lambda x, u, a: u - a, [], 9, 0, num_test=5, auxiliary_var_function=lambda x: x**2
    )
    model = dde.Model(data, dde.nn.FNN([1, 6, 1], "tanh", "Glorot uniform"))
    precondition(model).train(iterations=20, verbose=0)
    assert float(residuals(model).value().square().sum()) < 1e-7
    assert np.abs(model.predict(np.array([[0.5]])) - 0.25) < 1e-3


def test_callbacks_see_every_step_and_points_are_drawn_anew(dde):
    seen: list[str] = []

    class Spy(dde.callbacks.Callback):
        def on_train_begin(self):
            seen.append("begin")

        def on_epoch_end(self):
            assert self.model.train_state.X_train.dtype == np.float64
            seen.append(f"{self.model.train_state.iteration}")

        def on_train_end(self):
            seen.append("end")

    model = _model(dde)
    model.data.train_distribution = "pseudo"
    before = model.data.train_x.copy()
    resample = dde.callbacks.PDEPointResampler(period=2)
    precondition(model).train(iterations=5, callbacks=[Spy(), resample], verbose=0)
    assert seen == ["begin", "1", "2", "3", "4", "5", "end"]
    assert model.data.train_x.shape == before.shape and model.data.train_x.dtype == np.float32
    assert not np.array_equal(model.data.train_x, before)


def test_a_restored_training_goes_on_with_the_same_bits(dde, tmp_path):
    whole = precondition(_model(dde))
    whole.train(iterations=7, verbose=0)
    first = precondition(_model(dde))
    first.train(iterations=4, verbose=0, model_save_path=str(tmp_path / "m"))
    again = precondition(_model(dde))
    again.train(iterations=3, verbose=0, model_restore_path=str(tmp_path / "m-4.pt"))
    for p, q in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(p, q)
    assert again.opt.progress == whole.opt.progress


def test_other_models_stay_in_single_precision(dde):
    model = _model(dde)
    other = dde.Model(model.data, dde.nn.FNN([1, 4, 1], "tanh", "Glorot uniform"))
    other.compile("adam", lr=1e-3, verbose=0)
    precondition(model).train(iterations=2, verbose=0)
    other.train(iterations=2, verbose=0)
    assert other.predict(np.zeros((2, 1))).dtype == np.float32
    assert model.predict(np.zeros((2, 1))).dtype == np.float64
    assert model.net(torch.zeros(2, 1)).dtype == torch.float64  # inputs of any precision


def test_interrupting_keeps_the_weights_of_the_last_step(dde):
    class Stop3(dde.callbacks.Callback):
        def on_epoch_end(self):
            if self.model.train_state.iteration == 3:
                raise KeyboardInterrupt

    model = precondition(_model(dde))
    with pytest.raises(KeyboardInterrupt):
        model.train(iterations=9, callbacks=[Stop3()], verbose=0)
    loss = model.opt.progress.losses
    assert len(loss) == 4 and loss[-1] < loss[0]
    model.train(iterations=1, verbose=0)
    assert model.opt.progress.losses[:4] == loss


def _decay(dde, noise: float, seed: int):
    """u' = -k u with u(0) = 1 and noisy measurements; k = 2 is to be found."""
    dde.config.set_random_seed(0)
    line = dde.geometry.TimeDomain(0, 1)
    k = dde.Variable(1.0)
    t = np.linspace(0, 1, 41)[1:, None]
    u = np.exp(-2 * t) + noise * np.random.default_rng(seed).standard_normal(t.shape)
    seen = dde.icbc.PointSetBC(t, u)
    start = dde.icbc.IC(line, lambda x: np.ones_like(x[:, :1]), lambda x, on: on)
    data = dde.data.PDE(
        line, lambda x, y: dde.grad.jacobian(y, x) + k * y, [start, seen], 30, 2, anchors=t
    )
    model = dde.Model(data, dde.nn.FNN([1, 6, 1], "tanh", "Glorot uniform"))
    model.compile(
        "adam", lr=1e-3, external_trainable_variables=k, loss_weights=[100, 100, 1], verbose=0
    )
    return model, k


def test_an_unknown_constant_lies_in_its_interval(dde):
    model, k = _decay(dde, 0.01, 3)
    precondition(model).train(iterations=60, verbose=0)
    found = confidence_intervals(residuals(model), [2])  # the equation, then start, then seen
    assert found.value[0] == k.item()
    assert found.low[0] < 2 < found.high[0]
    assert 0.005 < found.deviation[0] < 0.1
    assert found.sigma == pytest.approx(0.01, rel=0.3)
    assert found.resolution[0] == pytest.approx(1, abs=1e-3)
    assert abs(found.offset[0]) < 0.1 * found.deviation[0]


def test_a_constant_that_is_not_trained_stays_and_has_no_interval(dde):
    model, k = _decay(dde, 0.01, 3)
    precondition(model, external_trainable_variables=[]).train(iterations=2, verbose=0)
    assert k.item() == 1
    with pytest.raises(ValueError, match=r"got none: precondition.*external_trainable_variables="):
        confidence_intervals(residuals(model), [2])


def test_an_unknown_constant_travels_in_checkpoints(dde, tmp_path):
    model, k = _decay(dde, 0.01, 3)
    precondition(model, GaussNewton(hold=1)).train(
        iterations=3, verbose=0, model_save_path=str(tmp_path / "m")
    )
    again, other = _decay(dde, 0.01, 3)
    precondition(again).restore(str(tmp_path / "m-3.pt"))
    assert other.item() == k.item() != 1.0


def test_the_lines_of_the_guide_run(dde):
    text = (Path(__file__).resolve().parents[2] / "docs/guide.md").read_text(encoding="utf-8")
    section = text[text.index("### With DeepXDE") :].split("\n### ")[0]
    lines = re.findall(r"^```py\n(.*?)^```", section, flags=re.M | re.S)
    model, _ = _decay(dde, 0.01, 0)
    names: dict[str, object] = {"model": model}
    for block in lines:
        few = 30 if "Variable" in block else 4
        exec(block.replace("iterations=200)", f"iterations={few}, verbose=0)"), names)
    assert len(lines) == 3
    found: Any = names["found"]
    assert found.low[0] < 2 < found.high[0] and found.deviation[0] < 0.1
    assert found.resolution[0] > 0.99 and abs(found.offset[0]) < 0.1 * found.deviation[0]


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


_ALONE = """
import os, sys, torch
from solvers.pinn.deepxde import load_deepxde
assert "deepxde" not in sys.modules
dde = load_deepxde()
assert dde.backend.backend_name == "pytorch" and "DDE_BACKEND" not in os.environ
assert torch.get_default_dtype() == torch.float32 and dde.config.real.precision == 32
"""


def _python(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    keep = {k: v for k, v in os.environ.items() if k not in ("DDE_BACKEND", "DDEBACKEND")}
    # the font list of matplotlib, which DeepXDE loads, is matplotlib's own business
    root = str(Path(__file__).resolve().parents[2])
    env = {
        **keep,
        "HOME": str(home),
        "PYTHONPATH": root,
        "MPLCONFIGDIR": matplotlib.get_cachedir(),
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=280
    )


def test_deepxde_is_loaded_without_a_word_or_a_file(dde, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    done = _python(_ALONE, home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


def test_another_backend_is_refused(dde, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(dde.backend, "backend_name", "jax")
        with pytest.raises(RuntimeError, match="got jax: set DDE_BACKEND=pytorch before"):
            precondition(object())
    monkeypatch.setenv("DDE_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, "deepxde")
    with pytest.raises(RuntimeError, match="backend pytorch, got DDE_BACKEND=jax"):
        load_deepxde()
    assert "deepxde" not in sys.modules


def test_burgers_goes_down(dde):
    dde.config.set_random_seed(0)
    plane = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))

    def burgers(x, u):
        ux, ut = (dde.grad.jacobian(u, x, i=0, j=j) for j in (0, 1))
        return ut + u * ux - 0.01 / np.pi * dde.grad.hessian(u, x, i=0, j=0)

    wall = dde.icbc.DirichletBC(plane, lambda x: 0 * x[:, :1], lambda x, on: on)
    start = dde.icbc.IC(plane, lambda x: -np.sin(np.pi * x[:, :1]), lambda x, on: on)
    data = dde.data.TimePDE(plane, burgers, [wall, start], 60, 10, 20)
    model = dde.Model(data, dde.nn.FNN([2, 8, 8, 1], "tanh", "Glorot normal"))
    precondition(model).train(iterations=25, verbose=0)
    losses = model.opt.progress.losses
    assert losses[-1] < 0.02 * losses[0]
    assert (np.diff(losses) <= 0).all()
    r = residuals(model)
    J = r.linearise()[1]
    torch.testing.assert_close(J.matrix(), J.by_rows(), rtol=1e-10, atol=1e-10)
    assert r.pointwise


@pytest.mark.slow
def test_poisson_is_far_better_than_by_adam_in_the_same_time(dde):
    class For(dde.callbacks.Callback):
        def on_train_begin(self):
            self.began = time.process_time()

        def on_epoch_end(self):
            self.model.stop_training = time.process_time() - self.began > 10

    errors = []
    for ours in (True, False):
        model = _model(dde, width=20, points=64)
        if ours:
            precondition(model)
        model.train(iterations=10**7, display_every=10**7, callbacks=[For()], verbose=0)
        errors.append(_error(model))
    assert errors[0] < 1e-6 and errors[0] < errors[1] / 100
