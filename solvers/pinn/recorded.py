"""The Jacobian of a residual that torch has recorded, as an Operator of backward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml import Operator, Space

__all__ = ["Jacobian"]

# Rows of J that one batched backward pass makes are held to this many bytes.
_CHUNK = 1 << 26


class Jacobian(Operator):
    """J = dr/dtheta at one theta: (parameters,) -> (rows,), in float64.

    J^H u is a backward pass; J v is a backward pass through that one, which is linear in u. Nothing
    larger than r and theta is held, besides the graph of r.

    Args:
        residual: r (rows,) with its graph. parameters: the leaves that theta is made of.
        matrix: makes J as a matrix where there is a faster way than row by row.
    """

    vectorized = False

    def __init__(
        self,
        residual: Tensor,
        parameters: Sequence[Tensor],
        matrix: Callable[[Jacobian], Tensor] | None = None,
    ) -> None:
        self.residual = residual.detach()
        self._graph = _Graph(residual, tuple(parameters))
        self._matrix = matrix
        super().__init__(Space((sum(p.numel() for p in parameters),)), Space((residual.numel(),)))

    @property
    def home(self) -> Tensor:
        return self.residual

    @property
    def current(self) -> bool:
        """Whether the parameters are those that J was recorded at."""
        return self._graph.current

    def _apply(self, x: Tensor) -> Tensor:
        return self._graph.forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._graph.backward(y)

    def _moved(self, move: Any) -> Operator:
        raise TypeError("expected J where its graph is: move the network, and linearise anew")

    def _with_precision(self, dtype: Any) -> Operator:
        raise TypeError(f"expected J in float64, in which it was recorded, got {dtype}")

    def matrix(self) -> Tensor:
        """J as a tensor (rows, parameters), of 8 · rows · parameters bytes."""
        return self.by_rows() if self._matrix is None else self._matrix(self)

    def dense(self) -> np.ndarray:
        """`matrix()` on the host."""
        return self.matrix().numpy(force=True)

    def by_rows(self) -> Tensor:
        """J from one backward pass a row, in chunks. Right for any r, and slow."""
        rows, columns = self.range.size, self.domain.size
        J = self.residual.new_empty(rows, columns)
        chunk = max(1, _CHUNK // (8 * columns))
        for i in range(0, rows, chunk):
            units = torch.zeros_like(J[i : i + chunk, :1]).expand(-1, rows).clone()
            units[torch.arange(len(units)), i + torch.arange(len(units))] = 1
            J[i : i + chunk] = self._graph.backward(units)
        return J


class _Graph:
    """The recorded graph of r, and that of u -> J^T u, which is recorded at first use."""

    def __init__(self, r: Tensor, parameters: tuple[Tensor, ...]) -> None:
        self.r, self.parameters = r, parameters
        self.versions = [p._version for p in parameters]
        self.u: Tensor | None = None
        self.pulled: tuple[Tensor, ...] = ()

    @property
    def current(self) -> bool:
        return self.versions == [p._version for p in self.parameters]

    def _need_current(self) -> None:
        if not self.current:
            raise RuntimeError(
                "expected the parameters that J was recorded at, got changed ones: linearise anew"
            )

    def backward(self, u: Tensor) -> Tensor:
        """J^T u, for u (rows,) or a stack of them (count, rows)."""
        self._need_current()
        batched = u.ndim == 2
        parts = torch.autograd.grad(
            self.r, self.parameters, u, retain_graph=True, is_grads_batched=batched,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        lead = u.shape[:-1]
        return torch.cat([g.reshape(*lead, -1) for g in parts], dim=-1)

    def forward(self, v: Tensor) -> Tensor:
        """J v, as the derivative of <v, J^T u> by u."""
        self._need_current()
        if self.u is None:
            with torch.enable_grad():
                self.u = torch.zeros_like(self.r, requires_grad=True)
                self.pulled = torch.autograd.grad(
                    self.r, self.parameters, self.u, create_graph=True,
                    allow_unused=True, materialize_grads=True,
                )  # fmt: skip
        sizes = [p.numel() for p in self.parameters]
        pairs = zip(self.pulled, torch.split(v, sizes), strict=True)
        used = [(g, part.reshape(g.shape)) for g, part in pairs if g.requires_grad]
        if not used:
            return torch.zeros_like(self.u)
        outputs, weights = zip(*used, strict=True)
        (Jv,) = torch.autograd.grad(
            outputs, self.u, weights, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return Jv
