"""What the tests of repeatability, faults and load run in a process of its own.

Usage: promise_child.py TASK [ARGUMENT ...]; the outcome is printed as one line of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import solvers
from sciml import LinearSystem, SolveInterrupted, Solver, Stop, Trait, solve
from sciml.operators import Dense, Sparse


def laplacian(m: int, dtype: Any = np.float64) -> Sparse:
    """The five-point Laplacian on m x m points."""
    from scipy.sparse import eye_array, kron

    line = 2 * eye_array(m) - eye_array(m, k=1) - eye_array(m, k=-1)
    matrix = (kron(line, eye_array(m)) + kron(eye_array(m), line)).tocsr().astype(dtype)
    return Sparse(matrix, traits={Trait.POSITIVE})


def diffusion(m: int) -> Any:
    """A variable-coefficient diffusion operator on m x m cells."""
    from sciml.operators.diffusion import Diffusion

    return Diffusion(np.exp(np.random.default_rng(3).standard_normal((m, m))))


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the bytes of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


METHODS: dict[str, Solver] = {
    "CG": solvers.CG(),
    "CG IC0": solvers.CG(M=solvers.IC0()),
    "FlexibleCG": solvers.FlexibleCG(),
    "MINRES": solvers.MINRES(),
    "GMRES": solvers.GMRES(restart=30),
    "BiCGStab": solvers.BiCGStab(),
    "LSQR": solvers.LSQR(),
    "LSMR": solvers.LSMR(),
    "Chebyshev": solvers.Chebyshev(),
}


def same(seed: str) -> dict[str, Any]:
    """Digests of what operators and solves give."""
    rng = np.random.default_rng(int(seed))
    state = np.random.get_state()[1].tobytes()  # type: ignore[union-attr]
    out: dict[str, Any] = {}
    m = 120  # 71,520 entries: several threads where there are
    for name, A in {"sparse": laplacian(m), "diffusion": diffusion(m)}.items():
        x = A.domain.random(rng)
        out[f"{name} A x"] = digest(A(x), A.adjoint(x), A(np.stack([x, 2 * x, x - 1])))
    A = laplacian(m)
    b = A.domain.random(rng)
    for name, solver in METHODS.items():
        result = solve(LinearSystem(A, b), solver, stop=Stop(max_iters=30), throw=False)
        out[name] = digest(result.x)
    big = diffusion(m)
    b = big.domain.random(rng)
    out["CG, diffusion"] = digest(
        solve(LinearSystem(big, b), solvers.CG(), stop=Stop(max_iters=60), throw=False).x
    )
    out["global state kept"] = np.random.get_state()[1].tobytes() == state  # type: ignore[union-attr]
    return out


def interrupt(name: str, rounds: str) -> dict[str, Any]:
    """Real SIGINTs at random times during solves that take seconds."""
    A = laplacian(300)
    b = A.domain.random(np.random.default_rng(1))
    stop = Stop(rtol=1e-15, max_iters=10**8)
    solver = METHODS[name].prepare(LinearSystem(A, b))
    # numba loads its kernels on first use, and an interrupted import stays broken
    solve(LinearSystem(A, b), solver, stop=Stop(max_iters=40), throw=False)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(int(rounds)):
        wait = threading.Timer(0.03 + 0.05 * rng.random(), os.kill, (os.getpid(), signal.SIGINT))
        wait.start()
        try:
            solve(LinearSystem(A, b), solver, stop=stop)
        except SolveInterrupted as error:
            result = error.result
            true = float(np.linalg.norm(b - A(result.x)) / np.linalg.norm(b))
            found.append([result.status.name, float(result.residual), true])
        except KeyboardInterrupt:
            found.append(["bare KeyboardInterrupt", 0.0, 0.0])
        wait.join()
    clean = solve(LinearSystem(laplacian(10), np.ones(100)), METHODS[name])
    return {"found": found, "after": clean.status.name}


def exhaust() -> dict[str, Any]:
    """A basis that no memory holds, then a solve that needs little."""
    import resource

    A = laplacian(300)
    b = np.ones(A.domain.size)
    solve(LinearSystem(A, b), solvers.CG(), stop=Stop(max_iters=3), throw=False)
    room = _pages(0) + (1 << 29)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    before = digest(A.data, b)
    try:
        solve(LinearSystem(A, b), solvers.GMRES(restart=4_000), stop=Stop(max_iters=4_000))
    except MemoryError as error:
        raised = str(error)[:40]
    else:
        raised = ""
    after = solve(LinearSystem(A, b), solvers.CG(), stop=Stop(max_iters=2_000))
    return {"raised": raised, "after": after.status.name, "kept": digest(A.data, b) == before}


def _pages(column: int) -> int:
    """Bytes of address space (column 0) or of resident memory (1)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")


def _held() -> int:
    """Bytes resident once what was freed is back with the system: growth of these is a leak."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)
    return _pages(1)


def load(solves: str, threads: str) -> dict[str, Any]:
    """RSS growth over solves in threads, half of them small and dense, some on parallel kernels."""
    big = laplacian(110)
    ones = np.ones(big.domain.size)
    rng = np.random.default_rng(0)
    small = []
    for _ in range(8):
        m = rng.standard_normal((20, 20))
        A = Dense(m @ m.T / 20 + np.eye(20), traits={Trait.POSITIVE})
        small.append(LinearSystem(A, rng.standard_normal(20)))
    rest = [solvers.CG(), solvers.MINRES(), solvers.GMRES(), solvers.LSQR(), solvers.Direct()]
    expected = [solve(small[i], rest[i % 5]).x.tobytes() for i in range(8)]
    product = big(ones).tobytes()
    wrong: list[str] = []

    def work(thread: int, count: int) -> None:
        for turn in range(count):
            i = (thread + turn) % 8
            if solve(small[i], rest[i % 5]).x.tobytes() != expected[i]:
                wrong.append(f"thread {thread}, turn {turn}")
            if turn % 10 == 0 and big(ones).tobytes() != product:
                wrong.append(f"thread {thread}, turn {turn}: kernel")
            if turn % 50 == 0:
                solve(LinearSystem(big, ones), solvers.CG(), stop=Stop(max_iters=5), throw=False)

    def run(count: int) -> None:
        team = [
            threading.Thread(target=work, args=(t, count // int(threads)))
            for t in range(int(threads))
        ]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()

    for _ in range(
        6
    ):  # each team of new threads fills some more of the allocator's arenas, then none
        run(400)
    before, began = _held(), time.perf_counter()
    run(int(solves))
    seconds = time.perf_counter() - began
    return {"wrong": wrong[:3], "growth_mb": (_held() - before) / 1e6, "seconds": seconds}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "same": same,
    "interrupt": interrupt,
    "exhaust": exhaust,
    "load": load,
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
