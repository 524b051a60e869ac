"""Conditioning of physics-informed models, with and without preconditioners.

    python benchmarks/pinn_conditioning.py [--epochs 10000]

Linear Fourier models of Poisson's, Helmholtz' and the advection equation: kappa against their size,
and gradient descent's error against epochs, beside spectral solves. A network's spectrum while Adam
trains it, and after Gauss-Newton steps. Writes results/pinn_conditioning.{json,md,png}.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from _report import RESULTS, write_results

from sciml import Operator, Stop, solve
from sciml.io import atomic_file
from solvers import CG
from solvers.pinn import (
    Factor,
    FourierModel,
    GradientDescent,
    advection,
    best_weight,
    conditioning,
    gram,
    helmholtz,
    poisson,
    spectrum,
)
from solvers.pinn.gauss_newton import GaussNewton, minimise
from solvers.pinn.residuals import PointwiseResiduals, Term

_WITHIN = 1e-6  # relative L2 error that epochs are counted to
_PLAIN, _DEFAULT, _TUNED = (1.0, None), (1.0, 1.0), (0.1, 10.0)  # (lambda, gamma)
_SHOWN = (10, 20, 50, 100, 200)
_LOOKS = (0, 200, 1000, 5000)  # Adam's steps after which the network is looked at
_STEPS = 30  # of Gauss-Newton, in place of Adam


@dataclass(frozen=True)
class Case:
    """A model with the solution that it is to find, a function of points (m, d)."""

    name: str
    model: FourierModel
    u: Callable[[np.ndarray], np.ndarray]

    @cached_property
    def points(self) -> np.ndarray:
        low, high = np.array(self.model.low), np.array(self.model.high)
        return low + (high - low) * np.random.default_rng(0).random((400, len(low)))

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """f and g, which the method is given: for advection f = 0 and u(0, x)."""
        if self.name.startswith("advection"):
            edge = self.model.edge
            basis = _line_basis(edge.points[:, 1], (len(edge.points) - 1) // 2)
            return np.zeros(self.model.size), basis.T @ (edge.weights * self.u(edge.points))
        truth = self.model.coefficients(self.u)
        return self.model.D(truth), self.u(self.model.edge.points)

    def error(self, theta: np.ndarray) -> float:
        """Relative L2 error at random points, against the function itself."""
        u = self.u(self.points)
        return float(np.linalg.norm(self.features @ theta - u) / np.linalg.norm(u))

    @cached_property
    def features(self) -> np.ndarray:
        return self.model.features(self.points)

    def kappa(self, setting: tuple[float, float | None]) -> str:
        weight, gamma = setting
        P = None if gamma is None else self.model.preconditioner(gamma)
        found = spectrum(self.model.matrix(weight), P)
        assert found.exact
        return f"{found.kappa:.3g}"

    def train(self, setting: tuple[float, float | None], epochs: int) -> np.ndarray:
        """The error before each epoch and after the last, until it is below rounding's."""
        weight, gamma = setting
        M = None if gamma is None else self.model.preconditioner(gamma).normal
        problem = self.model.system(*self.data, weight)
        method = GradientDescent(M=M).prepare(problem)
        state, errors = method.init(problem, None), [1.0]
        every = 1 if epochs <= 1000 else 10
        for _ in range(epochs // every):
            state = method.advance(state, every)
            errors += [self.error(state.x)] * every
        return np.array(errors)

    def certified(self) -> tuple[str, str]:
        """(iterations and status of descent, of CG), by the true residual to 1e-10."""
        weight, gamma = _TUNED
        problem = self.model.system(*self.data, weight)
        M = self.model.preconditioner(gamma or 1.0).normal
        found = [solve(problem, s, stop=Stop(rtol=1e-10)) for s in (GradientDescent(M=M), CG(M=M))]
        return f"{found[0].iterations} {found[0].status.name}", f"{found[1].iterations}"

    def row(self, epochs: int) -> dict[str, Any]:
        plain = self.train(_PLAIN, epochs)
        default, tuned = self.train(_DEFAULT, 300), self.train(_TUNED, 300)
        descent, cg = self.certified()
        seconds = []
        for _ in range(20):
            began = time.perf_counter()
            theta = self.model.spectral(*self.data)
            seconds.append(time.perf_counter() - began)
        return {
            "problem": self.name,
            "parameters": self.model.size,
            "κ(A)": self.kappa(_PLAIN),
            "κ(PAPᵀ)": self.kappa(_DEFAULT),
            "tuned": self.kappa(_TUNED),
            f"plain, error after {epochs}": f"{plain[-1]:.1e}",
            "epochs with P": _epochs_to(default),
            "tuned epochs": _epochs_to(tuned),
            "error after 50": f"{tuned[50]:.1e}",
            "certified": descent,
            "CG": cg,
            "spectral: error": f"{self.error(theta):.1e}",
            "ms": f"{1e3 * min(seconds):.2f}",
        }


def _line_basis(x: np.ndarray, K: int) -> np.ndarray:
    """1, cos x, sin x, ..., orthonormal on (0, 2 pi): (points, 2 K + 1)."""
    k = np.arange(1, K + 1)
    waves = np.stack([np.cos(x[:, None] * k), np.sin(x[:, None] * k)], axis=-1)
    constant = np.full((len(x), 1), math.sqrt(0.5))
    return np.hstack([constant, waves.reshape(len(x), -1)]) / math.sqrt(math.pi)


def _epochs_to(errors: np.ndarray) -> str:
    reached = np.flatnonzero(errors <= _WITHIN)
    return str(int(reached[0])) if len(reached) else f"none in {len(errors) - 1}"


def _cosine(p: np.ndarray) -> np.ndarray:
    return np.exp(np.cos(p[:, 0])) - math.exp(-1)


def _travelling(beta: int) -> Callable[[np.ndarray], np.ndarray]:
    def u(p: np.ndarray) -> np.ndarray:
        y = p[:, 1] - beta * p[:, 0]
        return np.sin(y) + np.cos(2 * y) / 2 + np.sin(4 * y) / 4

    return u


def cases() -> list[Case]:
    found = [Case(f"Poisson, K = {K}", poisson(K), _cosine) for K in _SHOWN]
    found.append(
        Case(
            "Helmholtz, w = 20.3, K = 50",
            helmholtz(50, 20.3),
            lambda p: _cosine(p) + np.cos(20 * p[:, 0]),
        )
    )
    for beta in (30, 50, 80):
        found.append(Case(f"advection, β = {beta}, K = 4", advection(4, beta), _travelling(beta)))
    return found


# -- a network ----------------------------------------------------------------------------------


class Looked:
    """A network for -u'' = 4 sin 2x, u = sin 2x on (-pi, pi), and what is seen of it."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layers = [torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32)]
            self.model = torch.nn.Sequential(*layers, torch.nn.Tanh(), torch.nn.Linear(32, 1))
        self.model.double()
        inside = torch.linspace(-math.pi, math.pi, 202, dtype=torch.float64)[1:-1]
        ends = torch.tensor([-math.pi, math.pi], dtype=torch.float64)
        points = torch.cat([ends, inside])[:, None]
        self.residuals = PointwiseResiduals(self.model, points, self._terms)

    @staticmethod
    def _terms(x: torch.Tensor, u: torch.Tensor) -> list[Term]:
        slope = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        bend = torch.autograd.grad(slope.sum(), x, create_graph=True)[0]
        return [
            Term(bend[2:] + 4 * torch.sin(2 * x[2:]), slice(2, len(x)), name="the equation"),
            Term(u[:2], slice(0, 2), 2.0, "the ends"),
        ]

    def adam(self, steps: int) -> Iterator[int]:
        """Before each step and after the last: how many are done."""
        optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        for done in range(steps):
            yield done
            loss = sum(t.scaled.square().sum() for t in self.residuals.terms())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield steps

    def look(self, step: int, how: str) -> dict[str, Any]:
        found = conditioning(
            self.residuals.linearise()[1], P=lambda A: gram(A, 1e-6, factor=Factor.EIGEN)
        )
        fine = torch.linspace(-math.pi, math.pi, 999, dtype=torch.float64)[:, None]
        truth = torch.sin(2 * fine)
        with torch.no_grad():
            error = ((self.model(fine) - truth).norm() / truth.norm()).item()
        spectra = {"plain": found.plain, "preconditioned": found.preconditioned}
        return {"step": step, "how": how, "error": error, **spectra}


def network_looks() -> list[dict[str, Any]]:
    """The spectrum of A while Adam trains a network, and after Gauss-Newton steps instead."""
    by_adam, by_gauss_newton = Looked(), Looked()
    found = [by_adam.look(step, "Adam") for step in by_adam.adam(_LOOKS[-1]) if step in _LOOKS]
    minimise(by_gauss_newton.residuals, GaussNewton(), iterations=_STEPS)
    return [*found, by_gauss_newton.look(_STEPS, "Gauss-Newton")]


# -- what is written ----------------------------------------------------------------------------


def draw(case: Case, epochs: int, looks: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.4), layout="constrained")
    (grown, spectra), (descent, network) = figure.subplots(2, 2)  # type: ignore[misc]
    sizes = np.array([10, 14, 20, 28, 40, 57, 80, 113, 160, 200])
    best = lambda m, P: best_weight(m.D, m.V, P).weight  # noqa: E731
    lines: list[tuple[str, str, Callable[[FourierModel], tuple[float, Operator | None]]]] = [
        ("without P", "C3", lambda m: (1.0, None)),
        ("P, γ = λ = 1", "C0", lambda m: (1.0, m.preconditioner())),
        ("P, γ = 10, λ = 0.1", "C2", lambda m: (0.1, m.preconditioner(10.0))),
        (
            "P, γ = 10, best λ",
            "C4",
            lambda m: (best(m, m.preconditioner(10.0)), m.preconditioner(10.0)),
        ),
    ]
    for name, colour, how in lines:
        kappa = []
        for K in sizes:
            model = poisson(int(K))
            weight, P = how(model)
            kappa.append(spectrum(model.matrix(weight), P).kappa)
        slope = np.polyfit(np.log(sizes), np.log(kappa), 1)[0]
        grown.loglog(sizes, kappa, "o-", color=colour, ms=4, label=f"{name}: slope {slope:.2f}")
        model = case.model
        weight, P = how(model)
        values = spectrum(model.matrix(weight), P).eigenvalues
        spectra.semilogy(values, color=colour, label=name)
    grown.set(xlabel="K", ylabel="κ", title="Poisson, 1-D: κ against the highest wave")
    spectra.set(xlabel="index", ylabel="eigenvalue", title=f"{case.name}: spectrum")
    for setting, colour, name in zip(
        (_PLAIN, _DEFAULT, _TUNED), ("C3", "C0", "C2"), ("without P", "P", "P, tuned"), strict=True
    ):
        errors = case.train(setting, epochs if setting is _PLAIN else 300)
        descent.loglog(1 + np.arange(len(errors)), errors, color=colour, label=name)
    descent.axvline(50, color="0.7", lw=1)
    descent.set(xlabel="epochs + 1", ylabel="relative L2 error", title=f"{case.name}: training")
    for i, look in enumerate(looks):
        for name, style in (("plain", "-"), ("preconditioned", "--")):
            values = look[name].eigenvalues[::-1][: look[name].rank]
            label = f"{look['how']}, {look['step']} steps: error {look['error']:.1e}"
            label = label if name == "plain" else ""
            network.semilogy(1 + np.arange(len(values)), values, style, color=f"C{i}", label=label)
    network.set(
        xlabel="index",
        ylabel="eigenvalue",
        title="A network: A, and P A Pᵀ (dashed)",
        xlim=(1, 130),
    )
    for axis in (grown, spectra, descent, network):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10_000, help="of descent without P")
    epochs = parser.parse_args().epochs
    rows, chosen = [], cases()
    for case in chosen:
        print(case.name, flush=True)
        rows.append(case.row(epochs))
    looks = network_looks()
    trained = "; ".join(
        f"after {look['step']} steps of {look['how']} {look['plain'].learned()} without P and "
        f"{look['preconditioned'].learned()} with it, error {look['error']:.1e}"
        for look in looks
    )
    notes = [
        "These are linear models, and a spectral method solves the same equations by division, "
        "without epochs: its error and milliseconds are in the last columns. The table shows "
        "what conditioning does to gradient descent, not how to solve such PDEs.",
        "κ(A): λ = 1, no P. κ(PAPᵀ): γ = λ = 1. Tuned: γ = 10, λ = 0.1. "
        f"Epochs: until the relative L2 error is {_WITHIN:.0e} at 400 random points, against the "
        "solution itself. Certified: iterations until the true residual is 1e-10, tuned; CG: with "
        "the same P and λ.",
        "Poisson: u = exp(cos x) − 1/e on (−π, π). Helmholtz: that and cos 20x. Advection: "
        "sin y + ½ cos 2y + ¼ sin 4y, y = x − βt, for x and t up to 2π, six times longer than "
        "t = 1, over which others train; with integer β all that is needed is among the features.",
        f"A network of {looks[0]['plain'].size} parameters trained on −u″ = 4 sin 2x. "
        "Eigenvalues that are at least a tenth of the largest, without P and with one by the "
        f"eigenvectors of A + 1e-6 I: {trained}. The rest is learned more slowly, or not at all.",
    ]
    title = "Conditioning of physics-informed models"
    path = write_results("pinn_conditioning", title, rows, notes=notes, packages=["torch"])
    with atomic_file(RESULTS / "pinn_conditioning.png") as handle:
        chosen_case = next(c for c in chosen if c.name == "Poisson, K = 50")
        draw(chosen_case, epochs, looks).savefig(handle, dpi=110, format="png")
    print(path.read_text())


if __name__ == "__main__":
    main()
