"""Parts of `gpu.py`: ceilings, products with stencils and steps of CG, on grids large and small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from _gpu_lab import Lab, Row

from sciml import LinearSystem, Solver, Stop, solve
from sciml.arrays import to_numpy
from sciml.operators import Diffusion, NodalDiffusion
from solvers import CG, Jacobi, Multigrid, OnHost
from solvers.auto import GAINS_FROM

_SHARE, _TRAFFIC = 0.75, 1.3  # of a copy's bandwidth; of the least bytes of a step of CG
_NEAR = 4  # by what factor Auto's threshold may miss the crossing
_STEPS = 16  # between two looks
_TIGHT = 1e-8


def ceilings(lab: Lab) -> Iterator[Row]:
    """What memory and processors give at most, found as all that is compared with them is."""
    yield Row("ceiling", "copy", lab.bandwidth / 1e12, "TB/s")
    for dtype in (np.float64, np.float32):
        what = f"matrix product, {np.dtype(dtype).name}"
        yield Row("ceiling", what, lab.flops(dtype) / 1e12, "TFLOP/s")


def stencils(lab: Lab) -> Iterator[Row]:
    """Products with variable k against a copy; a product reads k and x and writes y."""
    for dtype in (np.float64, np.float32):
        for n, ndim in ((lab.size(512, 12), 3), (lab.size(8192, 48), 2)):
            k, x = lab.field((n,) * ndim, dtype=dtype), lab.noise((n,) * ndim, dtype=dtype)
            for kind in (Diffusion, NodalDiffusion):
                A = kind(k, ndim=ndim)
                v = lab.xp.asarray(x[tuple(slice(m) for m in A.domain.shape)], copy=True)
                rate = 3 * v.nbytes / lab.seconds(lambda A=A, v=v: A(v))
                asked = kind is Diffusion and ndim == 3 and dtype == np.float64
                share = rate / lab.bandwidth
                what = f"{kind.__name__}, {n}^{ndim}, {np.dtype(dtype).name}"
                target = f">= {_SHARE}" if asked else ""
                met = share >= _SHARE if asked else None
                yield Row("stencil", what, share, "of copy", target, met)


def steps(lab: Lab) -> Iterator[Row]:
    """A step of CG: 11 passes over vectors is the least that one without preconditioner needs."""
    n = lab.size(512, 12)
    problem = LinearSystem(Diffusion(lab.field((n,) * 3), ndim=3), lab.noise((n,) * 3))
    ratio = _step(lab, problem, CG()) / (11 * 8 * n**3 / lab.bandwidth)
    what, target = f"a step, {n}^3, float64", f"<= {_TRAFFIC}"
    yield Row("CG", what, ratio, "of its least traffic", target, ratio <= _TRAFFIC)


def small(lab: Lab) -> Iterator[Row]:
    """Small grids, where launches cost more than the work: steps of CG with Jacobi, and solves by
    multigrid CG, for which `Auto` has a threshold, with all copies between device and host."""
    grids = {2: (32, 64, 128, 256, 512, 1024), 3: (16, 32, 64, 128)}
    if lab.rehearsed:
        grids = {2: (16, 32), 3: (8, 12)}
    for ndim, sides in grids.items():
        unknowns = [n**ndim for n in sides]
        device, cpu, there, here = [], [], [], []
        for n in sides:
            problem = LinearSystem(
                Diffusion(lab.field((n,) * ndim), ndim=ndim), lab.noise((n,) * ndim)
            )
            host = LinearSystem(*lab.on_the_host(problem.A, problem.b))
            device.append(_step(lab, problem, CG(M=Jacobi())))
            cpu.append(_step(lab, host, CG(M=Jacobi())))
            part = f"a step of CG, {n}^{ndim}"
            yield Row(part, "device", 1e6 * device[-1], "us")
            yield Row(part, "CPU", 1e6 * cpu[-1], "us")
            there.append(_solve(lab, problem, CG(M=Multigrid())))
            here.append(_solve(lab, problem, OnHost(CG(M=Multigrid()))))
            part = f"a solve, {n}^{ndim}, 1e-8"
            yield Row(part, "on the device", 1e3 * there[-1], "ms")
            yield Row(part, "taken to the host", 1e3 * here[-1], "ms")
        found = crossing(unknowns, device, cpu)
        yield Row(f"a step of CG, {ndim}-D", "the CPU is faster below", found, "unknowns")
        found, part = crossing(unknowns, there, here), f"a solve, {ndim}-D"
        yield Row(part, "the host is faster below", found, "unknowns")
        near = found / _NEAR <= GAINS_FROM <= found * _NEAR
        target = f"that, within {_NEAR} times"
        yield Row(part, "Auto takes to the host below", GAINS_FROM, "unknowns", target, near)


def graphs(lab: Lab) -> Iterator[Row]:
    """A step of multigrid CG with a look after each, kernel by kernel and as one CUDA graph."""
    for n, ndim in ((256, 2), (32, 3), (64, 3), (128, 3)):
        n = lab.size(n, 16 if ndim == 2 else 8)
        problem = LinearSystem(Diffusion(lab.field((n,) * ndim), ndim=ndim), lab.noise((n,) * ndim))
        part, took = f"a step of multigrid CG, {n}^{ndim}", {}
        for graph, name in ((False, "kernel by kernel"), (True, "as a graph")):
            took[graph] = _looked_at(lab, problem, CG(M=Multigrid(), graph=graph))
            yield Row(part, name, 1e6 * took[graph], "us")
        yield Row(part, "kernel by kernel / as a graph", took[False] / took[True], "times")


def crossing(unknowns: Sequence[int], device: Sequence[float], cpu: Sequence[float]) -> float:
    """Unknowns from which on the device is faster, between two grids by powers of them; 0 if it is
    on all grids, inf if it is not on the largest."""
    lead = np.log(np.asarray(cpu)) - np.log(np.asarray(device))
    behind = np.flatnonzero(lead < 0)
    if behind.size == 0:
        return 0.0
    last = int(behind[-1])
    if last == len(lead) - 1:
        return float("inf")
    low, high = np.log(unknowns[last]), np.log(unknowns[last + 1])
    share = lead[last] / (lead[last] - lead[last + 1])
    return float(np.exp(low + share * (high - low)))


def _looked_at(lab: Lab, problem: LinearSystem, method: CG) -> float:
    """Seconds of one step and of a look at its estimate."""
    solver = method.prepare(problem)
    state = solver.advance(solver.init(problem, None), 1)

    def run() -> None:
        to_numpy(solver.advance(state, 1).estimate)

    run()
    run()  # records, where there is a graph
    return lab.seconds(run)


def _step(lab: Lab, problem: LinearSystem, method: CG) -> float:
    """Seconds of one step, of those between two looks."""
    solver = method.prepare(problem)
    state = solver.advance(solver.init(problem, None), 1)
    return lab.seconds(lambda: solver.advance(state, _STEPS)) / _STEPS


def _solve(lab: Lab, problem: LinearSystem, method: Solver) -> float:
    """Seconds of a solve with its set-up, its certificate and all copies."""
    return lab.seconds(lambda: solve(problem, method, stop=Stop(rtol=_TIGHT)), repeats=3)
