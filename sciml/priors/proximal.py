"""A learned prior with a proximal operator: a convex network, and the φ that belongs to it."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import need, number, told
from .._torch import one_thread, returned, tensor_of
from ..arrays import Array, dtype_of, is_array, to_numpy
from ..solver import Solver
from ..space import Space
from ._inversion import blended, steepness

if TYPE_CHECKING:
    from torch import Tensor

    from ..networks import ConvexNetwork

__all__ = ["LearnedProximal"]

_ENTRIES = 1 << 15  # that go through the network together
_EXACT = 1e-9  # of equations with f, relative
_GIVEN = 1e-7  # of f(y) = x for a y that is given: the value is off by the square of that
_USABLE = 1e-6  # residual up to which f is called inverted
_SAME = 1e-6  # f and ∇ψ, relative
_PROBE = 8  # rows and columns of the image at which they are compared, where they may be any
_BELOW = 1e-6  # a slope above lipschitz by more, relative, refutes it
_PROBES, _PROBED = 256, 1 << 12  # points at which it is tried first, at most, and their entries


class LearnedProximal:
    """g = weight φ with prox_φ = f = ∇ψ, a network trained at noise sigma.

    Where training has made f the mode of p(x | y) at that noise, φ is −sigma² log p up to a
    constant, and weight = 1 / sigma², the default, gives g = −log p.

    f is the proximal operator of g at the step 1 / weight and at no other. There prox costs one
    evaluation of f. For other steps let s = step · weight: φ + ½ ‖·‖² is ψ*, so that

        s φ(z) + ½ ‖z − x‖² = s ψ*(z) + (1 − s)/2 ‖z‖² − <z, x> + ½ ‖x‖²

    is least at z = f(y) where s y + (1 − s) f(y) = x. For 0 < s < 1 it is strongly convex with
    constant 1 − s, whatever φ: one z, and a proven distance, ‖residual‖ / (1 − s). For s > 1 that
    holds as long as 1 − s + s / L > 0, where L is a Lipschitz constant of f. L ≤ 1 means
    a convex φ and any step; else s < L / (L − 1). Without a known L, s > 1 is refused. L is told,
    not measured: what is proven with it is as true as it is. A slope of f above it is an error
    where one is seen: at a few pseudo-random points when the prior is made, and at the y of each
    `prox_within`. That forward is the gradient of potential is tried at one such point.

    A network for images of one channel takes the last two axes of x as one image, for several
    channels the last three; for vectors of n, the last axis, and for n = 1 each entry by itself.
    What is before these axes, and real and imaginary part of complex x, go through it
    separately, and g is their sum. Arrays are NumPy's or torch's and stay what they are; inversions
    are done in double precision. Gradients of torch do not go through: tensors that want them are
    refused.

    Args:
        network: see `sciml.networks.load_proximal`; a copy is kept. space: of x.
        sigma: noise level, for networks that are told it.
        weight: of φ, > 0; 1 / sigma² if not given.
        solver: of the positive definite linear systems that inverting f takes, such as
            `solvers.CG()`; without one, prox knows its own step alone.
        lipschitz: L, if the caller knows one; see above.

    Raises:
        TypeError: no ConvexNetwork, Space or Solver.
        ValueError: a space that the network does not fit; sigma missing, or not one of its levels;
            a forward that is not the gradient of potential; a lipschitz that f exceeds.
    """

    def __init__(
        self,
        network: ConvexNetwork,
        space: Space,
        *,
        sigma: float | None = None,
        weight: float | None = None,
        solver: Solver | None = None,
        lipschitz: float | None = None,
    ) -> None:
        from ..networks import ConvexNetwork

        need(network, ConvexNetwork, "a ConvexNetwork", "see sciml.networks.load_proximal")
        need(space, Space, "a Space", "Space(shape, dtype)")
        if solver is not None:
            need(solver, Solver, "a solver of linear systems", "such as solvers.CG()")
        if (name := network.infeasible()) is not None:
            raise ValueError(
                f"expected a convex network, its weights finite, W, c, alpha >= 0 and beta > 0, "
                f"got another {name}"
            )
        self.sigma = _level(network, sigma)
        self.weight = number(self.sigma**-2 if weight is None else weight, "weight")
        self.lipschitz = None if lipschitz is None else number(lipschitz, "lipschitz")
        if not self.weight > 0 or self.lipschitz == 0:
            raise ValueError(f"expected weight and lipschitz > 0, got {weight}, {lipschitz}")
        self.space, self.solver = space, solver
        self._element = _element(network, space)
        self._networks: dict[Any, ConvexNetwork] = {None: copy.deepcopy(network).cpu()}
        self._need_gradient()
        if self.lipschitz is not None:
            self._need_lipschitz(self._steepest(self._probes()))

    def to(self, *, dtype: Any) -> LearnedProximal:
        """The same prior in another precision."""
        made = copy.copy(self)
        made.space = self.space.to(dtype)
        return made

    def at(self, sigma: float) -> LearnedProximal:
        """The prior of the same network at another noise level: another φ, of weight 1 / sigma²."""
        return LearnedProximal(
            self._networks[None], self.space, sigma=sigma, solver=self.solver,
            lipschitz=self.lipschitz,
        )  # fmt: skip

    @property
    def native_step(self) -> float:
        """1 / weight, where prox is one evaluation of f."""
        return 1 / self.weight

    @property
    def weakness(self) -> float:
        """g + weakness / 2 ‖x‖² is convex: ψ* is, and strongly so, with 1 / L, if L is known."""
        known = 1.0 if self.lipschitz is None else 1 - 1 / self.lipschitz
        return self.weight * max(known, 0.0)

    def prox(self, x: Array, step: float) -> Array:
        """By `prox_within`, without the bound."""
        return self.prox_within(x, step)[0]

    def prox_within(
        self, x: Array, step: float, *, near: Array | None = None
    ) -> tuple[Array, np.ndarray]:
        """(z near the proximal operator, a proven bound of the distance per member, host float64).

        Rounding of f itself is not in the bound. With `lipschitz` that is
        ‖residual‖ / (1 − s + s / L), proven if L is true: L was told, not measured, and f' is
        compared with it at y alone.

        Args:
            near: where to begin the search for y; an iteration has the last one.

        Raises:
            ValueError: a step for which no bound is known, see above; f is steeper than lipschitz.
            TypeError: another step than 1 / weight, and no solver.
        """
        s = number(step, "step") * self.weight
        parts = self._members(x)
        if s == 0:
            return x + 0, np.zeros(self._batch(x))
        if abs(s - 1) <= 4 * np.finfo(float).eps:
            z = self._through(parts, lambda f, sigma, part: f(part, sigma), alone=True)
            return self._array(z, x), np.zeros(self._batch(x))
        room = 1 - s + (0 if self.lipschitz is None else s / self.lipschitz)
        if not room > 0:
            known = "no Lipschitz constant" if self.lipschitz is None else f"{self.lipschitz:g}"
            raise ValueError(
                f"expected a step up to {1 / self.weight:g}, or lipschitz=L of f with "
                f"1 - s + s / L > 0 for s = step * weight, got s = {s:g} and {known}: take a "
                "smaller step, or a network trained at more noise"
            )
        y, residual = self._solved(parts, s, near)
        if self.lipschitz is not None:
            self._need_lipschitz(self._steepest(y))
        z = self._through(y, lambda f, sigma, part: f(part, sigma), alone=True)
        return self._array(z, x), self._sums(residual.square(), x) ** 0.5 / room

    def preimage(self, x: Array) -> tuple[Array, np.ndarray]:
        """(y with f(y) = x, ‖f(y) − x‖ per member, host float64). y − x is the slope of φ at x.

        Raises:
            TypeError: no solver.
        """
        y, residual = self._solved(self._members(x), 0.0)
        return self._array(y, x), self._sums(residual.square(), x) ** 0.5

    def value(self, x: Array, *, near: Array | None = None) -> np.ndarray:
        """g(x) = weight (<y, x> − ½ ‖x‖² − ψ(y)) with f(y) = x, up to a constant, host float64.

        For a y that is not quite right this is too small, never too large (Fenchel and Young). NaN
        where f(y) = x could not be solved to 1e-6: x is not in the range of f, or next to it.

        Args:
            near: where to begin the search for y. For z = prox(x, step) the y of z is
                z + (x − z) / (step weight), and nothing is left to search: it is taken as it is
                where f(y) = z to 1e-7.

        Raises:
            TypeError: no solver.
        """
        parts = self._members(x)
        y, residual = self._solved(parts, 0.0, near)
        psi = self._through(y, lambda f, sigma, part: f.potential(part, sigma), alone=True)
        wide = parts.double()
        found = ((y - 0.5 * wide) * wide).flatten(1).sum(1) - psi
        return self.weight * self._sums(_where_solved(found, residual, wide), x)

    def slope(self, x: Array) -> Array:
        """The gradient of g: weight (y − x) with f(y) = x; NaN as in `value`.

        Not called grad: with that a problem would be certified by gradients, not by f.
        """
        parts = self._members(x)
        y, residual = self._solved(parts, 0.0)
        wide = parts.double()
        return self._array(self.weight * _where_solved(y - wide, residual, wide), x)

    def steepness(self, y: Array) -> float:
        """The largest slope of f that a few power iterations of f' at y find: L is no less."""
        return self._steepest(self._members(y).double())

    # -- parts -------------------------------------------------------------------------------

    def _need_gradient(self) -> None:
        """ValueError unless f is the gradient of ψ by automatic differentiation, at one point."""
        import torch

        named = self._networks[None].element
        shape = (1, *(_PROBE if isinstance(n, str) else n for n in named))
        with torch.inference_mode(False), torch.enable_grad():
            x = _drawn(shape).requires_grad_()
            network = self._network(x)
            sigma = x.new_full((1,), self.sigma) if network.told_sigma else None
            psi = network.potential(x, sigma).sum()
            slope = torch.autograd.grad(psi, x)[0] if psi.requires_grad else torch.zeros_like(x)
            f = network(x, sigma).detach()
        gap, size = (f - slope).norm(), f.norm() + slope.norm()
        if not gap <= _SAME * size:
            raise ValueError(
                "expected forward as the gradient of potential, got one that is "
                f"{float(gap / size):.1e} of their size away from it at a pseudo-random point"
            )

    def _probes(self) -> Tensor:
        """Points of several sizes, float64."""
        count = max(1, min(_PROBES, _PROBED // int(np.prod(self._element))))
        sizes = np.geomspace(0.1, 10.0, count) if count > 1 else np.ones(1)
        y = _drawn((count, *self._element))
        return y * y.new_tensor(sizes).reshape(-1, *(1,) * len(self._element))

    def _steepest(self, y: Tensor) -> float:
        found = self._through(y, lambda f, sigma, part: steepness(f, part, sigma))
        return float(found.max()) if len(found) else 0.0

    def _need_lipschitz(self, seen: float) -> None:
        assert self.lipschitz is not None
        if seen > (1 + _BELOW) * self.lipschitz:
            raise ValueError(
                f"expected lipschitz=L of f, at least {seen:.4g}, a slope that f has, got "
                f"{self.lipschitz:g}"
            )

    def _solved(self, parts: Tensor, s: float, near: Array | None = None) -> tuple[Tensor, Tensor]:
        """`blended`, member by member: (y, residual)."""
        if self.solver is None:
            raise TypeError(
                "expected a solver for other steps than 1 / weight and for values, got none: "
                "LearnedProximal(network, space, solver=solvers.CG())"
            )
        import torch

        solver = self.solver
        residuals: list[Tensor] = []

        rtol = _EXACT if s or near is None else _GIVEN

        def act(f: ConvexNetwork, sigma: Tensor | None, part: Tensor) -> Tensor:
            if near is None:
                y, left = blended(f, part, s, sigma, solver, rtol)
            else:  # x and where to begin, side by side
                x, start = part.unbind(1)
                y, left = blended(f, x, s, sigma, solver, rtol, start)
            residuals.append(left)
            return y

        wide = parts.double()
        if near is not None:
            wide = torch.stack([wide, self._members(near).double()], 1)
        y = self._through(wide, act)
        return y, torch.cat(residuals)

    def _through(self, parts: Tensor, act: Any, *, alone: bool = False) -> Tensor:
        """act(network, sigma, part), a few members at a time, in the precision of `parts`.

        alone: act is the network and nothing else, which may know how to keep its bits.
        """
        import torch

        network = self._network(parts)
        threads = contextlib.nullcontext() if alone and network.steady else one_thread(parts)
        count = max(1, _ENTRIES // max(1, parts[:1].numel()))
        found = []
        with threads, torch.no_grad():
            for part in parts.split(count) if len(parts) else [parts]:
                sigma = part.new_full((len(part),), self.sigma) if network.told_sigma else None
                found.append(act(network, sigma, part))
        return torch.cat(found)

    def _network(self, like: Tensor) -> ConvexNetwork:
        key = (like.dtype, like.device)
        if key not in self._networks:
            made = copy.deepcopy(self._networks[None]).to(device=like.device, dtype=like.dtype)
            self._networks[key] = made.eval().requires_grad_(False)
        return self._networks[key]

    def _members(self, x: Array) -> Tensor:
        """x as what goes through the network, (members, *element), real."""
        import torch

        if not is_array(x):
            raise TypeError(f"expected x as an array (numpy, cupy or torch), got {told(x)}")
        if getattr(x, "requires_grad", False):
            raise TypeError("expected x without gradients, got one that requires them: x.detach()")
        self.space.check(x, "x")
        tensor: Any = tensor_of(x)
        if self.space.is_complex:
            tensor = torch.stack([tensor.real, tensor.imag], tensor.ndim - self.space.ndim)
        return tensor.reshape(-1, *self._element)

    def _array(self, parts: Tensor, x: Array) -> Array:
        """The inverse of that, like x."""
        import torch

        batch = self._batch(x)
        if self.space.is_complex:
            pairs = parts.reshape(*batch, 2, *self.space.shape)
            found = torch.complex(*pairs.unbind(len(batch)))
        else:
            found = parts.reshape(*batch, *self.space.shape)
        return returned(found.to(getattr(torch, dtype_of(x).name)), x)

    def _batch(self, x: Array) -> tuple[int, ...]:
        return tuple(x.shape[: x.ndim - self.space.ndim])

    def _sums(self, found: Tensor, x: Array) -> np.ndarray:
        """One number a member of the network to one a member of x."""
        host = np.asarray(to_numpy(found), dtype=np.float64)
        batch = self._batch(x)
        size = self.space.size * (2 if self.space.is_complex else 1)
        return host.reshape(*batch, size // int(np.prod(self._element))).sum(-1)


def _drawn(shape: tuple[int, ...]) -> Tensor:
    """The same normal numbers in every process, whatever the caller draws."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _where_solved(found: Tensor, residual: Tensor, x: Tensor) -> Tensor:
    """NaN for members whose f(y) is not x."""
    import torch

    size = x.square().flatten(1).sum(1).sqrt()
    bad = ~(residual <= _USABLE * (1 + size))
    return torch.where(bad.reshape(-1, *(1,) * (found.ndim - 1)), float("nan"), found)


def _level(network: ConvexNetwork, sigma: float | None) -> float:
    least, most = network.sigmas
    if sigma is None and not network.told_sigma:
        return least
    known = 0.0 if sigma is None else number(sigma, "sigma")
    if not least <= known <= most:
        raise ValueError(
            f"expected sigma between {least:g} and {most:g}, as in training, got {told(sigma)}"
        )
    return known


def _element(network: ConvexNetwork, space: Space) -> tuple[int, ...]:
    """The shape of what goes through the network; ValueError if the space is not made of such."""
    import torch

    from ..networks import ConvexDense

    if isinstance(network, ConvexDense):
        alone = network.size == 1
        shape = (1,) if alone else tuple(space.shape[-1:])
    else:
        channels = int(network.element[0])
        shape = (*((1,) if channels == 1 else ()), *space.shape[-2 - (channels > 1) :])
    network.padded(torch.empty((0, *shape)))
    return shape
