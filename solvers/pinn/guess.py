"""A trained network as a part of solves: a guess, a space to deflate, or an answer to certify.

Whatever the network says, an answer is one when its residual is: solves that begin from it are
certified as all others are. Importing this loads torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sciml import LinearSystem, Result, Solver, Stop, solve
from sciml._checks import integer, need, told
from sciml.arrays import Array, from_host, host_view, is_array, namespace, ratio, to_numpy
from sciml.operator import Trait
from sciml.problem import Problem
from sciml.result import Status

from ..krylov._base import first_residual
from ..reduced import principal

__all__ = ["Given", "certify", "coarse_space", "fitted", "initial_guess"]

# Rows that go through a network at once.
_CHUNK = 1 << 16
# A transform of the network's output has to be affine to this, relatively.
_AFFINE = 1e-5


def initial_guess(
    network: Any, points: Array, problem: LinearSystem, *, output: int = 0, fit: bool = True
) -> Array:
    """The network at the unknowns' points, as x0 of `solve`.

    Args:
        network: a torch module (rows, d) -> (rows, outputs), a `deepxde.Model`, or a function that
            does the same on tensors. Parameters of a family are further columns of the points.
        points: (*batch, *shape, d), real: where each unknown of the problem is.
        output: which of the network's outputs is meant.
        fit: see `fitted`. The guess is then never farther than 0, so that the bound of conjugate
            gradients is none above that without a guess, however bad the network.

    Returns:
        (*batch, *shape), in the library, place and dtype of the problem's b.

    Raises:
        TypeError: an argument of a wrong type, or a network that returns no real numbers.
        ValueError: shapes that do not fit, or a network that gives NaN or Inf: with the first
            point where.
    """
    need(problem, LinearSystem, "a LinearSystem")
    shape = (*problem.batch, *problem.domain.shape)
    rows = _points(points, shape)
    values = _evaluated(network, rows, integer(output, "output", 0)).reshape(shape)
    space = problem.domain
    with np.errstate(over="ignore"):
        host = values.astype(space.dtype)
    if not np.isfinite(host).all():
        raise ValueError(f"expected a network whose values fit into {space.dtype}, got Inf of them")
    x = from_host(host, problem.b, space.dtype)
    return fitted(x, problem) if fit else x


def fitted(x: Array, problem: LinearSystem) -> Array:
    """The multiple of x, one for each member, that is closest to the solution.

    In the energy norm where A is positive, else in the norm of the residual: it is never farther
    than 0. It costs one product with A.

    Args:
        x: (*batch, *shape), of the problem's dtype, library and place.

    Raises:
        TypeError, ValueError: x does not fit the problem.
    """
    need(problem, LinearSystem, "a LinearSystem")
    A, b, xp = problem.A, problem.b, namespace(x, problem.b)
    if problem.domain.check(x, "x") != problem.batch:
        raise ValueError(f"expected x of batch {problem.batch}, got {tuple(x.shape)}")
    axes = tuple(range(len(problem.batch), x.ndim))
    largest = xp.max(xp.abs(x), axis=axes, keepdims=True)  # products must not overflow
    x = x / xp.where(largest > 0, largest, xp.ones_like(largest))
    if tuple(b.shape) != tuple(x.shape):
        b = xp.broadcast_to(b, x.shape)
    Ax, space = A(x), problem.codomain
    left = x if Trait.POSITIVE in A.traits else Ax
    return ratio(space.inner_real(left, b), space.inner_real(left, Ax)) * x


def coarse_space(
    network: Any,
    points: Array,
    *,
    output: int = 0,
    layer: nn.Linear | None = None,
    rtol: float = 1e-10,
    most: int | None = None,
) -> np.ndarray:
    """What the network can say at the points by its last layer's weights: W of `Deflation`.

    These are the last hidden layer's features and the constant of its bias, as the network's
    output would have them: with a factor that makes boundaries hard they vanish there. W is an
    orthonormal basis, by the singular values of the features.

    Args:
        network: a torch module (rows, d) -> (rows, outputs), or a `deepxde.Model`, each output of
            which is an affine function of the last layer's output at that point.
        points: (*shape, d), real.
        output: which of the network's outputs is meant.
        layer: the last layer; None for the last `torch.nn.Linear` among its modules.
        rtol: singular values below this share of the largest are left out.
        most: vectors at most.

    Returns:
        W (m, *shape), float64.

    Raises:
        TypeError: an argument of a wrong type, or a network without a linear layer.
        ValueError: shapes that do not fit, NaN or Inf, or an output that is not affine in the
            last layer's.
    """
    module, output = _module(network), integer(output, "output", 0)
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected a torch.nn.Module or a deepxde.Model, got {told(network)}")
    last = _last(module) if layer is None else layer
    need(last, nn.Linear, "layer as a torch.nn.Linear of the network", "network[-1]")
    if output >= last.out_features:
        raise ValueError(
            f"expected the network's outputs to be those of its last layer, got output {output} "
            f"of a layer with {last.out_features}: name another layer"
        )
    if not is_array(points) or points.ndim < 2:
        raise TypeError(f"expected points as an array (*shape, d), got {told(points)}")
    shape = tuple(points.shape[:-1])
    rows = _points(points, shape)
    seen: list[np.ndarray] = []

    def said(value: float) -> np.ndarray:
        """The network's output where the last layer says `value`."""

        def instead(_: nn.Module, inputs: tuple[Tensor, ...], given: Tensor) -> Tensor:
            if value == 0:
                seen.append(to_numpy(inputs[0].reshape(len(given), -1)).astype(np.float64))
            made = given.clone()
            made[:, output] = value
            return made

        hook = last.register_forward_hook(instead)
        try:
            return _evaluated(module, rows, output)
        finally:
            hook.remove()

    zero, one, two = (said(v) for v in (0.0, 1.0, 2.0))
    if not seen:
        raise ValueError(f"expected layer as one that the network runs, got {last}")
    factor = one - zero
    if not np.abs(two - zero - 2 * factor).max() <= _AFFINE * np.abs(two - zero).max():
        raise ValueError(
            "expected an output that is affine in the last layer's output at each point, got "
            "another: the transform of the network's output, or `layer`, is not of that kind"
        )
    features = np.concatenate(seen)
    if last.bias is not None:
        features = np.hstack([features, np.ones((len(features), 1))])
    return principal((factor[:, None] * features).T.reshape(-1, *shape), rtol=rtol, most=most)


def certify(
    network: Any,
    points: Array,
    problem: LinearSystem,
    *,
    output: int = 0,
    stop: Stop | None = None,
) -> Result:
    """The network's own answer to a system, with its true residual: nothing is iterated.

    Args:
        network, points, output: as of `initial_guess`.
        stop: rtol and atol say from where on the answer is CONVERGED; else it is STAGNATED. Also
            with networks that came within rtol, the points between the unknowns are not looked at:
            take a fine grid.

    Returns:
        Result: status and residual per member, evaluated in float64; x is what the network says.

    Raises:
        TypeError, ValueError: as `initial_guess`.
    """
    x0 = initial_guess(network, points, problem, output=output, fit=False)
    name = getattr(_module(network), "__name__", type(_module(network)).__name__)
    return solve(problem, Given(name), x0=x0, stop=stop, throw=False)


class _Answer(NamedTuple):
    x: Array
    estimate: Array
    flag: int


@dataclass(frozen=True)
class Given(Solver):
    """Returns x0, so that `solve` certifies it.

    Args:
        source: what gave it, for reports.
    """

    source: str = "x0"

    def check(self, problem: Problem) -> None:
        need(problem, LinearSystem, "a LinearSystem")

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _Answer:
        r = first_residual(problem, x0)
        x = problem.start() if x0 is None else x0
        return _Answer(x, problem.domain.norm(r), int(Status.STAGNATED))

    def advance(self, state: _Answer, k: int) -> _Answer:
        return state

    @property
    def name(self) -> str:
        return f"{self.source} as it is"

    @property
    def notes(self) -> tuple[str, ...]:
        return ("Nothing was iterated: give it as x0 to a solver.",)


# -- networks -------------------------------------------------------------------------------------


def _module(network: Any) -> Any:
    """The module of a `deepxde.Model`, or `network` itself."""
    inside = getattr(network, "net", None)
    taken = not isinstance(network, nn.Module) and isinstance(inside, nn.Module)
    return inside if taken else network


def _last(module: nn.Module) -> nn.Linear:
    found = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not found:
        raise TypeError(f"expected a network with a torch.nn.Linear, got {type(module).__name__}")
    return found[-1]


def _points(points: Array, shape: tuple[int, ...]) -> np.ndarray:
    """Points (rows, d), float64.

    Raises:
        TypeError, ValueError: others than (*shape, d), or not finite.
    """
    if not is_array(points):
        raise TypeError(f"expected points as an array (*shape, d), got {told(points)}")
    view = host_view(points)
    host = to_numpy(points) if view is None else view
    if host.dtype.kind != "f":
        raise TypeError(f"expected points of a real floating dtype, got {host.dtype}")
    if host.ndim != len(shape) + 1 or host.shape[:-1] != shape or not host.shape[-1]:
        wanted = ", ".join(map(str, (*shape, "d")))
        raise ValueError(
            f"expected points of shape ({wanted}), one for each unknown, got {host.shape}"
        )
    if not np.isfinite(host).all():
        raise ValueError("expected finite points, got NaN or Inf among them")
    return np.ascontiguousarray(host.reshape(-1, host.shape[-1]), np.float64)


def _evaluated(network: Any, rows: np.ndarray, output: int) -> np.ndarray:
    """One output at (rows, d): (rows,), float64."""
    module = _module(network)
    if not callable(module):
        raise TypeError(f"expected a network, a deepxde.Model or a function, got {told(network)}")
    with torch.no_grad(), _as_trained(module) as like:
        parts = [
            _checked(module, torch.from_numpy(rows[i : i + _CHUNK]).to(like), output)
            for i in range(0, len(rows), _CHUNK)
        ]
    values = np.concatenate(parts) if parts else np.zeros(0)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"expected finite values of the network, got NaN or Inf at {len(bad)} of {len(values)} "
            f"points, the first at {rows[bad[0]].tolist()}: check its training and its inputs"
        )
    return values


def _checked(module: Callable[..., Any], inputs: Tensor, output: int) -> np.ndarray:
    try:
        found = module(inputs)
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"expected a network of points (rows, {inputs.shape[1]}), got: {error}"
        ) from error
    if not isinstance(found, Tensor) or not found.dtype.is_floating_point:
        got = found.dtype if isinstance(found, Tensor) else told(found)
        raise TypeError(f"expected a real floating tensor from the network, got {got}")
    if found.ndim != 2 or len(found) != len(inputs) or found.shape[1] <= output:
        raise ValueError(
            f"expected the network to give ({len(inputs)}, outputs) with output {output} among "
            f"them, got {tuple(found.shape)}"
        )
    return to_numpy(found[:, output]).astype(np.float64)


@contextlib.contextmanager
def _as_trained(module: Any) -> Iterator[Tensor]:
    """The network out of its training mode; gives a tensor of its precision and place."""
    like = torch.zeros(0, dtype=torch.float64)
    if not isinstance(module, nn.Module):
        yield like
        return
    held = (p for p in module.parameters() if p.dtype.is_floating_point)
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield next(held, like)
    finally:
        for m, mode in modes:
            m.training = mode
