"""What a method is: a frozen record of its parameters that starts and advances a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import numpy as np

from .arrays import Array
from .problem import Problem

__all__ = ["Solver", "State"]


class State(Protocol):
    """What `advance` hands back. States are immutable: the driver keeps references to old ones.

    Attributes:
        x: the current iterate (*batch, *shape); may be computed on access.
        estimate: the norm of the residual as the recurrence believes it, real, one number per
            member in batch order (any shape of that many entries).
        flag: 0 while running, else the Status code of a breakdown; as `estimate`, or the int 0.
        steps: only of methods with a `stride`: how many steps each member took since `init`.
        fallbacks: only of safeguarded methods: classical steps each member took since `init`, on
            the host.
    """

    @property
    def x(self) -> Array: ...
    @property
    def estimate(self) -> Array: ...
    @property
    def flag(self) -> Any: ...


class Solver(ABC):
    """A method: a frozen dataclass of hyper-parameters, with `init` and `advance`.

    The driver (`sciml.solve`) owns stopping, certification and restarts, so a method only steps.

    `linear` says that x is linear in b, squares nothing but b itself, and shares no memory with it.
    Then the driver brings b to size 1 only where its norm is extreme, and saves two passes.

    `stride` is for methods that end each member by themselves once its estimate is at most what
    `toward` was told, within `advance`: the driver then looks every so many steps on the CPU too,
    and reads off the states how many each member took.
    """

    linear: ClassVar[bool] = False
    stride: ClassVar[int] = 0

    def check(self, problem: Problem) -> None:
        """Refuse a problem that this method does not suit.

        Raises:
            TypeError: with what was expected.
        """

    def prepare(self, problem: Problem) -> Solver:
        """This solver with its set-up (factorisation, hierarchy) done for `problem`'s operator.

        The result is a value: it serves further right-hand sides without set-up.
        """
        return self

    def adjoint(self) -> Solver:
        """The same method, prepared or not, for the adjoint operator."""
        return self

    def toward(self, goal: np.ndarray) -> Solver:
        """This solver for a round that a member ends by an estimate up to `goal` (members,)."""
        return self

    @abstractmethod
    def init(self, problem: Problem, x0: Array | None, rng: np.random.Generator | None) -> Any:
        """The state before the first step, from x0 (None: zeros)."""

    @abstractmethod
    def advance(self, state: Any, k: int) -> Any:
        """The state k steps on, without a host synchronisation on a GPU."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return type(self).__name__

    @property
    def stepping(self) -> Solver:
        """The solver that takes the steps: another one where this one chooses."""
        return self

    @property
    def pace(self) -> int:
        """Steps between two looks on a GPU: several, which hide that a look waits for the device,
        unless steps past convergence would cost more than that."""
        return 16

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report, e.g. what was chosen at set-up and why."""
        return ()

    @property
    def nbytes(self) -> int:
        """Bytes held by the set-up."""
        return 0
