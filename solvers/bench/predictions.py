"""Who predicts ConDiff solutions: networks of the package, classical rivals, and anybody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from sciml.operators import NodalDiffusion
from sciml.problem import LinearSystem
from sciml.result import Stop
from sciml.solve import solve
from sciml.solver import Solver

from ..krylov import CG
from ..multigrid import Multigrid
from ..neural.prediction import NetworkPrediction, first_guess
from ..poisson import FastPoisson
from .methods import _imported

if TYPE_CHECKING:
    from sciml.networks import PretrainedPredictor

__all__ = ["PREDICTIONS", "Entry", "Prediction", "StoppedSolver", "load_entry", "poisson_guess"]


@runtime_checkable
class Prediction(Protocol):
    """Anything that predicts the solution x of −∇·(k∇x) = b, x = 0 on the boundary.

    Called with k (n + 1, n + 1), float64 and positive, in the cells of the unit square, and b
    (n, n), float64, at the nodes between them: b[i, j] lies amid k[i:i+2, j:j+2]. It returns x,
    (n, n), real and finite, at the same nodes. It may be called with any n.
    """

    def __call__(self, k: np.ndarray, b: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Entry:
    """A competitor of the regression track.

    Attributes:
        name: what the report calls it. make: gives the prediction; loading is not on the clock.
        trained_on: the ConDiff set that it has learned, if any.
        training: seconds that its training took, where that is known.
    """

    name: str
    make: Callable[[], Prediction]
    trained_on: str | None = None
    training: float | None = None


def poisson_guess(k: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The solution for constant k, the geometric mean: it does not know where k is."""
    return first_guess(k, b)[0]


@dataclass(frozen=True)
class StoppedSolver:
    """A solver, stopped after some steps from 0: what a prediction has to be compared with."""

    solver: Solver
    steps: int

    def __call__(self, k: np.ndarray, b: np.ndarray) -> np.ndarray:
        stop = Stop(rtol=1e-12, max_iters=self.steps)
        return solve(LinearSystem(NodalDiffusion(k), b), self.solver, stop=stop, throw=False).x


def _stopped(M: Any, steps: int) -> StoppedSolver:
    return StoppedSolver(CG(M=M), steps)


def _classical() -> tuple[Entry, ...]:
    poisson = FastPoisson(scaled=False)
    return (
        Entry("poisson", lambda: poisson_guess),
        Entry("cg+poisson:2", partial(_stopped, poisson, 2)),
        Entry("cg+poisson:4", partial(_stopped, poisson, 4)),
        Entry("cg+multigrid:1", partial(_stopped, Multigrid(), 1)),
        Entry("cg+multigrid:2", partial(_stopped, Multigrid(), 2)),
    )


PREDICTIONS: Mapping[str, Entry] = MappingProxyType({e.name: e for e in _classical()})


def trained_entries() -> tuple[Entry, ...]:
    """The networks that come with the package."""
    from sciml.networks import PretrainedPredictor

    return tuple(_trained(name) for name in PretrainedPredictor)


def _trained(name: PretrainedPredictor) -> Entry:
    from sciml.networks.weights import weights_path

    return _of_weights(name.value, weights_path(name))


def _of_weights(name: str, weights: Path) -> Entry:
    from sciml.networks import load_predictor, read_card

    about = read_card(weights)["about"]
    seconds, data = about.get("seconds"), str(about.get("data", ""))
    return Entry(
        name,
        lambda: NetworkPrediction(load_predictor(weights)),
        trained_on=data.partition(",")[0] or None,
        training=float(seconds) if isinstance(seconds, int | float) else None,
    )


def load_entry(spec: str) -> Entry:
    """A competitor by name, of weights, or from outside.

    Args:
        spec: a name of PREDICTIONS or PretrainedPredictor; the path of a .safetensors file with its
            card, as `train_predictor` writes it; or "package.module:name" of a `Prediction`, or of
            a class that makes one without arguments. Modules are Python code and are run.

    Raises:
        ValueError: none of these. ImportError: the module or its name is not there. FileError:
        weights that `load_predictor` refuses. TypeError: not callable.
    """
    from sciml.networks import PretrainedPredictor, load_predictor

    trained = {p.value: p for p in PretrainedPredictor}
    if spec in PREDICTIONS:
        return PREDICTIONS[spec]
    if spec in trained:
        return _trained(trained[spec])
    if spec.endswith(".safetensors"):
        load_predictor(spec)  # refused before any work
        return _of_weights(Path(spec).stem, Path(spec))
    if ":" not in spec:
        raise ValueError(
            f"expected one of {', '.join([*PREDICTIONS, *trained])}, a .safetensors file or "
            f"package.module:name, got {spec!r}"
        )
    found = _imported(spec)
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            raise TypeError(f"expected {spec} to be made without arguments, got {error}") from error
    if not isinstance(found, Prediction):
        raise TypeError(
            f"expected a callable (k, b) -> x for {spec}, got {type(found).__name__}: see "
            "solvers.bench.Prediction"
        )
    return Entry(spec.partition(":")[2], lambda: found)
