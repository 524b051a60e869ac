"""Remedies for physics-informed training: what each does to the conditioning and to the error.

    python benchmarks/pinn_remedies.py [--seconds 6] [--problems poisson advection allen-cahn]

Each remedy with Adam and with Gauss-Newton, the same points, float64, and seconds of one core's
processor time. Writes results/pinn_remedies.{json,md}.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from _report import write_results
from torch import Tensor, nn

from solvers.pinn import spectrum
from solvers.pinn.balance import balanced
from solvers.pinn.causal import Causal
from solvers.pinn.features import FourierEmbedding, PeriodicEmbedding
from solvers.pinn.gauss_newton import Ended, GaussNewton, Progress, minimise
from solvers.pinn.hard import Side, Transformed, box_conditions
from solvers.pinn.residuals import PointwiseResiduals, Term
from solvers.pinn.windows import Trained, Windowed

_SHARE = 1e-4  # of the largest eigenvalue: 1e4 epochs of descent learn the directions above it
_F64 = torch.float64
_BALANCE_EVERY = {"Adam": 100, "Gauss-Newton": 10}


def _d(u: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]


@dataclass(frozen=True, eq=False)
class Problem:
    """An equation with data on some sides of a box, and periodic in x where `period` is set.

    Attributes:
        equation: (x, u) -> errors. data: points (n, d) -> u on the sides of `sides`.
        period: whether u, and u_x where `slopes`, agree at both ends of axis 0.
        epsilon: of causal weights; None where there is no time.
        windows: along each axis. wave: scale of Fourier features.
        truth: () -> (points, values).
    """

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    equation: Callable[[Tensor, Tensor], Tensor]
    data: Callable[[Tensor], Tensor]
    sides: tuple[Side, ...]
    points: int
    windows: tuple[int, ...]
    truth: Callable[[], tuple[np.ndarray, np.ndarray]]
    period: bool = False
    slopes: bool = False
    epsilon: float | None = None
    wave: float | tuple[float, ...] = 1.0
    linear: bool = True

    @cached_property
    def inside(self) -> Tensor:
        from scipy.stats import qmc

        unit = qmc.Sobol(len(self.low), rng=0).random(self.points)
        return torch.from_numpy(qmc.scale(unit, self.low, self.high))

    def known(self) -> Tensor:
        """Points where the data are given."""
        if len(self.low) == 1:
            return torch.tensor([self.low, self.high], dtype=_F64)
        x = torch.linspace(self.low[0], self.high[0], 64, dtype=_F64)
        return torch.stack([x, torch.full_like(x, self.low[1])], dim=1)

    def ends(self) -> Tensor:
        """Pairs of points that periodicity compares, the left ones first."""
        t = torch.linspace(self.low[1], self.high[1], 64, dtype=_F64)
        return torch.cat(
            [torch.stack([torch.full_like(t, e), t], 1) for e in (self.low[0], self.high[0])]
        )

    @cached_property
    def reference(self) -> tuple[Tensor, Tensor]:
        points, values = self.truth()
        return torch.from_numpy(points), torch.from_numpy(values)


@dataclass(frozen=True)
class Remedy:
    """What is changed about the plain network and its loss."""

    name: str
    hard: bool = False
    periodic: bool = False
    fourier: bool = False
    causal: bool = False
    balanced: bool = False
    windowed: Trained | None = None

    def fits(self, problem: Problem, optimiser: str) -> bool:
        timed, linear = problem.epsilon is not None, self.windowed is Trained.LAST
        if linear and (not problem.linear or optimiser == "Adam"):
            return False
        return not ((self.causal or self.periodic) and not timed) and not (self.fourier and timed)

    def network(self, problem: Problem) -> nn.Module:
        rng, size = np.random.default_rng(0), len(problem.low)
        body: nn.Module
        if self.windowed is not None:
            last = self.windowed is Trained.LAST
            body = Windowed(
                problem.low, problem.high, problem.windows, rng=rng, trained=self.windowed,
                width=20 if last else 6, gain=4.0 if last else 1.0,
            )  # fmt: skip
        else:
            front: list[nn.Module] = []
            if self.periodic:
                periods = [problem.high[0] - problem.low[0], *[None] * (size - 1)]
                front = [PeriodicEmbedding(periods, 4)]
            elif self.fourier:
                front = [FourierEmbedding(size, 12, problem.wave, rng=rng)]
            sizes = [front[0].size if front else size, 24, 24, 1]  # type: ignore[list-item]
            layers: list[nn.Module] = []
            for a, b in pairwise(sizes):
                layers += [nn.Linear(a, b, dtype=_F64), nn.Tanh()]
            body = nn.Sequential(*front, *layers[:-1])
        if not self.hard:
            return body
        data = box_conditions(problem.low, problem.high, problem.data, sides=problem.sides)
        return Transformed(body, data)


class Training:
    """One remedy on one problem: the residuals, and what changes between steps."""

    def __init__(self, problem: Problem, remedy: Remedy, optimiser: str) -> None:
        torch.manual_seed(0)
        self.problem, self.remedy, self.optimiser = problem, remedy, optimiser
        self.network = remedy.network(problem)
        self.weights = [1.0, 1.0, 1.0]
        self.causal = None
        if remedy.causal and problem.epsilon is not None:
            edges = np.linspace(problem.low[-1], problem.high[-1], 11)
            self.causal = Causal(problem.equation, edges=edges, epsilon=problem.epsilon)
        known = [] if remedy.hard else [problem.known()]
        ends = [problem.ends()] if problem.period and not remedy.periodic else []
        points = torch.cat([*known, *ends, problem.inside])
        self._known = len(known[0]) if known else 0
        self._pairs = len(ends[0]) // 2 if ends else 0
        self.residuals = PointwiseResiduals(self.network, points, self._terms)
        self.between(0)

    def _terms(self, x: Tensor, u: Tensor) -> list[Term]:
        k, p = self._known, self._pairs
        start = k + 2 * p
        errors = (self.problem.equation if self.causal is None else self.causal)(x, u)
        found = [Term(errors[start:], slice(start, len(x)), self.weights[0], "the equation")]
        if k:
            gap = u[:k] - self.problem.data(x[:k])
            found.append(Term(gap, slice(0, k), self.weights[1], "the data"))
        if p:
            gap = u[k : k + p] - u[k + p : start]
            if self.problem.slopes:
                ux = _d(u, x)[:, :1]
                gap = torch.cat([gap, ux[k : k + p] - ux[k + p : start]], dim=1)
            found.append(Term(gap, slice(k, start), self.weights[1 + (k > 0)], "periodicity"))
        return found

    def between(self, step: int) -> None:
        """What is done before step number `step`."""
        if self.causal is not None:
            x = self.problem.inside.clone().requires_grad_()
            self.causal.update(x, self.network(x))
        if self.remedy.balanced and step % _BALANCE_EVERY[self.optimiser] == 0:
            self.weights[: len(found)] = (found := balanced(self.residuals))

    def learned(self) -> str:
        found = spectrum(self.residuals.linearise()[1].normal)
        return f"{found.learned(_SHARE)} of {found.size}"

    def error(self) -> float:
        points, values = self.problem.reference
        with torch.no_grad():
            return float((self.network(points)[:, 0] - values).norm() / values.norm())

    def run(self, seconds: float) -> tuple[int, str]:
        """(steps, why it ended) within `seconds` of processor time."""
        began, step = time.process_time(), 0
        if self.optimiser == "Adam":
            adam = torch.optim.Adam(self.network.parameters(), lr=1e-3)
            while time.process_time() - began < seconds:
                self.between(step)
                adam.zero_grad()
                r = torch.cat([t.scaled.reshape(-1) for t in self.residuals.terms()])
                (r @ r).backward()
                adam.step()
                step += 1
            return step, "time"
        linear = self.remedy.windowed is Trained.LAST  # its one step wants no damping
        method, now = GaussNewton(damping=1e-14 if linear else 1e-3), Progress()
        while time.process_time() - began < seconds:
            self.between(step)
            now, ended = minimise(self.residuals, method, iterations=1, start=now)
            step += 1
            changing = self.causal is not None or self.remedy.balanced
            if ended is not Ended.ITERATIONS and not changing:
                return step, ended.name.lower()
        return step, "time"


# -- problems -----------------------------------------------------------------------------------


def _poisson() -> Problem:
    def equation(x: Tensor, u: Tensor) -> Tensor:
        f = sum((k * math.pi) ** 2 * torch.sin(k * math.pi * x) for k in (1, 20))
        return -_d(_d(u, x), x) - f

    def truth() -> tuple[np.ndarray, np.ndarray]:
        x = np.linspace(-1, 1, 1001)
        return x[:, None], np.sin(math.pi * x) + np.sin(20 * math.pi * x)

    return Problem(
        "Poisson, sin πx + sin 20πx", (-1.0,), (1.0,), equation, torch.zeros_like, (Side.BOTH,),
        512, (24,), truth, wave=8.0,
    )  # fmt: skip


def _advection() -> Problem:
    def equation(x: Tensor, u: Tensor) -> Tensor:
        slope = _d(u, x)
        return slope[:, 1:] + 30 * slope[:, :1]

    def truth() -> tuple[np.ndarray, np.ndarray]:
        x, t = np.meshgrid(np.linspace(0, 2 * math.pi, 64), np.linspace(0, 1, 64))
        return np.stack([x.ravel(), t.ravel()], 1), np.sin(x - 30 * t).ravel()

    return Problem(
        "advection, β = 30", (0.0, 0.0), (2 * math.pi, 1.0), equation,
        lambda x: torch.sin(x[:, :1]), (Side.NONE, Side.LOW), 1024, (3, 14), truth,
        period=True, epsilon=0.05,
    )  # fmt: skip


def _start(x: Any, cos: Any) -> Any:
    return x**2 * cos(math.pi * x)


def _allen_cahn() -> Problem:
    def equation(x: Tensor, u: Tensor) -> Tensor:
        slope = _d(u, x)
        curvature = _d(slope[:, :1], x)[:, :1]
        return slope[:, 1:] - 1e-4 * curvature - 5 * (u - u**3)

    def truth() -> tuple[np.ndarray, np.ndarray]:
        """A Fourier method of 512 points, in time to 1e-9."""
        from scipy.integrate import solve_ivp

        x = np.linspace(-1, 1, 512, endpoint=False)
        k = math.pi * np.fft.rfftfreq(512, 1 / 512)

        def rate(_: float, u: np.ndarray) -> np.ndarray:
            return np.fft.irfft(-1e-4 * k**2 * np.fft.rfft(u), 512) + 5 * (u - u**3)

        t = np.linspace(0, 1, 41)
        found = solve_ivp(rate, (0, 1), _start(x, np.cos), t_eval=t, rtol=1e-9, atol=1e-11)
        place = np.stack(np.meshgrid(t, x, indexing="ij")[::-1], axis=-1)
        return place.reshape(-1, 2), found.y.T.ravel()

    return Problem(
        "Allen-Cahn", (-1.0, 0.0), (1.0, 1.0), equation, lambda x: _start(x[:, :1], torch.cos),
        (Side.NONE, Side.LOW), 1024, (8, 3), truth, period=True, slopes=True, epsilon=10.0,
        linear=False,
    )  # fmt: skip


PROBLEMS = {"poisson": _poisson, "advection": _advection, "allen-cahn": _allen_cahn}
REMEDIES = (
    Remedy("none"),
    Remedy("balanced", balanced=True),
    Remedy("hard", hard=True),
    Remedy("hard, Fourier features", hard=True, fourier=True),
    Remedy("causal", causal=True),
    Remedy("hard, periodic", hard=True, periodic=True),
    Remedy("hard, periodic, causal", hard=True, periodic=True, causal=True),
    Remedy("hard, windows", hard=True, windowed=Trained.ALL),
    Remedy("hard, windows of random features", hard=True, windowed=Trained.LAST),
)


def row(problem: Problem, remedy: Remedy, seconds: float) -> dict[str, Any]:
    eigenvalues = f"eigenvalues >= {_SHARE:g} max"
    found: dict[str, Any] = {"problem": problem.name, "remedy": remedy.name, eigenvalues: ""}
    for optimiser in ("Adam", "Gauss-Newton"):
        if not remedy.fits(problem, optimiser):
            found |= {optimiser: "-", f"{optimiser} steps": "-"}
            continue
        training = Training(problem, remedy, optimiser)
        found[eigenvalues] = found[eigenvalues] or training.learned()
        steps, why = training.run(seconds)
        found |= {
            optimiser: f"{training.error():.1e}",
            f"{optimiser} steps": f"{steps}" + ("" if why == "time" else f" ({why})"),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="processor time of each run")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    notes = [
        f"Relative L2 error after {chosen.seconds:g} s of one core's processor time, one seed, "
        "float64, full batches, Adam at 1e-3; Allen-Cahn's reference is a Fourier method's. "
        "Networks have two hidden layers of 24; windows one of 6 each, random features 20 a "
        "window.",
        f"Eigenvalues: how many of A = JᵀJ before the training are at least {_SHARE:g} of the "
        "largest, of how many parameters: what 1e4 epochs of gradient descent can learn, with the "
        "remedy's weights, features and conditions.",
        "Random features are linear in what is trained: an exact step would be one least squares "
        "solve. The normal equations are singular to rounding, though: damping rises from 1e-14 to "
        "1e-11, a step solves a part, and steps went on until the time was over. Without Adam.",
    ]
    rows, path = [], None
    for problem in (PROBLEMS[name]() for name in chosen.problems):
        for remedy in REMEDIES:
            if remedy.fits(problem, "Gauss-Newton"):
                rows.append(row(problem, remedy, chosen.seconds))
                print(rows[-1], flush=True)
        path = write_results(  # after each problem: Ctrl-C keeps what is done
            "pinn_remedies", "Remedies for physics-informed training", rows, notes=notes,
            packages=["torch"],
        )  # fmt: skip
    assert path is not None
    print(path.read_text())


if __name__ == "__main__":
    main()
