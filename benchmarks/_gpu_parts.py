"""What `gpu.py` measures, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from _gpu_lab import Lab, Row

from sciml import LeastSquares, LinearSystem, Stop, solve
from sciml.operators import FFT, SENSE, Diffusion, NodalDiffusion, Sparse
from solvers import AMG, CG, LSQR, Jacobi, Multigrid

_TIGHT, _CONDIFF = 1e-8, 1e-6
_SHARE, _TRAFFIC = 0.75, 1.3  # of a copy's bandwidth; of the least bytes of a step of CG


def stencils(lab: Lab) -> Iterator[Row]:
    """Products with variable k against a copy; a product reads k and x and writes y."""
    yield Row("ceiling", "copy", lab.bandwidth / 1e12, "TB/s")
    for dtype in (np.float64, np.float32):
        for n, ndim in ((lab.size(512, 24), 3), (lab.size(8192, 96), 2)):
            k, x = lab.field((n,) * ndim, dtype=dtype), lab.noise((n,) * ndim, dtype=dtype)
            for kind in (Diffusion, NodalDiffusion):
                A = kind(k, ndim=ndim)
                v = x[tuple(slice(m) for m in A.domain.shape)]
                v = lab.xp.ascontiguousarray(v)
                rate = 3 * v.nbytes / lab.seconds(lambda A=A, v=v: A(v))
                asked = kind is Diffusion and ndim == 3 and dtype == np.float64
                share = rate / lab.bandwidth
                what = f"{kind.__name__}, {n}^{ndim}, {np.dtype(dtype).name}"
                target = f">= {_SHARE}" if asked else ""
                met = share >= _SHARE if asked else None
                yield Row("stencil", what, share, "of copy", target, met)


def steps(lab: Lab) -> Iterator[Row]:
    """A step of CG: 11 passes over vectors is the least that one without preconditioner needs."""
    n = lab.size(512, 24)
    A = Diffusion(lab.field((n,) * 3), ndim=3)
    problem = LinearSystem(A, lab.noise((n,) * 3))
    solver = CG().prepare(problem)
    state = solver.advance(solver.init(problem, None), 1)
    took = lab.seconds(lambda: solver.advance(state, 16)) / 16
    ratio = took / (11 * 8 * n**3 / lab.bandwidth)
    yield Row(
        "CG", f"a step, {n}^3, float64", ratio, "of its least traffic", "<= 1.3", ratio <= 1.3
    )


def poisson(lab: Lab) -> Iterator[Row]:
    """Variable k to 1e-8: multigrid, CuPy's cg with Jacobi by our product, and our CPU."""
    for n in (lab.size(256, 16), lab.size(512, 32)):
        A = Diffusion(lab.field((n,) * 3), ndim=3)
        b = lab.noise((n,) * 3)
        part = f"Poisson, {n}^3, 1e-8"
        stop = Stop(rtol=_TIGHT)
        found = solve(LinearSystem(A, b), CG(M=Multigrid()), stop=stop, throw=False)
        lab.wait()
        again = solve(LinearSystem(A, b), found.solver, stop=stop, throw=False)
        ours = again.seconds.solve
        large = n == lab.size(512, 32)
        target, met = ("<= 12", found.iterations <= 12) if large else ("", None)
        yield Row(part, "multigrid CG", float(found.iterations), "iterations", target, met)
        yield Row(part, "multigrid CG", ours, "s")
        yield Row(part, "its set-up", found.seconds.setup, "s")
        yield Row(part, "true residual", float(found.residual), "")
        yield Row(part, "memory of the hierarchy", found.memory / 8 / n**3, "float64 an unknown")
        rival = _rival(lab, A, b)
        if rival is not None:
            ratio = rival / (ours + found.seconds.setup)
            target, met = (">= 20", ratio >= 20) if large else ("", None)
            yield Row(part, "cupyx cg, Jacobi", rival, "s")
            yield Row(part, "cupyx / ours with set-up", ratio, "times", target, met)
        if not large:
            host = A.to(xp=np), np.asarray(b if lab.rehearsed else b.get())
            slow = solve(LinearSystem(*host), CG(M=Multigrid()), stop=stop)
            ratio = slow.seconds.solve / ours
            yield Row(part, "our CPU's solve / ours", ratio, "times", ">= 50", ratio >= 50)


def _rival(lab: Lab, A: Diffusion, b: Any) -> float | None:
    """Seconds of CuPy's own cg to the same true residual, with our product and Jacobi."""
    if lab.rehearsed:
        return None
    from cupyx.scipy.sparse.linalg import LinearOperator, cg

    size, inverse = A.domain.size, 1 / A.diagonal().reshape(-1)
    product = LinearOperator(
        (size, size), lambda v: A(v.reshape(A.domain.shape)).reshape(-1), dtype=np.float64
    )
    jacobi = LinearOperator((size, size), lambda v: inverse * v.reshape(-1), dtype=np.float64)
    lab.wait()
    began = time.perf_counter()
    cg(product, b.reshape(-1), tol=_TIGHT, maxiter=20 * b.shape[0], M=jacobi)
    lab.wait()
    return time.perf_counter() - began


def batches(lab: Lab) -> Iterator[Row]:
    """Many systems of ConDiff's kind at once, to 1e-6, with their set-up."""
    members, n = lab.size(4096, 4), lab.size(128, 16)
    fields = [lab.field((n + 1, n + 1), seed) for seed in range(min(members, 64))]
    k = lab.xp.stack([fields[i % len(fields)] * (1 + i / members) for i in range(members)])
    A, b = NodalDiffusion(k, ndim=2), lab.noise((members, n, n))
    stop = Stop(rtol=_CONDIFF)
    found = solve(LinearSystem(A, b), CG(M=Multigrid()), stop=stop, throw=False)
    lab.wait()
    began = time.perf_counter()
    found = solve(LinearSystem(A, b), CG(M=Multigrid()), stop=stop, throw=False)
    lab.wait()
    rate = members / (time.perf_counter() - began)
    part = f"{members} systems of {n}^2, 1e-6"
    yield Row(part, "multigrid CG", rate, "systems/s", ">= 20,000", rate >= 20_000)
    yield Row(
        part, "not certified", float(np.sum(~np.asarray(found.ok))), "", "0", bool(np.all(found.ok))
    )


def mri(lab: Lab) -> Iterator[Row]:
    """The normal operator of 16 coils on 32 slices, against its transforms alone; CG-SENSE."""
    slices, coils, n = lab.size(32, 2), lab.size(16, 3), lab.size(320, 24)
    xp = lab.xp
    noise = lab.noise((2, slices, coils, n, n), dtype=np.float32)
    maps = (noise[0] + 1j * noise[1]).astype(np.complex64) / np.sqrt(coils).astype(np.float32)
    mask = (np.random.default_rng(0).random((n, n)) < 0.3).astype(np.float32)
    A = SENSE(maps, xp.asarray(mask))
    x = (noise[0, :, 0] + 1j * noise[1, :, 0]).astype(np.complex64)
    transform = FFT(A.domain)
    seen = maps * x[:, None]
    both = lab.seconds(lambda: transform.adjoint(transform(seen)))
    normal = A.normal
    ratio = lab.seconds(lambda: normal(x)) / both
    part = f"SENSE, {coils} x {n}^2 x {slices}"
    yield Row(part, "normal operator", ratio, "of its transforms", "<= 1.25", ratio <= 1.25)
    y = A(x)
    stop = Stop(rtol=1e-30, max_iters=30)
    least = LeastSquares(A, y)
    took = lab.seconds(lambda: solve(least, LSQR(), stop=stop, throw=False), repeats=3)
    yield Row(part, "30 iterations of LSQR, certified", took, "s", "< 0.2", took < 0.2)
    system = LinearSystem(normal, A.adjoint(y))
    took = lab.seconds(lambda: solve(system, CG(), stop=stop, throw=False), repeats=3)
    yield Row(part, "30 iterations of CG, certified", took, "s", "< 0.2", took < 0.2)


def amg(lab: Lab) -> Iterator[Row]:
    """An unstructured system of 1e6 unknowns: our cycle on the device, PyAMG's on the CPU."""
    import pyamg
    from scipy.spatial import Delaunay

    n = lab.size(1_000_000, 2_000)
    points = np.random.default_rng(0).random((n, 2))
    edges = np.vstack([Delaunay(points).simplices[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    from scipy.sparse import coo_array, diags_array

    weights = 1 / np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    half = coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(n, n)).tocsr()
    adjacent = half + half.T
    degree = adjacent.sum(axis=1)
    matrix = (diags_array(degree + 1e-3 * degree.mean()) - adjacent).tocsr()
    b = np.random.default_rng(1).standard_normal(n)
    host = Sparse(matrix)
    M = AMG()(host)
    stop, part = Stop(rtol=_TIGHT), f"AMG, {n} unknowns"
    A, there = (host, b) if lab.rehearsed else (host.to(xp=lab.xp), lab.xp.asarray(b))
    if not lab.rehearsed:
        M = M.to(xp=lab.xp)
    system = LinearSystem(A, there)
    found = solve(system, CG(M=M), stop=stop)
    took = lab.seconds(lambda: solve(system, CG(M=M), stop=stop), repeats=3)
    yield Row(part, "our CG on the device", float(found.iterations), "iterations")
    yield Row(part, "our CG on the device", took, "s")
    theirs = pyamg.smoothed_aggregation_solver(matrix.tocsr())
    began, residuals = time.perf_counter(), []
    theirs.solve(b, tol=_TIGHT, accel="cg", residuals=residuals)
    ratio = (time.perf_counter() - began) / took
    yield Row(part, "PyAMG's iterations", float(len(residuals) - 1), "")
    yield Row(part, "PyAMG's solve / ours", ratio, "times", ">= 10", ratio >= 10)


def plain(lab: Lab) -> Iterator[Row]:
    """CG with Jacobi on a small grid: where the launches cost more than the work."""
    for n in (32, 64, 128, 256, 512, 1024):
        if lab.rehearsed and n > 64:
            return
        A = Diffusion(lab.field((n, n)))
        problem = LinearSystem(A, lab.noise((n, n)))
        solver = CG(M=Jacobi()).prepare(problem)
        state = solver.advance(solver.init(problem, None), 1)
        took = lab.seconds(lambda s=solver, at=state: s.advance(at, 16)) / 16
        host = A.to(xp=np)
        b = np.asarray(problem.b if lab.rehearsed else problem.b.get())
        there = LinearSystem(host, b)
        slow = CG(M=Jacobi()).prepare(there)
        begun = slow.advance(slow.init(there, None), 1)
        cpu = lab.seconds(lambda s=slow, at=begun: s.advance(at, 16)) / 16
        yield Row(f"a step of CG, {n}^2", "device", 1e6 * took, "us")
        yield Row(f"a step of CG, {n}^2", "CPU", 1e6 * cpu, "us")


PARTS: Mapping[str, Callable[[Lab], Iterator[Row]]] = MappingProxyType(
    {
        "stencils": stencils, "steps": steps, "poisson": poisson, "batches": batches,
        "mri": mri, "amg": amg, "small": plain,
    }
)  # fmt: skip
