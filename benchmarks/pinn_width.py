"""Wider networks than those of `pinn.py`: the error that a minute buys at 3,000 and 13,000 weights.

    python benchmarks/pinn_width.py [--seconds 60] [--widths 40 80] [--cases heat burgers]

Heat and Burgers' have nothing built in, so that any network fits them; points, seed and the choice
of rivals' rates are as in `pinn.py`. Writes results/pinn_width.{json,md}.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from _report import write_results

from solvers.bench.pinn import choose, decide
from solvers.bench.pinn_methods import METHODS, OURS, Trained, train
from solvers.pinn.problems import CASES
from solvers.pinn.problems.case import Case
from solvers.pinn.problems.networks import network

_RIVALS = ("adam", "adam-lbfgs", "adam-ssbroyden")
_FITS = ("heat", "burgers")
_WARM = 0.5


def wider(case: Case, width: int) -> Case:
    """The case with three hidden layers of another width."""

    def build(dde: Any) -> Any:
        model = case.build(dde)
        made = dde.Model(model.data, network(dde, [2, width, width, width, 1]))
        made.loss_weights = model.loss_weights
        return made

    return replace(case, build=build)


def best(case: Case, name: str, seconds: float) -> Trained:
    """The better of a rival's usual rate and the best one of a tenth of the time, from seed 0."""
    method = METHODS[name]
    return decide(case, method, choose(case, name, method, seconds))[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time a training")
    parser.add_argument("--widths", type=int, nargs="+", default=[40, 80])
    parser.add_argument("--cases", nargs="+", default=list(_FITS), choices=_FITS)
    asked = parser.parse_args()
    for method in (OURS, *_RIVALS):  # what a process imports once is on nobody's clock
        train(CASES[asked.cases[0]], METHODS[method], seed=1, seconds=_WARM)
    rows: list[dict[str, str]] = []
    for name in asked.cases:
        for width in asked.widths:
            case = wider(CASES[name], width)
            ours = train(case, METHODS[OURS], seed=0, seconds=asked.seconds)
            found = {OURS: ours, **{m: best(case, m, asked.seconds) for m in _RIVALS}}
            row = {"case": name, "width": str(width), "weights": f"{ours.parameters:,}"}
            for method, trained in found.items():
                steps = ", ".join(f"{n} {what}" for what, n in trained.steps.items())
                row[method] = f"{trained.errors[-1]:.1e} ({steps})"
            rows.append(row)
            print(row, flush=True)
    notes = [
        f"Relative L2 error after {asked.seconds:g} s of one core's processor time, seed 0, and "
        "the steps that were taken. Rivals at the better of their usual rate and the best one of "
        "a tenth of the time (five are tried), by the error itself; that search is not counted. "
        "Points, precision and clocks as in pinn.md, whose networks are 20 wide.",
    ]
    title = "Wider networks for physics-informed training"
    path = write_results("pinn_width", title, rows, notes=notes, packages=["torch", "deepxde"])
    print(path.read_text())


if __name__ == "__main__":
    main()
