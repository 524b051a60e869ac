"""Same seed, same answer: in another process, with more threads; the global RNG is untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import solvers
from sciml import LinearSystem, Space, Stop, solve
from sciml.arrays import dot
from sciml.testing import Kind, random_system

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("promise_child.py")


def run_child(*arguments: str, threads: int = 1, seconds: float = 100) -> dict[str, Any]:
    """The outcome of a task of `promise_child.py` in a process of its own."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    env = {**os.environ, "PYTHONPATH": str(ROOT), **dict.fromkeys(names, str(threads))}
    done = subprocess.run(
        [sys.executable, str(CHILD), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


def test_processes_and_threads_give_the_same_bytes() -> None:
    """A x, A^H x and x of every Krylov method, from 14,400 unknowns on two operators."""
    one = run_child("same", "3", threads=1)
    again = run_child("same", "3", threads=1)
    two = run_child("same", "3", threads=2)
    assert one == again
    assert one == two, [key for key in one if one[key] != two[key]]
    assert len(one) >= 12 and one["global state kept"]
    assert one["sparse A x"] != run_child("same", "4")["sparse A x"], "the seed makes no difference"


def test_a_long_dot_product_is_right_whatever_its_length(rng: np.random.Generator) -> None:
    for n in (1, 8_191, 8_192, 8_193, 20_000, 3 * 8_192):
        for dtype in ("float32", "float64", "complex64", "complex128"):
            x, y = (Space((n,), np.dtype(dtype)).random(rng, (2,)) for _ in range(2))
            wide = np.sum(x.astype(np.complex128).conj() * y, axis=-1)
            room = 4 * np.finfo(dtype).eps * np.linalg.norm(x) * np.linalg.norm(y)
            assert abs(dot(x, y) - wide).max() <= room
            assert abs(dot(x[0], y[0]) - wide[0]) <= room
            assert dot(x, y).dtype == dtype and dot(x, y).shape == (2,)


@pytest.mark.parametrize("solver", [solvers.GMRES(), solvers.Chebyshev(), solvers.Auto()])
def test_the_rng_given_is_the_only_one_used(solver: Any, rng: np.random.Generator) -> None:
    problem = random_system(Kind.POSITIVE, rng=rng)
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    mine = np.random.default_rng(5)
    first = solve(problem, solver, rng=mine)
    assert np.random.random() == expected
    second = solve(problem, solver, rng=np.random.default_rng(5))
    assert first.x.tobytes() == second.x.tobytes()


def test_looks_and_limits_do_not_change_the_path(rng: np.random.Generator) -> None:
    """Observing a solve, or looking at it less often, changes no bit of an iterate."""
    problem = random_system(Kind.POSITIVE, condition=1e3, rng=rng)
    for limit in (4, 8, 16):
        plain = solve(problem, solvers.CG(), stop=Stop(rtol=0, max_iters=limit), throw=False)
        seen: list[int] = []
        watched = solve(
            LinearSystem(problem.A, problem.b),
            solvers.CG(),
            stop=Stop(rtol=0, max_iters=limit),
            observe=lambda look, seen=seen: seen.append(look.iteration),
            throw=False,
        )
        assert watched.x.tobytes() == plain.x.tobytes()
        assert seen == list(range(limit + 1))
