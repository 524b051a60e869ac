"""Learned directions and the classical methods that they are compared with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..direct import Direct
from ..krylov import CG, FlexibleCG
from ..multigrid import Multigrid
from ..neural import NeuralDirections, learned
from ..poisson import FastPoisson
from ..precond import AMG, IC0, Deflation, Jacobi
from .methods import Method
from .neural_systems import Case

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork

__all__ = ["Contender", "Training", "classical", "learned_methods", "shipped"]


@dataclass(frozen=True)
class Training:
    """What a network cost, as its card says.

    Attributes:
        network: its name. seconds: of training. device: what it was trained on.
        parameters: their number.
    """

    network: str
    seconds: float
    device: str
    parameters: int


def _any(case: Case) -> bool:
    return True


@dataclass(frozen=True)
class Contender:
    """A method, the cases that it is for, and what its training cost.

    Attributes:
        method: see there. training: None for classical methods.
        suits: whether it is for a case. why: said where it is for none.
    """

    method: Method
    training: Training | None = None
    suits: Callable[[Case], bool] = _any
    why: str = ""


def classical() -> tuple[Contender, ...]:
    """The rivals, the slow ones first."""
    return (
        Contender(Method("cg", CG())),
        Contender(Method("cg+jacobi", CG(M=Jacobi()))),
        Contender(Method("cg+ic0", CG(M=IC0()))),
        Contender(Method("cg+deflated-ic0", CG(M=Deflation()))),
        Contender(Method("cg+amg", CG(M=AMG()))),
        Contender(Method("cg+multigrid", CG(M=Multigrid()))),
        Contender(
            Method("fast-poisson", Direct(M=FastPoisson())),
            suits=lambda case: case.empty and not case.varies,
            why="k varies, or there is an obstacle",
        ),
        Contender(
            Method("cg+fast-poisson", CG(M=FastPoisson())),
            suits=lambda case: case.varies,
            why="k is constant",
        ),
    )


def shipped() -> Mapping[str, Path]:
    """Weights that come with the package, by name."""
    from sciml.networks import Pretrained, weights_path

    found = {kind.value: weights_path(kind) for kind in Pretrained}
    return {name: path for name, path in found.items() if path.is_file()}


def learned_methods(
    weights: Sequence[str | os.PathLike[str]], *, bfloat16: bool = False
) -> tuple[Contender, ...]:
    """Three methods for each network: safeguarded, as DCDM was published, and in flexible CG.

    Args:
        weights: .safetensors files with their cards beside them.
        bfloat16: as in `solvers.learned`.

    Raises:
        FileError: as in `sciml.networks.load_network`.
    """
    from sciml.networks import load_network, read_card

    found: list[Contender] = []
    for path in map(Path, weights):
        network, about = load_network(path), read_card(path)["about"]
        training = Training(
            path.stem,
            float(about.get("seconds", 0.0)),
            str(about.get("device", "unknown device")),
            sum(p.numel() for p in network.parameters()),
        )
        found += _three(path.stem, network, training, bfloat16)
    return tuple(found)


def _three(
    name: str, network: DirectionNetwork, training: Training, bfloat16: bool
) -> list[Contender]:
    recipe = partial(learned, network=network, bfloat16=bfloat16)
    solvers = {
        name: NeuralDirections(network, bfloat16=bfloat16),
        f"{name}-unguarded": NeuralDirections(network, bfloat16=bfloat16, safeguard=False),
        f"fcg+{name}": FlexibleCG(M=recipe),
    }
    ndim = network.ndim
    return [
        Contender(
            Method(label, solver),
            training,
            suits=lambda case: len(case.shape) == ndim,
            why=f"it is for {ndim}-D grids",
        )
        for label, solver in solvers.items()
    ]
