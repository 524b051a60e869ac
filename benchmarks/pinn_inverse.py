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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _pinn_inverse_cases import NOISE, SPEED, WIDTH, Case, cases, dde
from _report import RESULTS, write_results

from sciml.io import atomic_file
from solvers.bench.pinn_methods import Clock, lbfgs, ssbroyden
from solvers.pinn.deepxde import precondition, residuals
from solvers.pinn.intervals import Intervals, confidence_intervals

_WITHIN = 0.01  # relative error that is asked for
_Z95 = 1.959963984540054
_HELD = 0.1  # of a rival's time
# Ours ends where the loss falls by less than this share over so many steps.
_SETTLED, _LOOKBACK = 1e-3, 20
_ACROSS = 4  # panels of the picture


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
        f"Noise: {100 * NOISE:g} % of the data's root mean square, independent. Errors: medians "
        f"over {asked.seeds} draws of noise, points and first weights ({asked.rival_seeds} for "
        "rivals).",
        "Least ± possible: 1.96 deviations of Cramér's and Rao's bound, as if the equation were "
        "solved exactly: what the noise allows. 95 % interval: half its width, by "
        "`confidence_intervals` with the noise estimated from the fit.",
        "Diffusion: u_t = D u_xx − k u, u = sin πx + sin 2πx at first, 200 measurements. Leak: "
        f"u_t + {SPEED:g} u_x = D u_xx + s exp(−((x − x0) / {WIDTH:g})²), 200 measurements; "
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
