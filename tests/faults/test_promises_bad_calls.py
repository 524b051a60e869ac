"""Bad calls are refused before any work: only TypeError or ValueError, told as expected and got.

A table of good calls; each argument in turn becomes everything that it must not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

import sciml
import solvers
from sciml import LeastSquares, LinearSystem, Nonlinear, Space, Stop, Trait, solve
from sciml.operators import FFT, Dense, Diagonal, Identity, Sparse, block, hstack, vstack

N = 4
MATRIX = np.diag(np.arange(1.0, N + 1))
A = Dense(MATRIX, traits={Trait.POSITIVE})
WIDE = Dense(np.ones((2, N)))
B = np.ones(N)
SYSTEM = LinearSystem(A, B)
SQUARE = LinearSystem(Dense(MATRIX + np.eye(N, k=1)), B)


class Cubed(sciml.Operator):
    """A nonlinear operator."""

    def __init__(self) -> None:
        super().__init__(Space((N,)), traits=())

    def _apply(self, x: Any) -> Any:
        return x**3


# What an argument of each kind must not be.
NO_ARRAY: list[Any] = [None, "x", [1.0] * N, 3.0, np.float64(1), {}, object()]
NO_FLOAT = [
    np.ones(N, int), np.ones(N, bool), np.ones(N, np.float16), np.array(["a"] * N),
    np.array([None] * N), np.ones(N, np.longdouble),
]  # fmt: skip
NO_VECTOR = [
    *NO_ARRAY, *NO_FLOAT, np.ones(N + 1), np.ones((N, 1)), np.ones(()), np.ones(0),
    np.ones(N, np.float32), np.ones(N, complex), torch.ones(N, dtype=torch.float64),
]  # fmt: skip
NO_MATRIX = [
    *NO_ARRAY, *(np.diag(v) for v in NO_FLOAT[:3]), np.ones(()), np.ones(N), csr_array(MATRIX),
    np.ones((0, 0)), np.ones((N, 0)),
]  # fmt: skip
NO_OPERATOR: list[Any] = [None, "A", 3, [[1.0]], np.eye(N, dtype=int), np.ones(N), Dense, object()]
NO_SIZE: list[Any] = [0, -1, 1.5, "2", [], (), None, (3, 0), (2, -1), (2, "3"), (2.5,), np.nan]
NO_TOLERANCE: list[Any] = [-1, np.nan, np.inf, -np.inf, "1e-6", [1e-6], 1j, None, np.ones(2)]
NO_COUNT: list[Any] = [-1, 1.0, "3", np.nan, [3], 2.5]
NO_SECONDS: list[Any] = [-1, np.nan, np.inf, "3", [3], 1j]
NO_DTYPE: list[Any] = [np.int32, np.float16, bool, "nonsense", object, 3]
NO_TRAITS: list[Any] = [{"positive"}, "positive", [1], 3, None]
NO_PROBLEM: list[Any] = [None, MATRIX, A, (A, B), "p", Space((N,)), LinearSystem]
NO_SOLVER: list[Any] = [None, "CG", solvers.CG, 3, A, solvers.Jacobi(), lambda p: p]
NO_START = [v for v in NO_VECTOR if v is not None]
NO_STOP: list[Any] = [1e-6, "fast", {"rtol": 1e-6}, Stop, (1e-6,)]
NO_PRECONDITIONER: list[Any] = [3, "Jacobi", MATRIX, [1.0], solvers.Jacobi]
NO_RESTART: list[Any] = [0, -1, 2.5, "3", None, np.nan]
NO_OMEGA: list[Any] = [0, 2, -1, 2.5, np.nan, "1", None, 1j]
NO_BOUNDS: list[Any] = [(0, 1), (2, 1), (-1, 1), (np.nan, 1), (1, np.inf), 3, "ab", (1,), (1, 2, 3)]

Bad = tuple[Callable[[Any], Any], list[Any]]
TABLE: dict[str, Bad] = {
    "Space(shape)": (Space, NO_SIZE),
    "Space(dtype)": (lambda v: Space((N,), v), NO_DTYPE),
    "Space.check": (lambda v: Space((N,)).check(v, "x"), NO_VECTOR[:-1]),
    "Stop(rtol)": (lambda v: Stop(rtol=v), NO_TOLERANCE),
    "Stop(atol)": (lambda v: Stop(atol=v), NO_TOLERANCE),
    "Stop(max_iters)": (lambda v: Stop(max_iters=v), NO_COUNT),
    "Stop(max_seconds)": (lambda v: Stop(max_seconds=v), NO_SECONDS),
    "Stop(check_every)": (lambda v: Stop(check_every=v), [0, *NO_COUNT]),
    "LinearSystem(A)": (lambda v: LinearSystem(v, B), [*NO_OPERATOR, WIDE, Cubed()]),
    "LinearSystem(b)": (lambda v: LinearSystem(A, v), NO_VECTOR),
    "LeastSquares(A)": (lambda v: LeastSquares(v, B), [*NO_OPERATOR, WIDE, Cubed()]),
    "LeastSquares(b)": (lambda v: LeastSquares(A, v), NO_VECTOR),
    "LeastSquares(damp)": (lambda v: LeastSquares(A, B, damp=v), NO_TOLERANCE),
    "Nonlinear(function)": (lambda v: Nonlinear(v, Space((N,)), B), [None, 3, "f", B]),
    "Nonlinear(space)": (lambda v: Nonlinear(np.sin, v, B), [None, N, (N,), B, Space]),
    "Nonlinear(x0)": (lambda v: Nonlinear(np.sin, Space((N,)), v), NO_VECTOR[:-1]),
    "solve(problem)": (lambda v: solve(v, solvers.CG()), NO_PROBLEM),
    "solve(solver)": (lambda v: solve(SYSTEM, v), NO_SOLVER),
    "solve(x0)": (lambda v: solve(SYSTEM, solvers.CG(), x0=v), NO_START),
    "solve(stop)": (lambda v: solve(SYSTEM, solvers.CG(), stop=v), NO_STOP),
    "solve(rng)": (lambda v: solve(SYSTEM, solvers.CG(), rng=v), [3, "seed", np.random]),
    "solve(observe)": (lambda v: solve(SYSTEM, solvers.CG(), observe=v), [3, "print", B]),
    "Dense(matrix)": (Dense, NO_MATRIX),
    "Dense(traits)": (lambda v: Dense(MATRIX, traits=v), NO_TRAITS),
    "Dense(positive, not square)": (
        lambda v: Dense(np.ones((2, 3)), traits={v}), [Trait.POSITIVE, Trait.HERMITIAN]
    ),
    "Diagonal(values)": (Diagonal, [*NO_ARRAY, *NO_FLOAT, np.ones(()), np.ones(0)]),
    "Diagonal(ndim)": (lambda v: Diagonal(np.ones((2, 3)), ndim=v), [0, 3, -1, 1.5, "1"]),
    "Sparse(matrix)": (Sparse, [*NO_ARRAY, MATRIX, csr_array(np.eye(N, dtype=int))]),
    "Sparse(values)": (
        lambda v: Sparse(csr_array(MATRIX), values=v),
        ["x", [1.0] * N, 3.0, np.ones(N + 1), np.ones(()), np.ones(N, int), torch.ones(N)],
    ),
    "Sparse(traits)": (lambda v: Sparse(csr_array(MATRIX), traits=v), NO_TRAITS[:-1]),
    "Identity(space)": (Identity, [None, N, (N,), B, "x"]),
    "FFT(space)": (FFT, [None, N, (N,), B, Space((N,))]),
    "FFT(axes)": (lambda v: FFT(Space((2, 3), np.dtype(complex)), axes=v), [0, 3, -1, 1.5, "1"]),
    "A(x)": (A, NO_VECTOR),
    "A.adjoint(y)": (A.adjoint, NO_VECTOR),
    "A @ B": (lambda v: A @ v, [None, 3, B, MATRIX, "B", WIDE, Identity(Space((N + 1,)))]),
    "A + B": (lambda v: A + v, [WIDE, Identity(Space((N + 1,)))]),
    "s * A": (lambda v: v * A, [np.nan, np.inf, 1j]),
    "vstack": (vstack, [[], None, 3, [None], [A, Identity(Space((N + 1,)))], [A, 3]]),
    "hstack": (hstack, [[], None, 3, [None], [A, WIDE], [A, B]]),
    "block": (block, [[], [[]], [[None]], [[A], [A, A]], 3, [[A, WIDE], [A, A]], [A]]),
    "CG(M)": (lambda v: solvers.CG(M=v), NO_PRECONDITIONER),
    "GMRES(M)": (lambda v: solvers.GMRES(M=v), NO_PRECONDITIONER),
    "LSQR(M)": (lambda v: solvers.LSQR(M=v), NO_PRECONDITIONER),
    "Direct(M)": (lambda v: solvers.Direct(M=v), NO_PRECONDITIONER),
    "CG(M) at solve": (
        lambda v: solve(SYSTEM, solvers.CG(M=v)),
        [
            WIDE, Identity(Space((N + 1,))), Cubed(), Dense(MATRIX),
            Identity(Space((N,), np.dtype(np.float32))),
        ],
    ),
    "CG(M).check": (
        lambda v: solvers.CG(M=v).check(SYSTEM), [WIDE, Identity(Space((N + 1,))), Cubed()]
    ),
    "FlexibleCG(truncate)": (lambda v: solvers.FlexibleCG(truncate=v), NO_RESTART),
    "GMRES(restart)": (lambda v: solvers.GMRES(restart=v), NO_RESTART),
    "FGMRES(restart)": (lambda v: solvers.FGMRES(restart=v), NO_RESTART),
    "Chebyshev(bounds)": (lambda v: solvers.Chebyshev(bounds=v), NO_BOUNDS),
    "SSOR(omega)": (lambda v: solvers.SSOR(omega=v), NO_OMEGA),
    "GMRES solves (problem)": (lambda v: solve(v, solvers.GMRES()), NO_PROBLEM),
    "Auto solves (problem)": (lambda v: solve(v, solvers.Auto()), NO_PROBLEM),
    "GMRES solves (x0)": (lambda v: solve(SQUARE, solvers.GMRES(), x0=v), NO_START),
    "a batch (x0)": (
        lambda v: solve(LinearSystem(A, np.ones((3, N))), solvers.CG(), x0=v),
        [*NO_START, np.ones(N), np.ones((2, N)), np.ones((3, 1, N)), np.ones((4, N))],
    ),
    "a matrix per member (b)": (
        lambda v: LinearSystem(Dense(np.stack([MATRIX] * 3)), v),
        [*NO_VECTOR, np.ones((2, N)), np.ones((4, N))],
    ),
    "a recipe of no operator": (
        lambda v: v(MATRIX), [solvers.Jacobi(), solvers.IC0(), solvers.ILU0(), solvers.SuperLU()]
    ),
    "a recipe of a wide operator": (
        lambda v: v(WIDE), [solvers.Jacobi(), solvers.IC0(), solvers.ILU0(), solvers.SuperLU()]
    ),
    "a method on a matrix it does not suit": (
        lambda v: solve(SQUARE, v),
        [
            solvers.CG(), solvers.MINRES(), solvers.FlexibleCG(), solvers.Chebyshev(),
            solvers.CG(M=solvers.IC0()),
        ],
    ),
    "a method on a problem it does not suit": (
        lambda v: solve(LeastSquares(A, B), v),
        [
            solvers.CG(), solvers.MINRES(), solvers.GMRES(), solvers.BiCGStab(), solvers.Direct(),
            solvers.Chebyshev(), solvers.LSQR(M=solvers.Jacobi()),
        ],
    ),
    "Direct without factors": (lambda v: solve(SYSTEM, solvers.Direct(M=v)), [None]),
    "as_operator": (lambda v: LinearSystem(v, B), [csr_array(np.eye(N, dtype=int)), torch.eye(N)]),
}  # fmt: skip


def _calls() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, (call, values) in TABLE.items():
        for value in values:
            yield f"{name} with {value!r:.60}", lambda call=call, value=value: call(value)


def test_there_are_500() -> None:
    assert len(list(_calls())) >= 500


@pytest.mark.parametrize("name", TABLE)
def test_bad_calls_are_refused(name: str) -> None:
    """Only TypeError or ValueError, with what was expected and what was got, on one line."""
    call, values = TABLE[name]
    faults = []
    for value in values:
        told = f"{value!r:.60}".replace("\n", " ")
        try:
            call(value)
        except (TypeError, ValueError) as error:
            message = str(error)
            if "expected" not in message or "got" not in message or "\n" in message:
                faults.append(f"{told}: unclear {type(error).__name__}: {message}")
        except Exception as error:
            faults.append(f"{told}: {type(error).__name__}: {error}")
        else:
            faults.append(f"{told}: accepted")
    assert not faults, f"{name}\n" + "\n".join(faults)
