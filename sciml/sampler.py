"""What a posterior sampler is: a frozen record of parameters that starts and advances chains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import numpy as np

from .arrays import Array
from .problem import InverseProblem

__all__ = ["Chains", "Sampler"]


class Chains(Protocol):
    """What `advance` hands back. Values are immutable: the driver keeps references to old ones.

    Attributes:
        x: the chains as they would be given out now, (n, *batch, *shape).
        sigma: the noise level that they are at, for reports.
        settled: whether x is by now a draw from the posterior (of a sampler whose chains go on).
        done: whether the plan has been carried out.

    Chains may have `widened` too, see `Samples`: (*batch,), or None.
    """

    @property
    def x(self) -> Array: ...
    @property
    def sigma(self) -> float: ...
    @property
    def settled(self) -> bool: ...
    @property
    def done(self) -> bool: ...


class Sampler(ABC):
    """A method: a frozen dataclass of hyper-parameters, with `init` and `advance`.

    The driver (`sciml.sample`) counts calls, measures and certifies, so that a method only steps.
    It sees a prior that counts.

    `independent` says that each chain is one run from fresh noise to one draw; otherwise a chain
    goes on at the last noise level, its further states are draws too, and R-hat is asked of them.

    `deterministic` says that all chains come to the same x, which tells no deviation.

    `mirrored` says that the second half of the chains is made of the same noise as the first with
    the other sign. Each is a draw as before; what is linear in the noise cancels in the mean.
    """

    independent: ClassVar[bool] = True
    deterministic: bool = False

    @property
    def mirrored(self) -> bool:
        return False

    def check(self, problem: InverseProblem) -> None:
        """Refuse a problem that this method does not suit.

        Raises:
            TypeError: with what was expected.
        """

    @abstractmethod
    def init(self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator) -> Any:
        """n chains before the first step, planned for up to `budget` calls of the denoiser."""

    @abstractmethod
    def advance(self, state: Any) -> Any:
        """The chains one step on."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return type(self).__name__
