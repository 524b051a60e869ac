"""A direction network as a preconditioner."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml._checks import need
from sciml.arrays import Array, astype, is_torch, like_host
from sciml.operator import Operator

from .systems import stencil_of

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork

__all__ = ["Learned", "learned"]


def learned(A: Operator, network: DirectionNetwork) -> Learned:
    """`network` as a nonlinear preconditioner of A, for FlexibleCG and FGMRES.

    Args:
        A: real, on a grid of the network's dimension. What a conditioned network is told of A is
            read from a Diffusion or NodalDiffusion; for other operators it is told of constant k
            and u = 0 around.
        network: used as it is, without a copy; it must not be changed afterwards.

    Raises:
        TypeError: A is complex or not square, or no network. ValueError: of another dimension.
    """
    from sciml.networks import DirectionNetwork

    need(A, Operator, "an Operator")
    need(network, DirectionNetwork, "a DirectionNetwork", "see sciml.networks.load_network")
    if A.domain != A.range or A.domain.is_complex:
        raise TypeError(f"expected a real, square operator for a network, got {A!r}")
    if A.domain.ndim != network.ndim:
        raise ValueError(
            f"expected an operator on {network.ndim}-D grids for this network, got {A!r}: load "
            "weights of that dimension"
        )
    return Learned(A, network)


class Learned(Operator):
    """x -> ‖x‖ f(x / ‖x‖), f in float32 on the device of the network's weights.

    0 in solid cells, and orthogonal to A's null vector. Not linear by its traits.
    """

    def __init__(self, A: Operator, network: DirectionNetwork) -> None:
        import torch

        super().__init__(A.domain, traits=(), batch_shape=A.batch_shape)
        self.network = network
        weight = next(network.parameters(), None)
        device = torch.device("cpu") if weight is None else weight.device
        self.informed = stencil_of(A) is not None
        self.system: Any = None
        with torch.no_grad():
            if network.conditioned:
                stencil = stencil_of(A) or _unit_box(A.domain.shape)
                self.system = network.prepare(stencil.on(device))
            constants = A.null_vector
            self.constants = None if constants is None else _tensor(constants).to(device)
            solid = getattr(A, "pins", np.zeros(()))
            self.fluid = (_tensor(A.k) > 0).to(device) if solid.any() else None

    def _apply(self, x: Array) -> Array:
        import torch

        if math.prod(x.shape) == 0:
            return x + 0
        with torch.no_grad():
            own = x if is_torch(x) else torch.from_numpy(np.ascontiguousarray(x))
            axes = tuple(range(own.ndim - self.domain.ndim, own.ndim))
            size = own.abs().amax(axes, keepdim=True)  # first, so that no square overflows
            r = own / torch.where(size > 0, size, 1)
            norm = r.square().sum(axes, keepdim=True).sqrt()
            r = (r / torch.where(norm > 0, norm, 1)).float()
            q = self._directions(r).to(own.dtype)
            if self.fluid is not None:
                q = q * self.fluid
            if self.constants is not None:
                ones = self.constants.to(own.dtype)
                share = (ones * q).sum(axes, keepdim=True) / ones.square().sum(axes, keepdim=True)
                q = q - share * ones
            q = q * (size * norm)
        return q if is_torch(x) else astype(like_host(q.numpy(), x), self.domain.dtype)

    def _directions(self, r: Any) -> Any:
        """f for r (*batch, *shape): members of A's batch together, the rest one after another."""
        import torch

        members = math.prod(self.batch_shape)
        if not self.batch_shape:
            return self.network(r.reshape(-1, 1, *self.domain.shape), self.system).reshape(r.shape)
        groups = r.reshape(-1, members, 1, *self.domain.shape)
        return torch.stack([self.network(g, self.system) for g in groups]).reshape(r.shape)

    @property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.network.parameters())


def _tensor(a: Array) -> Any:
    import torch

    return a.detach() if is_torch(a) else torch.from_numpy(np.array(a))


def _unit_box(shape: tuple[int, ...]) -> Any:
    import torch

    from sciml.networks import Stencil

    longer = [tuple(n + (a == i) for i, n in enumerate(shape)) for a in range(len(shape))]
    return Stencil.build(tuple(torch.ones(1, 1, *s) for s in longer))
