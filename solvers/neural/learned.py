"""A direction network as a preconditioner."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from sciml._checks import need
from sciml._torch import one_thread, returned, tensor_of
from sciml.arrays import Array
from sciml.operator import Operator
from sciml.operators._massive import massive

from .systems import stencil_of

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork

__all__ = ["Learned", "learned"]


def learned(A: Operator, network: DirectionNetwork, *, bfloat16: bool = False) -> Learned:
    """`network` as a nonlinear preconditioner of A, for FlexibleCG and FGMRES.

    Args:
        A: on a grid of the network's dimension. What a conditioned network is told of A is
            read from a Diffusion or NodalDiffusion, or a positive multiple of one plus a mass; for
            other operators it is told of constant k and u = 0 around.
        network: a copy of it is kept.
        bfloat16: run its convolutions in bfloat16: three to thirty times as fast on processors that
            have instructions for it, slower on others.

    Raises:
        TypeError: A is not square, or no network. ValueError: of another dimension.
    """
    from sciml.networks import DirectionNetwork

    need(A, Operator, "an Operator")
    need(network, DirectionNetwork, "a DirectionNetwork", "see sciml.networks.load_network")
    if A.domain != A.range:
        raise TypeError(f"expected a square operator for a network, got {A!r}")
    if A.domain.ndim != network.ndim:
        raise ValueError(
            f"expected an operator on {network.ndim}-D grids for this network, got {A!r}: load "
            "weights of that dimension"
        )
    return Learned(A, network, bfloat16=bfloat16)


class Learned(Operator):
    """x -> ‖x‖ f(x / ‖x‖), f in single precision on the device of A's arrays.

    Real and imaginary part go through f one after the other. 0 in solid cells, and orthogonal to
    A's null vector. Not linear by its traits. In host memory it runs on one thread: the last bits
    of a convolution depend on how many there are.

    Attributes:
        informed: whether the network was told of A's coefficients; False for those that ask for
            none.
    """

    costly, recordable = True, False

    def __init__(self, A: Operator, network: DirectionNetwork, *, bfloat16: bool = False) -> None:
        import torch

        super().__init__(A.domain, traits=(), batch_shape=A.batch_shape)
        device = _device(A, network)
        self.network, self.bfloat16 = _own(network).to(device), bfloat16
        read = massive(A)
        self.informed, self.system = False, None
        with torch.no_grad():
            if network.conditioned:
                stencil = stencil_of(A)
                self.informed = stencil is not None
                told = _unit_box(A.domain.shape) if stencil is None else stencil
                self.system: Any = network.prepare(told.on(device))
            constants = A.null_vector
            self.constants = None if constants is None else tensor_of(constants).detach()
            self.fluid = None
            if read is not None and read.diffusion.pins.any():
                self.fluid = tensor_of(read.diffusion.k).detach() > 0

    def _apply(self, x: Array) -> Array:
        import torch

        if math.prod(x.shape) == 0:
            return x + 0
        with torch.no_grad():
            own = tensor_of(x)
            axes = tuple(range(own.ndim - self.domain.ndim, own.ndim))
            size = own.abs().amax(axes, keepdim=True)  # first, so that no square overflows
            r = own / torch.where(size > 0, size, 1)
            norm = r.abs().square().sum(axes, keepdim=True).sqrt()
            r = r / torch.where(norm > 0, norm, 1)
            with one_thread(r), torch.autocast(r.device.type, torch.bfloat16, self.bfloat16):
                if self.domain.is_complex:
                    q = torch.complex(self._directions(r.real), self._directions(r.imag))
                else:
                    q = self._directions(r)
            q = q.to(own.dtype)
            if self.fluid is not None:
                q = q * self.fluid
            if self.constants is not None:
                ones = self.constants.to(own.dtype)
                share = (ones * q).sum(axes, keepdim=True) / ones.square().sum(axes, keepdim=True)
                q = q - share * ones
            q = q * (size * norm)
        return returned(q, x)

    def _directions(self, r: Any) -> Any:
        """f for r (*batch, *shape): members of A's batch together, the rest one after another."""
        import torch

        r, members = r.float(), math.prod(self.batch_shape)
        if not self.batch_shape:
            q = self._asked(r.reshape(-1, 1, *self.domain.shape))
        else:
            groups = r.reshape(-1, members, 1, *self.domain.shape)
            q = torch.stack([self._asked(g) for g in groups])
        return q.float().reshape(r.shape)

    def _asked(self, r: Any) -> Any:
        """f for r (batch, 1, *shape), of that shape and real."""
        import torch

        q = self.network(r, self.system)
        if not torch.is_tensor(q) or q.is_complex() or q.shape != r.shape:
            got = f"{q.dtype} {tuple(q.shape)}" if torch.is_tensor(q) else type(q).__name__
            raise TypeError(
                f"expected a real tensor {tuple(r.shape)} from {type(self.network).__name__}, got "
                f"{got}: return a direction of the residual's shape"
            )
        return q

    @property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.network.parameters())


def _own(network: DirectionNetwork) -> DirectionNetwork:
    """A copy whose weights lie as convolutions want them."""
    import torch

    made = copy.deepcopy(network).eval().requires_grad_(False)
    if made.conditioned or network.ndim == 1:  # convolutions of one channel gain nothing
        return made
    last = torch.channels_last if network.ndim == 2 else torch.channels_last_3d
    return made.to(memory_format=last)  # type: ignore[call-overload]


def _device(A: Operator, network: DirectionNetwork) -> Any:
    """Where A's arrays are; where the network is, if A has none."""
    import torch

    if A.home is not None:
        return tensor_of(A.home).device
    weight = next(network.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def _unit_box(shape: tuple[int, ...]) -> Any:
    import torch

    from sciml.networks import Stencil

    longer = [tuple(n + (a == i) for i, n in enumerate(shape)) for a in range(len(shape))]
    return Stencil.build(tuple(torch.ones(1, 1, *s) for s in longer))
