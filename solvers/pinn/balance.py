"""Weights of a loss by which no term drowns another.

Wang, Yu and Perdikaris, When and why PINNs fail to train: a neural tangent kernel perspective,
Journal of Computational Physics 449 (2022): a term is learned at the speed of its block
K_t = J_t J_t^T, whose mean eigenvalue is trace(K_t) / rows, and weights make the traces alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml._checks import integer, need

from .residuals import PointwiseResiduals

__all__ = ["balanced", "balancing", "traces"]


def traces(
    residuals: PointwiseResiduals,
    *,
    probes: int | None = None,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """||J_t||_F² of each term of the loss at the present weights, (terms,): traces of J_t J_t^T.

    Args:
        probes: estimate each from as many backward passes (Hutchinson's estimator, unbiased: of
            ||J_t^T s||² with random signs s), without J as a matrix. Exact, with it, if None.
        rng: draws the signs.
    """
    need(residuals, PointwiseResiduals, "PointwiseResiduals", "solvers.pinn.deepxde.residuals")
    rows = residuals.rows()
    _, J = residuals.linearise()
    if probes is None:
        squares = J.matrix().square().sum(dim=1)
        return torch.stack([squares[part].sum() for part in rows])
    need(rng, np.random.Generator, "rng as a numpy.random.Generator")
    assert rng is not None
    count, found = integer(probes, "probes", 1), J.residual.new_zeros(len(rows))
    for k, part in enumerate(rows):
        for _ in range(count):
            signs = torch.zeros_like(J.residual)
            drawn = rng.integers(0, 2, part.stop - part.start) * 2.0 - 1
            signs[part] = torch.from_numpy(drawn).to(signs)
            found[k] += J.adjoint(signs).square().sum() / count
    return found


def balanced(
    residuals: PointwiseResiduals,
    *,
    probes: int | None = None,
    rng: np.random.Generator | None = None,
) -> list[float]:
    """A weight for each term, by which all traces are their present mean.

    The terms' present weights are those that count: balanced twice is balanced once. A term whose
    errors no parameter moves keeps its weight.

    Args:
        probes, rng: see `traces`.
    """
    found = traces(residuals, probes=probes, rng=rng)
    moved = found > 0
    if not bool(moved.any()):
        raise ValueError("expected parameters that move a term of the loss, got J = 0")
    target = float(found[moved].mean())
    return [
        term.weight * (target / float(trace) if trace > 0 else 1.0)
        for term, trace in zip(residuals.terms(), found, strict=True)
    ]


def balancing(every: int = 100, *, probes: int | None = None, seed: int = 0) -> Any:
    """A callback of DeepXDE that sets a model's loss weights, at the start and each `every` steps.

    For models under any optimiser, whose losses are mean squares. A restored training goes on with
    the weights that it had if its model is compiled with them, and balances anew at its start.

    Args:
        probes: see `traces`. seed: of its signs.
    """
    from .deepxde import lent_residuals, load_deepxde

    every = integer(every, "every", 1)
    rng = np.random.default_rng(integer(seed, "seed", 0))

    class Balances(load_deepxde().callbacks.Callback):
        steps = 0

        def on_train_begin(self) -> None:
            self._balance()

        def on_epoch_end(self) -> None:
            self.steps += 1
            if self.steps % every == 0:
                self._balance()

        def _balance(self) -> None:
            with lent_residuals(self.model) as residuals:
                self.model.loss_weights = balanced(residuals, probes=probes, rng=rng)

    return Balances()
