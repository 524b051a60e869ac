"""Whether a `deepxde.Model` can be trained by Gauss-Newton steps, and what to do if not."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml._checks import told

from .residuals import PointwiseResiduals

__all__ = [
    "blame_equation",
    "need_squares",
    "refuse_unsuitable",
    "unchanged_if_refused",
    "warn_of_flat_pieces",
]

_Batch = tuple[Any, Any, Any]
_ARRAYS_AGREE = 1e-6
_ROUNDING = 1e-14
_LOOKED_AT = 256  # points at which second derivatives are looked for


@contextlib.contextmanager
def unchanged_if_refused(model: Any, variables: Sequence[Tensor]) -> Iterator[None]:
    """Put a model back as it was if what is done to it within ends in an exception."""
    net, kind, constants = model.net, type(model), model.external_trainable_variables
    kept = [(p, p.data, p.grad) for p in (*net.parameters(), *variables)]
    buffers = [(module, dict(module._buffers)) for module in net.modules()]
    hooks, attributes = dict(net._forward_pre_hooks), set(vars(net))
    try:
        yield
    except BaseException:
        model.__class__, model.external_trainable_variables = kind, constants
        for p, data, gradient in kept:
            p.data, p.grad = data, gradient
        for module, before in buffers:
            module._buffers.update(before)
        for key in set(net._forward_pre_hooks) - set(hooks):
            del net._forward_pre_hooks[key]
        for name in set(vars(net)) - attributes:
            delattr(net, name)
        raise


def refuse_unsuitable(dde: ModuleType, model: Any) -> None:
    """Refuse what Gauss-Newton's steps cannot train: a regulariser, forward mode, mixed precision,
    layers whose outputs are drawn at random or depend on the batch."""
    if getattr(model.net, "regularizer", None) is not None:
        raise ValueError(
            f"expected a network without regularization, got {told(model.net.regularizer)}: leave "
            "it out, Gauss-Newton's damping keeps steps small"
        )
    if dde.config.autodiff != "reverse":
        raise ValueError(
            f"expected reverse-mode derivatives, got {dde.config.autodiff!r}: "
            'deepxde.config.set_default_autodiff("reverse")'
        )
    if dde.config.mixed:
        raise ValueError('expected one precision, got "mixed": set_default_float("float64")')
    for name, layer in model.net.named_modules():
        drops = isinstance(layer, torch.nn.modules.dropout._DropoutNd) and layer.p > 0
        if drops or isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"expected a network whose outputs are a function of its inputs, got {layer!r} as "
                f"{name}: leave it out, residuals of one step have to be those of the next"
            )


def need_squares(
    model: Any,
    compiled: Any,
    weights: Any,
    batch: _Batch,
    residuals: Callable[[], PointwiseResiduals],
) -> None:
    """Refuse a model with a loss, as it was compiled, that is no mean square.

    Losses are compared one by one and without weights, so that none hides behind a larger one.

    Args:
        compiled: the model's own losses, None of one that is not compiled. batch: X, y, aux.
        residuals: makes those of the model as it is, at `batch`.
    """
    before = model.loss_weights
    try:
        model.loss_weights = weights
        try:
            residuals().terms()  # says what is wrong with weights and shapes
        except RuntimeError as error:
            if "dtype" not in str(error):
                raise
            raise TypeError(
                f"expected a network and an equation that take float64, got {error}: make tensors "
                "of your own float64, or B.to(x) where they meet x"
            ) from error
        if compiled is None:
            return
        model.loss_weights = None
        terms = residuals().terms()
        theirs = compiled(*batch)[1].detach().tolist()
    finally:
        model.loss_weights = before
    ours = [float(term.error.detach().square().mean()) for term in terms]
    least = _ROUNDING * sum(a for a in ours if np.isfinite(a))
    for term, a, b in zip(terms, ours, theirs, strict=True):
        # where the mean square is NaN the training says so, and at which point
        if np.isfinite(a) and not abs(a - b) <= _ARRAYS_AGREE * a + least:
            raise ValueError(
                f"expected losses that are mean squares, {a:.6g} for {term.name}, got {b:.6g}: "
                'compile the model with loss="MSE"'
            )


def warn_of_flat_pieces(found: PointwiseResiduals) -> None:
    """Say so where the network is linear in pieces: an equation then trains nothing, silently."""
    x = found.inputs[:_LOOKED_AT].clone().requires_grad_()
    (slope,) = torch.autograd.grad(found.network(x).sum(), x, create_graph=True)
    if not bool(slope.any()):  # weights that are 0 at first say nothing
        return
    if slope.requires_grad:
        (bend,) = torch.autograd.grad(slope.sum(), x, allow_unused=True)
        if bend is not None and bool(bend.any()):
            return
    warnings.warn(
        "expected a network with second derivatives in its inputs, got none at the training points "
        '(ReLU?): an equation with second derivatives cannot train it, use "tanh"',
        stacklevel=3,
    )


def blame_equation(
    model: Any, error: Exception, x: Tensor, outputs: Tensor, auxiliary: Tensor | None
) -> None:
    """Say so, if `error` comes of an equation that is not in torch."""
    if "numpy()" in str(error):  # torch's advice is detach(), which cuts the equation off
        raise TypeError(
            "expected equations and conditions in torch, got one that calls NumPy on a tensor: "
            "torch.sin(x) in place of np.sin(x)"
        ) from error
    if (equation := getattr(model.data, "pde", None)) is None:
        return
    try:
        found = equation(x, outputs) if auxiliary is None else equation(x, outputs, auxiliary)
    except Exception:
        return  # the equation's own error is the one to show
    for k, value in enumerate(found if isinstance(found, list | tuple) else [found]):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"expected PDE {k} as a tensor (points, 1), got {told(value)}: return what is to "
                "be 0, made by torch and deepxde.grad"
            ) from error
