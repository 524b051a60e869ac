"""Our methods, each as a user calls it: from k, with whatever it assembles on the clock.

To add one, add a line to `SOLVERS` (single systems) or `BATCHES` (one call for all systems of a
batch): a function of (LinearSystem, Stop) that returns sciml's Result. `by(solver)` makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _linear_methods import Arrays, Clock, Entry, Method, Ranks, Run, Target

from sciml import LinearSystem, Result, Solver, Stop, solve
from sciml.operators import Diffusion, NodalDiffusion
from solvers import (
    AMG,
    CG,
    IC0,
    Auto,
    Coarsening,
    Direct,
    FastPoisson,
    Jacobi,
    Multigrid,
    MultigridCG,
)
from solvers.bench.fields import FAMILIES

Call = Callable[[LinearSystem, Stop], Result]


def by(solver: Solver) -> Call:
    """`solver` through the driver, with its certificate."""
    return lambda problem, stop: solve(problem, solver, stop=stop, throw=False)


class Ours(Method):
    """One of our methods.

    Args:
        call: see above.
        looped: in a batch it is called for one system after another.
    """

    def __init__(self, call: Call, *, looped: bool = False) -> None:
        self.call, self.looped = call, looped

    def load(self, arrays: Arrays, ranks: Ranks) -> None:
        self.k = arrays["k"]
        rhs = {name[4:]: b for name, b in arrays.items() if name.startswith("rhs ")}
        self.rhs = {name: b.reshape(self.k.shape) for name, b in rhs.items()}

    def run(self, targets: Sequence[Target]) -> list[Run]:
        return [self._one(self.rhs[name], rtol) for name, rtol in targets]

    def _one(self, b: np.ndarray, rtol: float) -> Run:
        clock = Clock()
        problem = LinearSystem(Diffusion(self.k, ndim=self.k.ndim), b)
        result = self.call(problem, Stop(rtol=rtol))
        total, cpu = clock.read()
        steps = None if isinstance(result.solver.stepping, Direct) else int(result.iterations)
        # what is neither the set-up of the method nor its steps (k's checks, the certificate)
        # counts to the solve
        setup = result.seconds.setup
        return Run(setup, total - setup, cpu, steps, result.x)

    def batch(self, arrays: Arrays, rtol: float, ranks: Ranks) -> tuple[float, np.ndarray]:
        k = arrays["k"]
        b = arrays["b"].reshape(len(k), *(n - 1 for n in k.shape[1:]))
        stop = Stop(rtol=rtol)
        clock = Clock()
        if self.looped:
            pairs = zip(k, b, strict=True)
            x: Any = [self._nodal(one, right, stop) for one, right in pairs]
        else:
            x = self._nodal(k, b, stop)
        return clock.read()[0], np.asarray(x)

    def _nodal(self, k: np.ndarray, b: np.ndarray, stop: Stop) -> Any:
        return self.call(LinearSystem(NodalDiffusion(k, ndim=2), b), stop).x


def _entry(
    call: Call,
    most: tuple[int, int] = (2**24, 2**24),
    families: tuple[str, ...] | None = None,
    *,
    looped: bool = False,
) -> Entry:
    return Entry(
        lambda: Ours(call, looped=looped),
        most=most,
        packages=("sciml-solvers",),
        families=families,
    )


_VARIES = tuple(
    name for name, kind in FAMILIES.items() if not kind.jumps and kind.group != "constant"
)

SOLVERS: dict[str, Entry] = {
    "CG + Multigrid": _entry(by(CG(M=Multigrid()))),
    "Direct + FastPoisson": _entry(by(Direct(M=FastPoisson())), families=("constant",)),
    "CG + FastPoisson": _entry(by(CG(M=FastPoisson())), (2**18, 2**18), _VARIES),
    "CG + AMG": _entry(by(CG(M=AMG()))),
    "CG + AMG SA": _entry(by(CG(M=AMG(Coarsening.SMOOTHED_AGGREGATION)))),
    "Direct": _entry(by(Direct()), most=(2**18, 2**15)),
    "Auto": _entry(by(Auto())),
}

BATCHES: dict[str, Entry] = {
    "MultigridCG": _entry(by(MultigridCG())),
    "CG + Jacobi, batched": _entry(by(CG(M=Jacobi()))),
    "CG + IC(0), one by one": _entry(by(CG(M=IC0())), looped=True),
    "Direct, one by one": _entry(by(Direct()), looped=True),
}
