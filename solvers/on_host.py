"""Steps in host memory for systems on a GPU that are too small for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from sciml._checks import need
from sciml._counting import counted_beside
from sciml._loading import load_kernels
from sciml._torch import version
from sciml.arrays import Array, from_host, on_cpu, to_numpy
from sciml.operator import Operator
from sciml.problem import LeastSquares, LinearSystem, Problem
from sciml.solver import Solver, State

from ._choosing import Choosing, same

__all__ = ["COPIES", "OnHost", "in_host_memory", "sound"]

# What a report says of a solve that went through host memory.
COPIES = (
    "Its steps were taken in host memory: A and b were copied there from the device, and x back."
)
# Packages whose operators the tests show to move as a whole.
SOUND = ("sciml.algebra", "sciml.operators", "sciml.testing")


@dataclass(frozen=True)
class OnHost(Choosing):
    """`method`, whose steps are taken in host memory though the arrays are on a device.

    For systems that are too small for a GPU to gain, and methods that run in host memory alone. A
    is copied to it when the solver is prepared, the right-hand side at each start, and x comes back
    to where b is. The driver certifies that x there, with the operator as it was given. Where the
    arrays are in host memory already, this is `method` itself.

    No other solver takes its steps there. States shown to `observe` have x, estimate and flag; each
    x is a copy. A's copy is made anew where torch tells of a change in place; of CuPy's arrays
    nobody tells: make another operator.

    Args:
        method: for a LinearSystem or LeastSquares, such as `CG(M=IC0())`.

    Raises:
        TypeError: `method` is no Solver; with `solve`, A's arrays cannot be moved to host memory,
            or `method` does not suit the problem.
    """

    method: Solver

    def __post_init__(self) -> None:
        need(self.method, Solver, "a Solver to run in host memory", "OnHost(CG())")

    def check(self, problem: Problem) -> None:
        need(problem, (LinearSystem, LeastSquares), "a LinearSystem or LeastSquares")
        if on_cpu(problem.b):  # type: ignore[attr-defined]
            self.method.check(problem)

    def prepare(self, problem: Problem) -> Self:
        assert isinstance(problem, LinearSystem | LeastSquares)
        ready = self.method if self.chosen is None else self.chosen
        inner = ready.method if isinstance(ready, _Taken) else ready
        if on_cpu(problem.b):
            return replace(self, chosen=inner.prepare(problem))
        taken = ready if isinstance(ready, _Taken) else _Taken(inner)
        return replace(self, chosen=taken.prepare(problem))

    def adjoint(self) -> Self:
        chosen = None if self.chosen is None else self.chosen.adjoint()
        return replace(self, method=self.method.adjoint(), chosen=chosen)

    @property
    def name(self) -> str:
        return f"{self.method.name} in host memory" if self.chosen is None else self.chosen.name

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self.chosen is None else self.chosen.notes


class _State(NamedTuple):
    inner: State
    put: Callable[[np.ndarray], Array]  # where b is

    @property
    def x(self) -> Array:
        return self.put(self.inner.x)

    @property
    def estimate(self) -> Array:
        return self.inner.estimate

    @property
    def flag(self) -> Any:
        return self.inner.flag

    @property
    def steps(self) -> np.ndarray | None:
        return getattr(self.inner, "steps", None)

    @property
    def fallbacks(self) -> np.ndarray | None:
        return getattr(self.inner, "fallbacks", None)


@dataclass(frozen=True)
class _Taken(Solver):
    """`method` on a copy of the problem in host memory.

    Args:
        method: for the copy. M: what it preconditions with, for the driver to count.
        operator: A as it was given. copy: the same in host memory.
    """

    method: Solver
    M: Operator | None = None
    operator: Operator | None = field(default=None, repr=False)
    copy: Operator | None = field(default=None, repr=False)
    versions: tuple[int, ...] = field(default=(), repr=False)

    def prepare(self, problem: Problem) -> Self:
        assert isinstance(problem, LinearSystem | LeastSquares)
        versions = tuple(map(version, problem.A.params.values()))
        fresh = same(problem.A, self.operator) and versions == self.versions
        there = in_host_memory(problem, self.copy if fresh else None)
        self.method.check(there)
        load_kernels(there.A, there.batch)
        ready = self.method.prepare(there)
        M = _preconditioner(ready)
        if M is not None and not all(map(on_cpu, M.params.values())):
            raise TypeError(
                f"expected a preconditioner in host memory, got {M!r} on a device: M.to(xp=numpy), "
                "or a recipe such as solvers.IC0()"
            )
        return replace(self, method=ready, M=M, operator=problem.A, copy=there.A, versions=versions)

    def adjoint(self) -> Self:
        back = self.method.adjoint()
        operator, copy = (None if A is None else A.H for A in (self.operator, self.copy))
        return replace(self, method=back, M=_preconditioner(back), operator=operator, copy=copy)

    def toward(self, goal: np.ndarray) -> Self:
        return replace(self, method=self._steps.toward(goal))

    def init(
        self, problem: LinearSystem | LeastSquares, x0: Array | None, rng: Any = None
    ) -> _State:
        assert self.copy is not None
        there = in_host_memory(problem, counted_beside(problem.A, self.copy))
        first = None if x0 is None else to_numpy(x0)
        put = partial(from_host, like=problem.b, dtype=problem.domain.dtype)
        return _State(self._steps.init(there, first, rng), put)

    def advance(self, state: _State, k: int) -> _State:
        return state._replace(inner=self._steps.advance(state.inner, k))

    @property
    def _steps(self) -> Solver:
        """What takes the steps, with M as the driver counts it."""
        own: Any = self.method.stepping
        return own if getattr(own, "M", None) is self.M else replace(own, M=self.M)

    @property
    def pace(self) -> int:
        """A look waits for nothing here."""
        return self.method.stepping.stride or 1

    @property
    def name(self) -> str:
        return f"{self.method.name} in host memory"

    @property
    def notes(self) -> tuple[str, ...]:
        return (COPIES, *self.method.notes)

    @property
    def nbytes(self) -> int:
        return self.method.nbytes + (0 if self.copy is None else self.copy.nbytes)


def in_host_memory(
    problem: LinearSystem | LeastSquares, copy: Operator | None = None
) -> LinearSystem | LeastSquares:
    """A copy of `problem` in NumPy's arrays.

    Args:
        copy: of its operator, where there is one already.

    Raises:
        TypeError: the operator cannot be moved to host memory.
    """
    both = isinstance(problem, LeastSquares)
    A = _moved(problem.A, both=both) if copy is None else copy
    kind = LeastSquares if both else LinearSystem
    return kind(A, to_numpy(problem.b))


def sound(part: object) -> bool:
    """Whether a part of an operator is of a package that is tested to move as a whole."""
    module = type(part).__module__
    return any(module == package or module.startswith(f"{package}.") for package in SOUND)


def _moved(A: Operator, *, both: bool) -> Operator:
    """A in NumPy's arrays; one with parts by other authors is applied once to see that it is.

    Args:
        both: its adjoint too.
    """
    try:
        found = A.to(xp=np)
        if all(sound(part) for part, _, _ in found.attributes()):
            return found
        y = found(found.domain.zeros(np.zeros(0), found.batch_shape))
        if both:
            found.adjoint(found.range.zeros(np.zeros(0), found.batch_shape))
    except MemoryError:
        raise
    except Exception as error:  # of code that was not written for these arrays
        raise _unmoved(A, f"{type(error).__name__}: {error}") from error
    if not isinstance(y, np.ndarray):
        raise _unmoved(A, f"a {type(y).__name__} as its result")
    return found


def _unmoved(A: Operator, got: str) -> TypeError:
    return TypeError(
        f"expected an operator that A.to(xp=numpy) moves to host memory, got {got} from {A!r}: "
        "list its arrays in param_names and structure_names, or use a method that runs on the "
        "device"
    )


def _preconditioner(method: Solver) -> Operator | None:
    """What the steps of a prepared method apply beside A."""
    M = getattr(method.stepping, "M", None)
    return M if isinstance(M, Operator) else None
