"""What is measured: systems, targets, and the rows of the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _linear_methods import Target
from _linear_team import Quiet

from sciml.datasets import ConDiffConfig, draw_condiff
from sciml.operators import Diffusion, NodalDiffusion
from solvers.bench.fields import RHS, draw, grid_text

# Of the tolerance: what a recurrence may be off by and still have met it.
_SLACK = 1.001


def relative_residual(matrix: Any, b: np.ndarray, x: np.ndarray) -> float:
    """‖b − A x‖ / ‖b‖ in float64 by SciPy's product: the one measure for every method."""
    return float(np.linalg.norm(b - matrix @ x) / np.linalg.norm(b))


@dataclass(frozen=True)
class Settings:
    """How long, how often, and where.

    Attributes:
        targets: right-hand sides and tolerances. repeats: undisturbed runs wanted.
        limit: seconds that a method may take to answer. threads: for methods of one process.
        interpreters: commands that run Python, tried in order for each rival.
        say: prints what goes on.
    """

    targets: tuple[Target, ...]
    repeats: int
    limit: float
    threads: int
    interpreters: tuple[tuple[str, ...], ...]
    quiet: Quiet
    say: Callable[[str], None]

    def repeats_for(self, seconds: float) -> int:
        """Runs of something that takes that long: fewer above ten seconds."""
        return self.repeats if seconds < 10 else max(1, min(self.repeats, int(30 / seconds)))


class Case:
    """One system: on disk for the workers, and its matrix for the residual that counts."""

    def __init__(self, family: str, shape: tuple[int, ...], rhs: Sequence[str], path: Path) -> None:
        self.family, self.shape, self.path = family, shape, path
        k = draw(family, shape)
        began = time.perf_counter()
        self.matrix = Diffusion(k, ndim=len(shape)).assemble()
        self.assembly = time.perf_counter() - began
        self.rhs = {name: RHS[name](shape).ravel() for name in rhs}
        named: dict[str, Any] = {f"rhs {name}": b for name, b in self.rhs.items()}
        np.savez(path, k=k, **_parts(self.matrix), **named)

    @property
    def grid(self) -> str:
        """As 512² or 64³."""
        return grid_text(self.shape)

    def residual(self, rhs: str, x: np.ndarray) -> float:
        """‖b − A x‖ / ‖b‖."""
        return relative_residual(self.matrix, self.rhs[rhs], x)


class Batch:
    """ConDiff systems, on disk for the workers, and their matrices."""

    def __init__(self, name: str, count: int, path: Path) -> None:
        self.family, self.path = name, path
        data = draw_condiff(ConDiffConfig.from_name(name), count, seed=0)
        self.grid = f"{data.grid}²"
        self.matrices = [NodalDiffusion(k).assemble() for k in data.k]
        self.b = data.rhs.reshape(count, -1)
        parts = {**_parts(self.matrices[0]), "data": np.stack([m.data for m in self.matrices])}
        np.savez(path, k=data.k, b=self.b, **parts)

    def residual(self, x: np.ndarray) -> float:
        """The largest ‖b − A x‖ / ‖b‖."""
        members = zip(self.matrices, self.b, x.reshape(self.b.shape), strict=True)
        return max(relative_residual(*member) for member in members)


def _parts(matrix: Any) -> dict[str, Any]:
    return {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}


@dataclass
class Row:
    """One method on one system for one target.

    Attributes:
        rtol: asked for. given: what the method was told so that the true residual meets it.
        setups, solves: seconds of each run; cpus: processor seconds of both, over all threads and
            processes; disturbed: whether others took part of the machine.
        residual: true, of the answer. peak: bytes for each unknown, of a set-up and a solve.
        note: why there are no times, or what is odd about them.
    """

    family: str
    grid: str
    unknowns: int
    method: str
    ours: bool
    rhs: str
    rtol: float
    given: float
    setups: list[float] = field(default_factory=list)
    solves: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    disturbed: list[bool] = field(default_factory=list)
    iterations: int | None = None
    residual: float | None = None
    peak: float | None = None
    note: str = ""

    def add(self, setup: float, solve: float, disturbed: bool, cpu: float = np.nan) -> None:
        """Record a run."""
        self.setups.append(setup)
        self.solves.append(solve)
        self.cpus.append(cpu)
        self.disturbed.append(disturbed)

    @property
    def counted(self) -> np.ndarray:
        """(runs, 2) set-up and solve of the undisturbed runs, or of all if there is none."""
        all_runs = np.array([self.setups, self.solves]).T.reshape(-1, 2)
        calm = all_runs[~np.array(self.disturbed, bool)]
        return calm if len(calm) else all_runs

    @property
    def calm(self) -> int:
        """Undisturbed runs."""
        return self.disturbed.count(False)

    @property
    def seconds(self) -> float:
        """Set-up and solve, the median; Inf where there is none."""
        found = self.counted.sum(axis=1)
        return float(np.median(found)) if len(found) else np.inf

    @property
    def reached(self) -> bool:
        """Whether the true residual met the tolerance."""
        return self.residual is not None and self.residual <= _SLACK * self.rtol
