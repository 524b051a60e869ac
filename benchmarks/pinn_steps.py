"""Seconds and memory of a step of training, and the loss that a minute buys at 1e5 parameters.

    python benchmarks/pinn_steps.py [--seconds 60] [--sizes 500 5000 20000 100000]

Each method trains each network in a process of its own, whose highest resident memory counts.
Writes results/pinn_steps.{json,md,png}.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from _report import RESULTS, write_results

from sciml.io import atomic_file
from solvers.pinn.deepxde import load_deepxde, precondition
from solvers.pinn.gauss_newton import GaussNewton, Normal

_SIZES = (500, 5_000, 20_000, 100_000)
_INSIDE, _EDGES = 800, 200
_TIMED = 3.0  # processor seconds of steps that are timed: at least one, at most twenty of them
_MOST = 20
_ITERATIONS = 10  # of L-BFGS between two looks
_NAMES = {normal.name: normal for normal in Normal}
METHODS = ("Adam", "L-BFGS", "NNCG", *_NAMES)
# Parameters up to which J^T J is factored: beyond, a step takes minutes.
_FACTORED = 5_000


def network(size: int) -> list[int]:
    """Layers of about `size` parameters: two inputs, three hidden layers of one width."""
    width = round((-6 + math.sqrt(36 + 8 * (size - 1))) / 4)  # 2 w² + 6 w + 1
    return [2, width, width, width, 1]


def made(size: int) -> Any:
    """u_t = 0.1 u_xx with u = sin(pi x) at first, by DeepXDE: 1,000 points."""
    dde = load_deepxde()
    with contextlib.redirect_stdout(io.StringIO()):
        dde.config.set_default_float("float64")
    dde.config.set_random_seed(0)
    plane = dde.geometry.GeometryXTime(dde.geometry.Interval(0, 1), dde.geometry.TimeDomain(0, 1))

    def heat(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return dde.grad.jacobian(u, x, i=0, j=1) - 0.1 * dde.grad.hessian(u, x, i=0, j=0)

    walls = dde.icbc.DirichletBC(plane, lambda x: 0 * x[:, :1], lambda x, on: on)
    start = dde.icbc.IC(plane, lambda x: np.sin(np.pi * x[:, :1]), lambda x, on: on)
    data = dde.data.TimePDE(plane, heat, [walls, start], _INSIDE, _EDGES // 2, _EDGES // 2)
    return dde.Model(data, dde.nn.FNN(network(size), "tanh", "Glorot uniform"))


def compiled(model: Any, method: str) -> None:
    """Ready for the method, with its defaults."""
    dde = load_deepxde()
    if method in _NAMES:
        precondition(model, GaussNewton(normal=_NAMES[method]))
    elif method == "Adam":
        model.compile("adam", lr=1e-3, verbose=0)
    else:
        options = dde.optimizers.config.LBFGS_options
        options.update(iter_per_step=_ITERATIONS, fun_per_step=_ITERATIONS * 5 // 4)
        model.compile(method, verbose=0)


def trained(model: Any, method: str, seconds: float, most: int) -> tuple[list[float], float]:
    """(processor seconds of each step, the loss at the end), from where the model stands."""
    dde = load_deepxde()
    times: list[float] = []
    end = time.process_time() + seconds

    class Clock(dde.callbacks.Callback):
        def on_epoch_begin(self) -> None:
            self.began = time.process_time()

        def on_epoch_end(self) -> None:
            times.append(time.process_time() - self.began)
            if len(times) >= most or time.process_time() > end:
                self.model.stop_training = True

    count = None if method == "L-BFGS" else 10**9
    each = _ITERATIONS if method == "L-BFGS" else 1
    with contextlib.redirect_stdout(io.StringIO()):
        model.train(iterations=count, display_every=10**9, callbacks=[Clock()], verbose=0)
    X, y, aux = (*model.data.train_next_batch(), None)[:3]
    losses = model._outputs_losses(True, X, y, aux)[1]  # as DeepXDE's own display
    return [t / each for t in times], float(losses.sum())


def child(method: str, size: int, seconds: float, most: int) -> dict[str, float]:
    """What a process that trains one model says of it: seconds and MB of a step."""
    model = made(size)
    compiled(model, method)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times, loss = trained(model, method, seconds, most)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "s": float(np.median(times[1:] or times)),
        "steps": len(times),
        "loss": loss,
        "MB": (peak - before) / 1024,  # ru_maxrss is in kB on Linux
    }


def measured(method: str, size: int, seconds: float, most: int) -> dict[str, float] | None:
    """`child` in a process of its own; None where it would take minutes."""
    if method == "PARAMETERS" and size > _FACTORED:
        return None
    print(f"{method}, {size} parameters", flush=True)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(child, method, size, seconds, most).result()


def draw(steps: Mapping[str, Mapping[int, dict[str, float]]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)  # type: ignore[misc]
    for method, found in steps.items():
        sizes = [f["parameters"] for f in found.values()]
        left.loglog(sizes, [f["s"] for f in found.values()], "o-", ms=4, label=method)
        memory = [max(f["MB"], 1.0) for f in found.values()]
        right.loglog(sizes, memory, "o-", ms=4, label=method)
    left.set(xlabel="parameters", ylabel="s a step")
    right.set(xlabel="parameters", ylabel="MB beyond the model's")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training the largest")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(_SIZES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    load_deepxde()
    steps: dict[str, dict[int, dict[str, float]]] = {}
    for method in METHODS:
        steps[method] = {}
        for size in asked.sizes:
            if (found := measured(method, size, _TIMED, _MOST)) is not None:
                steps[method][size] = found
    largest = max(asked.sizes)
    rows = []
    for method, by_size in steps.items():
        row: dict[str, Any] = {"method": method}
        for size in asked.sizes:
            found = by_size.get(size)
            row[f"{size}: s"] = "—" if found is None else f"{found['s']:.2g}"
            row[f"{size}: MB"] = "—" if found is None else f"{found['MB']:.0f}"
        after = None
        if method in ("Adam", "SAMPLES", "KRYLOV"):
            after = measured(method, largest, asked.seconds, 10**9)
        row[f"{largest}: loss after {asked.seconds:g} s"] = (
            "—" if after is None else f"{after['loss']:.1e} ({after['steps']} steps)"
        )
        rows.append(row)
    notes = [
        "u_t = 0.1 u_xx, 800 points inside and 200 on the edges, three hidden layers, float64, one "
        "thread. Seconds: processor time of a step, the median of up to "
        f"{_MOST} after the first, as many as {_TIMED:g} s hold (L-BFGS: of an iteration). MB: the "
        "highest resident memory of the process beyond what it had before training.",
        "NNCG and L-BFGS with DeepXDE's defaults; a step of NNCG is up to 1,000 iterations of CG, "
        "one of KRYLOV up to 500, until rtol 1e-2. PARAMETERS is not tried beyond "
        f"{_FACTORED} parameters. `GaussNewton()` takes the smaller of PARAMETERS and SAMPLES, and "
        "KRYLOV from 40 million entries of J on.",
    ]
    title = "Seconds and memory of a step of training"
    path = write_results("pinn_steps", title, rows, notes=notes, packages=["torch", "deepxde"])
    with atomic_file(RESULTS / "pinn_steps.png") as handle:
        draw(steps).savefig(handle, dpi=110, format="png")
    print(path.read_text())


if __name__ == "__main__":
    main()
