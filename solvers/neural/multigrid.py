"""Multigrid whose set-up a network chooses from the coefficient."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sciml._checks import need
from sciml.operator import Operator

from ..multigrid import Multigrid
from ..precond import AMG, Recipe
from .choice import SHIPPED, ChoiceNetwork
from .medium import describe

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LearnedMultigrid"]


@dataclass(frozen=True)
class LearnedMultigrid(Recipe):
    """`Multigrid` with levels chosen by a network that looks at k once, at set-up.

    The network (a few thousand weights) says what the levels relax, how they are visited and from
    which level on `AMG` takes over: see `choice.SETTINGS`. Whatever it says, the cycle is symmetric
    and positive, so that CG takes it, and the answer is certified: a bad choice costs time, never
    truth. For systems in two dimensions with one k; for others it is `Multigrid()`.

    Args:
        network: None: the weights that come with the package.

    Raises:
        TypeError: with `A`: as `Multigrid`.
        FileError: with `A`: the weights are missing, damaged or changed.
    """

    network: ChoiceNetwork | None = None

    def __post_init__(self) -> None:
        if self.network is not None:
            need(self.network, ChoiceNetwork, "a ChoiceNetwork, see ChoiceNetwork.load")

    def __call__(self, A: Operator) -> Operator:
        from ..multigrid.form import read  # loads compiled code

        need(A, Operator, "an Operator to precondition")
        form = read(A)
        if form.ndim != 2 or A.batch_shape or form.stretched:
            return Multigrid()(A)
        network = _shipped(SHIPPED) if self.network is None else self.network
        for setting in network.ranked(describe(form.k)):
            if not isinstance(setting, AMG) or A.null_vector is None:
                with contextlib.suppress(np.linalg.LinAlgError):
                    return setting(A)
        return Multigrid()(A)


@lru_cache(maxsize=1)
def _shipped(path: Path) -> ChoiceNetwork:
    return ChoiceNetwork.load(path)
