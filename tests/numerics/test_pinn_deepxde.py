"""DeepXDE models trained by Gauss-Newton: what of DeepXDE still works, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
import pytest
import torch

from solvers.pinn import Factor, conditioning, gram, spectrum
from solvers.pinn.deepxde import load_deepxde, precondition, residuals
from solvers.pinn.gauss_newton import GaussNewton
from solvers.pinn.intervals import confidence_intervals
from tests.numerics._pinns import poisson_model as _model

pytestmark = pytest.mark.usefixtures("globals_are_put_back")


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
