"""Unknown constants of equations from noisy data: Gauss-Newton steps beside DeepXDE's default.

    python benchmarks/pinn_inverse.py [--seconds 30] [--seeds 10] [--rival-seeds 3] [--cases leak]

Cases are like those that users of DeepXDE could not get to converge (its issues 251, 347, 613, 640
and 1022). All have the same network, points, data, loss weights, float64 and seconds of one core's
time; only `precondition(model)` differs. Writes results/pinn_inverse.{json,md,png}; of some
cases, a file of their own.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from _report import RESULTS, write_results
from scipy.integrate import solve_ivp
from scipy.interpolate import RegularGridInterpolator
from scipy.linalg import expm

from sciml.io import atomic_file
from solvers.bench.pinn_methods import Clock, lbfgs, ssbroyden
from solvers.pinn.deepxde import load_deepxde, precondition, residuals
from solvers.pinn.intervals import Intervals, confidence_intervals

_NOISE = 0.01  # of the data's root mean square
_WITHIN = 0.01  # relative error that is asked for
_Z95 = 1.959963984540054
_HELD = 0.1  # of a rival's time
# Ours ends where the loss falls by less than this share over so many steps.
_SETTLED, _LOOKBACK = 1e-3, 20
_ACROSS = 4  # panels of the picture

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
    return _NOISE * np.sqrt(np.mean(clean**2, axis=0))


# -- the cases ----------------------------------------------------------------------------------


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


_SPEED, _WIDTH = 0.5, 0.1


@cache
def _leaked(D: float, s: float, x0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(t, x, u): differences of second order on 400 intervals, exact in time."""
    n, steps = 400, 100
    t, x = np.linspace(0, 1, steps + 1), np.linspace(0, 1, n + 1)
    up = np.diag(np.ones(n - 2), 1)
    A = D * n**2 * (up + up.T - 2 * np.eye(n - 1)) - _SPEED * n / 2 * (up - up.T)
    steady = -np.linalg.solve(A, s * np.exp(-(((x[1:-1] - x0) / _WIDTH) ** 2)))
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
        source = s * torch.exp(-(((x[:, :1] - x0) / _WIDTH) ** 2))
        return u_t + _SPEED * u_x - D * u_xx - source

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


# -- training -----------------------------------------------------------------------------------


class For(dde.callbacks.Callback):
    """Stop after so many seconds of this process' time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.process_time() + seconds

    def on_epoch_end(self) -> None:
        if time.process_time() > self.end:
            self.model.stop_training = True


class Settled(dde.callbacks.Callback):
    """Stop where the loss hardly falls any more."""

    def on_epoch_end(self) -> None:
        losses = self.model.opt.progress.losses
        if len(losses) > _LOOKBACK and losses[-1 - _LOOKBACK] < (1 + _SETTLED) * losses[-1]:
            self.model.stop_training = True


@dataclass(frozen=True)
class Outcome:
    """Constants that one training found; intervals of ours, and its seconds."""

    errors: np.ndarray
    seconds: float
    iterations: int
    intervals: Intervals | None = None


@contextmanager
def _double() -> Iterator[None]:
    """Rivals too work in float64, without which L-BFGS stops early."""
    dde.config.set_default_float("float64")
    try:
        yield
    finally:
        dde.config.set_default_float("float32")


def _adam(model: Any, seconds: float) -> None:
    model.train(iterations=10**9, display_every=10**9, callbacks=[For(seconds)], verbose=0)


def _adam_lbfgs(model: Any, seconds: float) -> None:
    """Half of the time each, as DeepXDE's examples do; L-BFGS as in `sciml bench pinn`."""
    clock = Clock()
    _adam(model, seconds / 2)
    lbfgs(dde, model, clock, seconds)


def _ours(model: Any, seconds: float) -> None:
    callbacks = [For(seconds), Settled()]
    precondition(model).train(iterations=10**6, display_every=10**9, callbacks=callbacks, verbose=0)


def _held_adam_lbfgs(model: Any, seconds: float) -> None:
    clock = Clock()
    _held_adam(model, _HELD * seconds, seconds / 2)
    lbfgs(dde, model, clock, seconds)


def _held_ssbroyden(model: Any, seconds: float) -> None:
    clock = Clock()
    _held_adam(model, _HELD * seconds, 2 * _HELD * seconds)
    ssbroyden(model, clock, seconds)


def _held_adam(model: Any, held: float, seconds: float) -> None:
    """Adam for so many seconds, in whose first ones the constants are held, as ours are."""
    constants, clock = model.external_trainable_variables, Clock()
    for c in constants:
        c.requires_grad_(False)
    _adam(model, held)
    for c in constants:
        c.requires_grad_(True)
    _adam(model, seconds - clock.used)


METHODS = {
    "Gauss-Newton": _ours,
    "Adam": _adam,
    "Adam, L-BFGS": _adam_lbfgs,
    "held, Adam, L-BFGS": _held_adam_lbfgs,
    "held, SSBroyden": _held_ssbroyden,
}


def run(case: Case, method: str, seed: int, seconds: float) -> Outcome:
    with _double():
        model, trained, noisy = case.model(seed)
        began = time.process_time()
        METHODS[method](model, seconds)
        took = time.process_time() - began
        found = None
        if method == "Gauss-Newton":
            found = confidence_intervals(residuals(model), noisy)
    values = np.array([v.item() for v in trained])
    values = np.exp(values) if case.logs else values
    return Outcome(values / case.values - 1, took, model.train_state.iteration, found)


# -- what is written ----------------------------------------------------------------------------


def rows_of(case: Case, found: Mapping[str, list[Outcome]]) -> list[dict[str, Any]]:
    """A row for each constant."""
    ours = [(o, o.intervals) for o in found["Gauss-Newton"] if o.intervals is not None]
    rows = []
    for k, (name, truth) in enumerate(case.truth.items()):
        value, unit = (math.log(truth), 1.0) if case.logs else (truth, truth)
        held = sum(bool(i.low[k] <= value <= i.high[k]) for _, i in ours)
        reach = np.median([_Z95 * i.deviation[k] for _, i in ours]) / unit
        row: dict[str, Any] = {
            "problem": case.name,
            "like": case.like,
            "constant": name,
            "true": f"{truth:.3g}",
            "start": f"{case.start[name]:.3g}",
            "least ± possible": f"{100 * _Z95 * case.bound()[k]:.2g} %",
            "95 % interval": f"± {100 * reach:.2g} %",
            "holds the truth": f"{held} of {len(ours)}",
        }
        for method, outcomes in found.items():
            errors = np.abs([o.errors[k] for o in outcomes])
            within = int((errors <= _WITHIN).sum())
            row[f"{method}: error"] = _percent(float(np.median(errors)))
            row[f"{method}: within 1 %"] = f"{within} of {len(errors)}"
        row["Gauss-Newton: s"] = f"{np.median([o.seconds for o, _ in ours]):.1f}"
        rows.append(row)
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def draw(results: Mapping[str, tuple[Case, Mapping[str, list[Outcome]]]]) -> Any:
    from matplotlib.figure import Figure

    down, across = -(-len(results) // _ACROSS), min(len(results), _ACROSS)
    figure = Figure(figsize=(3.2 * across + 1, 3.6 * down), layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for axis in axes.flat[len(results) :]:
        axis.set_axis_off()
    for axis, (case, found) in zip(axes.flat, results.values(), strict=False):
        for j, outcomes in enumerate(found.values()):
            for k, marker in zip(range(len(case.truth)), "o^s", strict=False):
                errors = np.abs([o.errors[k] for o in outcomes])
                place = j + 0.2 * (k - (len(case.truth) - 1) / 2)
                axis.semilogy(
                    np.full(len(errors), place), np.maximum(errors, 1e-6), marker, color=f"C{j}",
                    alpha=0.6, ms=5,
                )  # fmt: skip
        axis.axhline(_WITHIN, color="0.5", lw=1, ls="--")
        axis.set_xticks(range(len(found)), list(found), fontsize=8, rotation=20, ha="right")
        axis.set_title(case.name, fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of processor time a training")
    parser.add_argument("--seeds", type=int, default=10, help="draws of the noise, of ours")
    parser.add_argument("--rival-seeds", type=int, default=3)
    known = cases()
    parser.add_argument("--cases", nargs="*", default=list(known), choices=list(known))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results, rows = {}, []
    for key in asked.cases:
        case, found = known[key], {}
        for method in METHODS:
            seeds = asked.seeds if method == "Gauss-Newton" else asked.rival_seeds
            found[method] = []
            for seed in range(seeds):
                print(f"{case.name}: {method}, seed {seed}", flush=True)
                found[method].append(run(case, method, seed, asked.seconds))
        results[key] = case, found
        rows += rows_of(case, found)
        iterations = {m: int(np.median([o.iterations for o in f])) for m, f in found.items()}
        print(*rows[-len(case.truth) :], iterations, sep="\n", flush=True)
    notes = [
        f"{asked.seconds:g} s of one core's processor time a training, from the compiled model on; "
        "ours ends where the loss has settled. The same network, first weights, points, data, loss "
        "weights (1) and float64 for all. Adam: 1e-3. Adam, L-BFGS: half of the time each; L-BFGS "
        "on 1e8 times the loss, begun anew where it ends, as in `sciml bench pinn`. SSBroyden: "
        "after Adam for a fifth of the time. Held: the constants keep their values for a tenth of "
        "the time, as they do for 15 steps of Gauss-Newton. "
        f"Noise: {100 * _NOISE:g} % of the data's root mean square, independent. Errors: medians "
        f"over {asked.seeds} draws of noise, points and first weights ({asked.rival_seeds} for "
        "rivals).",
        "Least ± possible: 1.96 deviations of Cramér's and Rao's bound, as if the equation were "
        "solved exactly: what the noise allows. 95 % interval: half its width, by "
        "`confidence_intervals` with the noise estimated from the fit.",
        "Diffusion: u_t = D u_xx − k u, u = sin πx + sin 2πx at first, 200 measurements. Leak: "
        f"u_t + {_SPEED:g} u_x = D u_xx + s exp(−((x − x0) / {_WIDTH:g})²), 200 measurements; "
        "reference by differences on 400 intervals. Ageing paper: y′ = −A exp(−E / (R T)) y², 60 "
        "measurements over 2,000 days; A = 7.8e8 as such, and in units of 1e8. Genes: the six "
        "equations of Elowitz and Leibler's repressilator, of whose components three are measured, "
        "40 times each; the constants as such, and by their logarithms.",
        "Like: the number of DeepXDE's issue that reports such a case.",
    ]
    title = "Unknown constants from noisy data"
    name = "pinn_inverse" if asked.cases == list(known) else "pinn_inverse_" + "_".join(asked.cases)
    path = write_results(name, title, rows, notes=notes, packages=["torch", "deepxde"])
    with atomic_file(RESULTS / f"{name}.png") as handle:
        draw(results).savefig(handle, dpi=110, format="png")
    print(path.read_text())


if __name__ == "__main__":
    main()
