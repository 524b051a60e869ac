"""Train a `deepxde.Model` by Gauss-Newton steps, with all else of DeepXDE as it is.

from solvers.pinn.deepxde import precondition
precondition(model).train(iterations=200)
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml._checks import need, told

from .gauss_newton import GaussNewton, Progress
from .precision import double, double_precision, seeded
from .residuals import PointwiseResiduals, Term
from .suitable import (
    blame_equation,
    need_squares,
    refuse_unsuitable,
    unchanged_if_refused,
    warn_of_flat_pieces,
)

__all__ = [
    "as_network",
    "double_precision",
    "lent_residuals",
    "load_deepxde",
    "precondition",
    "residuals",
    "seeded",
]

# Seconds pass between two lines of DeepXDE's display, at whose default a training ends in silence.
_DISPLAY_EVERY = 10


def load_deepxde() -> ModuleType:
    """`deepxde` on PyTorch: imported without a word, a prompt or a file in the home directory.

    Raises:
        ImportError: it is not installed.
        RuntimeError: another backend is asked for, or was loaded before.
    """
    asked = os.environ.get("DDE_BACKEND", "pytorch")
    if "deepxde" not in sys.modules:
        if asked != "pytorch":
            raise RuntimeError(
                f"expected DeepXDE's backend pytorch, got DDE_BACKEND={asked}: set "
                "DDE_BACKEND=pytorch, or leave it out"
            )
        with _environment("DDE_BACKEND", "pytorch"), _quiet():
            try:
                importlib.import_module("deepxde")
            except ImportError as error:
                raise ImportError(
                    "expected DeepXDE, which is not installed: pip install 'sciml-solvers[pinn]'"
                ) from error
    deepxde: Any = sys.modules["deepxde"]
    backend = deepxde.backend.backend_name
    if backend != "pytorch":
        raise RuntimeError(
            f"expected DeepXDE's backend pytorch, got {backend}: set DDE_BACKEND=pytorch before "
            "deepxde is imported"
        )
    return deepxde


def precondition(
    model: Any,
    method: GaussNewton | None = None,
    *,
    metrics: Sequence[Any] | None = None,
    loss_weights: Sequence[float] | None = None,
    external_trainable_variables: Tensor | Sequence[Tensor] | None = None,
) -> Any:
    """`model` itself, compiled with a damped Gauss-Newton method in float64.

    What a compiled model has (loss weights, metrics, unknown variables) is kept where nothing else
    is given here. Its network and variables become float64 and stay so; `train`, `predict` and
    `restore` of this model work in float64, whatever `deepxde.config` says, which is put back
    after each, with the sampled points. Iterations are Gauss-Newton steps; checkpoints hold the
    method's state and the variables, so that a restored training goes on as an uninterrupted one.
    Ctrl-C leaves the weights of the last step, the best ones.

    Args:
        model: a `deepxde.Model`, compiled or not, whose losses are mean squares (DeepXDE's "MSE").
        method: `GaussNewton()` without.
        metrics, loss_weights, external_trainable_variables: as of `deepxde.Model.compile`.

    Warns where the network has no second derivatives in its inputs, as with ReLU.

    Raises:
        TypeError: no `deepxde.Model`.
        RuntimeError: a backend other than pytorch.
        ValueError: losses other than mean squares, as many weights as there are no losses, terms
            of a wrong shape, a regulariser, forward-mode derivatives.
    """
    dde = load_deepxde()
    need(model, dde.Model, "a deepxde.Model", "deepxde.Model(data, net)")
    method = GaussNewton() if method is None else method
    need(method, GaussNewton, "a method", "GaussNewton()")
    refuse_unsuitable(dde, model)
    if external_trainable_variables is None:
        variables = list(model.external_trainable_variables)
    elif isinstance(external_trainable_variables, Tensor):
        variables = [external_trainable_variables]
    else:
        variables = list(external_trainable_variables)
    for v in variables:
        need(v, Tensor, "unknown constants", "dde.Variable(1.0)")
    metrics = model.metrics if metrics is None else metrics
    weights = model.loss_weights if loss_weights is None else loss_weights

    compiled = model.outputs_losses_train
    with unchanged_if_refused(model, variables):
        model.net.double()
        for p in [*model.net.parameters(), *variables]:
            p.data, p.grad = p.data.double(), None
        if not getattr(model.net, "_takes_any_float", False):
            model.net.register_forward_pre_hook(_to_its_precision)
            model.net._takes_any_float = True
        model.__class__ = _in_double(type(model))
        with double(dde, model):
            model.external_trainable_variables, batch = variables, _batch(model)
            need_squares(model, compiled, weights, batch, lambda: _residuals(dde, model, *batch))
            warn_of_flat_pieces(_residuals(dde, model, *batch))
            optimiser = _Optimiser(model, method, variables)
            model.compile(
                optimiser, metrics=metrics, loss_weights=weights,
                external_trainable_variables=variables, verbose=0,
            )  # fmt: skip
    return model


def residuals(model: Any) -> PointwiseResiduals:
    """The residuals of `model` at the points it is trained on; ||r||² is the sum of its losses.

    Args:
        model: a `deepxde.Model` that went through `precondition`.

    Raises:
        TypeError: no `deepxde.Model`, or one that is not in float64.
    """
    dde = load_deepxde()
    need(model, dde.Model, "a deepxde.Model", "deepxde.Model(data, net)")
    for p in [*model.net.parameters(), *model.external_trainable_variables]:
        if p.dtype != torch.float64:
            raise TypeError(
                f"expected a model in float64, got {p.dtype}: precondition(model) first"
            )
    with double(dde, model):
        return _residuals(dde, model, *_batch(model))


def as_network(module: torch.nn.Module) -> Any:
    """Any torch module (points, dim) -> (points, outputs) as a network of DeepXDE's.

    `apply_feature_transform` and `apply_output_transform` work; weights keep their precision.
    """
    need(module, torch.nn.Module, "a torch module")

    class Network(load_deepxde().nn.NN):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, inputs: Tensor) -> Tensor:
            x = inputs if self._input_transform is None else self._input_transform(inputs)
            u = self.module(x)
            return u if self._output_transform is None else self._output_transform(inputs, u)

    return Network()


@contextlib.contextmanager
def lent_residuals(model: Any) -> Iterator[PointwiseResiduals]:
    """`residuals` of any model, whose network and variables are in float64 meanwhile."""
    dde = load_deepxde()
    need(model, dde.Model, "a deepxde.Model", "deepxde.Model(data, net)")
    lent = [*model.net.parameters(), *model.net.buffers(), *model.external_trainable_variables]
    kept = [(p, p.data, p.grad) for p in lent if p.is_floating_point()]
    try:
        with double(dde, model):
            for p, data, _ in kept:
                p.grad, p.data = None, data.double()
            yield _residuals(dde, model, *_batch(model))
    finally:
        for p, data, gradient in kept:
            p.data, p.grad = data, gradient


def _batch(model: Any) -> tuple[Any, Any, Any]:
    """(X, y, auxiliary variables), the last of which is missing from some data sets."""
    X, y, *aux = model.data.train_next_batch(model.batch_size)
    return X, y, aux[0] if aux else None


def _residuals(dde: ModuleType, model: Any, X: Any, y: Any, aux: Any) -> PointwiseResiduals:
    if not isinstance(X, np.ndarray) or X.ndim != 2:
        raise TypeError(
            f"expected training points as one array (points, dim), got {told(type(X).__name__)}: "
            "operator networks with several inputs are left to DeepXDE's own optimisers"
        )
    if not len(X):
        raise ValueError(
            "expected at least one training point, got none: raise num_domain or num_boundary"
        )
    inputs = torch.as_tensor(X, dtype=torch.float64)
    targets = None if y is None else torch.as_tensor(y, dtype=torch.float64)
    auxiliary = None if aux is None else torch.as_tensor(aux, dtype=torch.float64)

    def terms(x: Tensor, outputs: Tensor) -> list[Term]:
        errors: list[Tensor] = []

        def record(target: Tensor, output: Tensor) -> Tensor:
            errors.append(output - target)
            return output.new_zeros(())

        dde.grad.clear()
        model.net.auxiliary_vars = auxiliary
        model.net.train(True)
        try:
            model.data.losses_train(targets, outputs, record, x, model, aux=None)
        except (TypeError, RuntimeError) as error:
            blame_equation(model, error, x, outputs, auxiliary)
            raise
        dde.grad.clear()  # graphs are kept by what needs them
        return _terms(model, errors, len(X))

    return PointwiseResiduals(
        model.net, inputs, terms, extra=tuple(model.external_trainable_variables)
    )


def _terms(model: Any, errors: list[Tensor], points: int) -> list[Term]:
    weights = [1.0] * len(errors) if model.loss_weights is None else list(model.loss_weights)
    if len(weights) != len(errors):
        raise ValueError(f"expected {len(errors)} loss weights, one a loss, got {len(weights)}")
    return [
        Term(e if e.ndim == 2 else e.reshape(len(e), -1), where, float(w), name)
        for e, w, (where, name) in zip(errors, weights, _places(model, errors, points), strict=True)
    ]


def _places(model: Any, errors: list[Tensor], points: int) -> list[tuple[slice, str]]:
    """Where each loss is evaluated, and its name. DeepXDE has points of conditions first."""
    counts = getattr(model.data, "num_bcs", None)
    if counts is None:
        return [(slice(0, points), f"loss {k}") for k in range(len(errors))]
    ends = [int(n) for n in np.cumsum([0, *counts])]
    equations = len(errors) - len(counts)
    found = [(slice(ends[-1], points), f"PDE {k}") for k in range(equations)]
    for k, condition in enumerate(model.data.bcs):
        name = f"condition {k} ({type(condition).__name__})"
        found.append((slice(ends[k], ends[k + 1]), name))
    return found


class _Optimiser(torch.optim.Optimizer):
    """A step of the method as DeepXDE asks for it; its state travels in checkpoints."""

    def __init__(self, model: Any, method: GaussNewton, variables: list[Tensor]) -> None:
        trained = [p for p in model.net.parameters() if p.requires_grad]
        super().__init__([*trained, *variables], asdict(Progress()))
        self._model, self._method, self._variables = model, method, variables
        self._last: tuple[Any, PointwiseResiduals] | None = None

    @property
    def progress(self) -> Progress:
        """Damping, iterations and history."""
        group = self.param_groups[0]
        known = {name: group[name] for name in asdict(Progress())}
        return Progress(**{**known, "losses": tuple(known["losses"])})

    def step(self, closure: Any = None) -> float:
        """One step on the points that DeepXDE has just set; `closure` is not called."""
        now = self._method.step(self._residuals(), self.progress)
        self.param_groups[0].update(asdict(now))
        if now.stalled > 1:  # once is forgiven: a callback may have drawn other points
            self._model.stop_training = True
        return now.losses[-1]

    def _residuals(self) -> PointwiseResiduals:
        """Those of the last step, while points and weights are the same."""
        model, at = self._model, self._model.train_state
        if self._last is None or self._last[0] is not at.X_train:
            made = _residuals(load_deepxde(), model, at.X_train, at.y_train, at.train_aux_vars)
            self._last = at.X_train, made
        return self._last[1]

    def state_dict(self) -> dict[str, Any]:
        for variable in self._variables:
            self.state[variable]["value"] = variable.detach().clone()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups = state_dict["param_groups"]
        if any(not set(asdict(Progress())) <= set(group) for group in groups):
            raise ValueError(
                "expected a checkpoint of a preconditioned model, got one of another optimiser: "
                "restore it before precondition(model)"
            )
        super().load_state_dict(state_dict)
        with torch.no_grad():
            for variable in self._variables:
                if (value := self.state[variable].get("value")) is not None:
                    variable.copy_(value)


@functools.cache
def _in_double(base: type) -> type:
    """`base`, a class of models, whose work is done in float64."""
    if getattr(base, "_in_double", False):
        return base

    class Preconditioned(base):
        _in_double = True

        @functools.wraps(base.train)
        def train(self, *args: Any, **kwargs: Any) -> Any:
            dde = load_deepxde()
            known = inspect.signature(dde.Model.train)
            named = {name: v for name, v in kwargs.items() if name in known.parameters}
            given = known.bind_partial(self, *args, **named).arguments
            if isinstance(self.opt, _Optimiser):
                if given.get("iterations", given.get("epochs")) is None:
                    raise ValueError("expected a number of steps, got none: train(iterations=200)")
                if "display_every" not in given:
                    kwargs["display_every"] = _DISPLAY_EVERY
            with double(dde, self):
                found = super().train(*args, **kwargs)
                _tell_how_it_ended(self, given.get("verbose", 1))
                return found

        @functools.wraps(base.predict)
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            with double(load_deepxde(), self):
                return super().predict(*args, **kwargs)

        @functools.wraps(base.restore)
        def restore(self, *args: Any, **kwargs: Any) -> Any:
            with double(load_deepxde(), self):
                return super().restore(*args, **kwargs)

    Preconditioned.__name__, Preconditioned.__qualname__ = base.__name__, base.__qualname__
    return Preconditioned


def _tell_how_it_ended(model: Any, verbose: int) -> None:
    """The last state among the losses, a word of a training that could not go on, and a warning of
    constants that had no time to change."""
    if not isinstance(model.opt, _Optimiser):
        return
    if model.losshistory.steps[-1] != model.train_state.step:
        model._test(verbose=0)
    now, hold = model.opt.progress, model.opt._method.hold
    if now.stalled > 1 and verbose > 0:
        print(f"No step lowers the loss in float64: ended after {model.train_state.step} steps.")
    if model.opt._variables and now.iterations and not now.units:
        warnings.warn(
            f"unknown constants were held for all {now.iterations} steps: train for more than "
            f"hold={hold}, or with GaussNewton(hold=0)",
            stacklevel=3,
        )


def _to_its_precision(net: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs of a network, in the precision of its weights."""
    dtype = next(net.parameters()).dtype
    floats = (a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
    return tuple(floats)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
