"""Equations with unknown constants, whose solutions are known: the cases of `pinn_inverse.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import RegularGridInterpolator
from scipy.linalg import expm

from solvers.pinn.deepxde import load_deepxde

NOISE = 0.01  # of the data's root mean square

dde = load_deepxde()


@dataclass(frozen=True)
class Case:
    """An equation with unknown constants.

    like: the issue of DeepXDE's. truth, start: of each constant. equation: (constants, x, u) -> the
    residuals. domain: of DeepXDE. known: conditions without noise. solution: (values of the
    constants, points (n, d)) -> (n, components that are seen). at: rng -> points of the
    measurements (n, d). points: inside, on the boundary, at the start. seen: components that are
    measured. equations: how many. logs: whether what is trained is the logarithm of the constants.
    """

    name: str
    like: str
    truth: Mapping[str, float]
    start: Mapping[str, float]
    equation: Callable[[Any, torch.Tensor, torch.Tensor], Any]
    domain: Any
    known: tuple[Any, ...]
    solution: Callable[[np.ndarray, np.ndarray], np.ndarray]
    at: Callable[[np.random.Generator], np.ndarray]
    points: tuple[int, int, int]
    layers: tuple[int, ...]
    seen: tuple[int, ...] = (0,)
    equations: int = 1
    logs: bool = False

    @property
    def values(self) -> np.ndarray:
        return np.array(list(self.truth.values()))

    def bound(self) -> np.ndarray:
        """Cramér and Rao's: relative deviations that no unbiased estimate is below, at one draw of
        points, if nothing but the constants were unknown."""
        where = self.at(np.random.default_rng(0))
        sigma = _deviation(self.solution(self.values, where))
        columns = []
        for k, value in enumerate(self.values):
            step = np.zeros(len(self.values))
            step[k] = 1e-3 * value
            ahead, behind = (self.solution(self.values + s * step, where) for s in (1, -1))
            columns.append(((ahead - behind) / sigma).reshape(-1) / 2e-3)
        J = np.stack(columns, axis=1)  # by log constants
        return np.sqrt(np.diag(np.linalg.inv(J.T @ J)))

    def model(self, seed: int) -> tuple[Any, list[torch.Tensor], list[int]]:
        """(a compiled model, what is trained of its constants, the indices of noisy losses)."""
        rng = np.random.default_rng(seed)
        dde.config.set_random_seed(seed)
        where = self.at(rng)
        clean = self.solution(self.values, where)
        noisy = clean + _deviation(clean) * rng.standard_normal(clean.shape)
        seen = [
            dde.icbc.PointSetBC(where, noisy[:, j : j + 1], component=component)
            for j, component in enumerate(self.seen)
        ]
        begun = (math.log(v) if self.logs else v for v in self.start.values())
        trained = [dde.Variable(v, dtype=torch.float64) for v in begun]

        def equation(x: torch.Tensor, u: torch.Tensor) -> Any:
            return self.equation([torch.exp(v) if self.logs else v for v in trained], x, u)

        inside, boundary, initial = self.points
        conditions = [*self.known, *seen]
        if self.domain.dim == 1:
            data = dde.data.PDE(self.domain, equation, conditions, inside, boundary, anchors=where)
        else:
            data = dde.data.TimePDE(
                self.domain, equation, conditions, inside, boundary, initial, anchors=where
            )
        model = dde.Model(data, dde.nn.FNN(list(self.layers), "tanh", "Glorot uniform"))
        model.compile("adam", lr=1e-3, external_trainable_variables=trained, verbose=0)
        noisy_losses = range(self.equations + len(self.known), self.equations + len(conditions))
        return model, trained, list(noisy_losses)


def _deviation(clean: np.ndarray) -> np.ndarray:
    """Of the noise of each component (columns)."""
    return NOISE * np.sqrt(np.mean(clean**2, axis=0))


def _derivatives(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """u_x, u_t, u_xx."""
    return (
        dde.grad.jacobian(u, x, i=0, j=0),
        dde.grad.jacobian(u, x, i=0, j=1),
        dde.grad.hessian(u, x, i=0, j=0),
    )


def _plane() -> Any:
    return dde.geometry.GeometryXTime(dde.geometry.Interval(0, 1), dde.geometry.TimeDomain(0, 1))


def _edges(plane: Any, start: Callable[[np.ndarray], np.ndarray]) -> tuple[Any, ...]:
    """u = 0 at both ends, and its start."""
    walls = dde.icbc.DirichletBC(plane, lambda x: 0 * x[:, :1], lambda x, on: on)
    return walls, dde.icbc.IC(plane, lambda x: start(x[:, :1]), lambda x, on: on)


def _scattered(count: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.random((count, 2))


def _diffusion(name: str, like: str, decay: bool) -> Case:
    """u_t = D u_xx - k u of two waves, each of which decays alone."""
    truth = {"D": 0.1, "k": 2.0} if decay else {"D": 0.1}
    plane = _plane()

    def solution(constants: np.ndarray, p: np.ndarray) -> np.ndarray:
        x, t = p[:, :1], p[:, 1:]
        D, k = constants if decay else (constants[0], 0.0)
        first, second = (np.exp(-(D * (n * np.pi) ** 2 + k) * t) for n in (1, 2))
        return np.sin(np.pi * x) * first + np.sin(2 * np.pi * x) * second

    def start(x: np.ndarray) -> np.ndarray:
        return np.sin(np.pi * x) + np.sin(2 * np.pi * x)

    def equation(constants: Any, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        _, u_t, u_xx = _derivatives(x, u)
        found = u_t - constants[0] * u_xx
        return found + constants[1] * u if decay else found

    return Case(
        name=name, like=like, truth=truth, start=dict.fromkeys(truth, 1.0), equation=equation,
        domain=plane, known=_edges(plane, start),
        solution=solution, at=_scattered(200), points=(200, 30, 30), layers=(2, 16, 16, 1),
    )  # fmt: skip


SPEED, WIDTH = 0.5, 0.1


@cache
def _leaked(D: float, s: float, x0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(t, x, u): differences of second order on 400 intervals, exact in time."""
    n, steps = 400, 100
    t, x = np.linspace(0, 1, steps + 1), np.linspace(0, 1, n + 1)
    up = np.diag(np.ones(n - 2), 1)
    A = D * n**2 * (up + up.T - 2 * np.eye(n - 1)) - SPEED * n / 2 * (up - up.T)
    steady = -np.linalg.solve(A, s * np.exp(-(((x[1:-1] - x0) / WIDTH) ** 2)))
    one, u = expm(A / steps), np.zeros((steps + 1, n + 1))
    for k in range(steps):
        u[k + 1, 1:-1] = steady + one @ (u[k, 1:-1] - steady)
    return t, x, u


def _leak() -> Case:
    """u_t + v u_x = D u_xx + s exp(-((x - x0) / w)²): where something leaks, and how much."""

    def solution(constants: np.ndarray, p: np.ndarray) -> np.ndarray:
        t, x, levels = _leaked(*constants)
        found = RegularGridInterpolator((t, x), levels, method="cubic")
        return found(p[:, ::-1])[:, None]

    def equation(constants: Any, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        D, s, x0 = constants
        u_x, u_t, u_xx = _derivatives(x, u)
        source = s * torch.exp(-(((x[:, :1] - x0) / WIDTH) ** 2))
        return u_t + SPEED * u_x - D * u_xx - source

    plane = _plane()
    return Case(
        name="leak: D, s, x0", like="251", truth={"D": 0.1, "s": 2.0, "x0": 0.35},
        start={"D": 1.0, "s": 1.0, "x0": 0.5}, equation=equation, domain=plane,
        known=_edges(plane, lambda x: 0 * x), solution=solution, at=_scattered(200),
        points=(200, 30, 30), layers=(2, 16, 16, 1),
    )  # fmt: skip


def _paper(name: str, like: str, unit: float) -> Case:
    """y' = -A exp(-E / (R T)) y² of ageing paper, 1,000 links long at first; A = 7.8e8 an hour.

    y in thousands of links, t in years, A in `unit`.
    """
    line = dde.geometry.TimeDomain(0, 2000 / 365)
    rate = unit * 8760 * 1000 * math.exp(-111e3 / (8.314 * (98 + 273)))
    A = 7.8e8 / unit

    def equation(constants: Any, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return dde.grad.jacobian(y, t) + constants[0] * rate * y**2

    start = dde.icbc.IC(line, lambda t: np.ones_like(t[:, :1]), lambda t, on: on)
    return Case(
        name=name, like=like, truth={"A": A}, start={"A": 1.0}, equation=equation, domain=line,
        known=(start,), solution=lambda c, t: 1 / (1 + c[0] * rate * t),
        at=lambda rng: np.linspace(0, 2000 / 365, 61)[1:, None], points=(100, 2, 0),
        layers=(1, 20, 20, 1),
    )  # fmt: skip


# Elowitz and Leibler, Nature 403 (2000), box 1, without their units: alpha_0, and m, p at first.
_LEAKING, _FIRST, _LAST = 0.1, (0.0, 0.0, 0.0, 1.0, 2.0, 0.5), 8.0


@cache
def _repressed(alpha: float, n: float, beta: float) -> Callable[[np.ndarray], np.ndarray]:
    """t -> (m1, m2, m3, p1, p2, p3), each as t, to 1e-10."""

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        m, p = y[:3], y[3:]
        return np.concatenate([alpha / (1 + p[[2, 0, 1]] ** n) + _LEAKING - m, beta * (m - p)])

    made = solve_ivp(
        slope, (0, _LAST), _FIRST, method="DOP853", rtol=1e-10, atol=1e-12, dense_output=True
    )
    return made.sol


def _repressilator(name: str, logs: bool) -> Case:
    """Three genes, each held down by the protein of the one before; proteins alone are measured.

    m_i' = -m_i + alpha / (1 + p_(i-1)^n) + alpha_0, p_i' = -beta (p_i - m_i).
    """
    line = dde.geometry.TimeDomain(0, _LAST)

    def equation(constants: Any, t: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        alpha, n, beta = constants
        found = []
        for i in range(3):
            m, p, before = (y[:, [j]] for j in (i, 3 + i, 3 + (i - 1) % 3))
            made = alpha / (1 + (before**2 + 1e-6) ** (n / 2))  # of any sign on the way
            found.append(dde.grad.jacobian(y, t, i=i) + m - made - _LEAKING)
            found.append(dde.grad.jacobian(y, t, i=3 + i) + beta * (p - m))
        return found

    def start(component: int) -> Any:
        value = _FIRST[component]
        return dde.icbc.IC(
            line, lambda t: np.full((len(t), 1), value), lambda t, on: on, component=component
        )

    return Case(
        name=name, like="1022", truth={"alpha": 10.0, "n": 2.0, "beta": 2.0},
        start={"alpha": 1.0, "n": 1.0, "beta": 1.0}, equation=equation, domain=line,
        known=tuple(map(start, range(6))),
        solution=lambda c, t: _repressed(*map(float, c))(t[:, 0])[3:].T,
        at=lambda rng: np.linspace(0, _LAST, 41)[1:, None], points=(100, 2, 0),
        layers=(1, 20, 20, 6), seen=(3, 4, 5), equations=6, logs=logs,
    )  # fmt: skip


def cases() -> dict[str, Case]:
    return {
        "diffusion": _diffusion("diffusion: D", "347", decay=False),
        "reaction": _diffusion("diffusion and decay: D, k", "347", decay=True),
        "leak": _leak(),
        "paper": _paper("ageing paper: A in 1e8", "640", 1e8),
        "paper-raw": _paper("ageing paper: A = 7.8e8", "613", 1.0),
        "genes": _repressilator("genes: log alpha, log n, log beta", logs=True),
        "genes-raw": _repressilator("genes: alpha, n, beta", logs=False),
    }
