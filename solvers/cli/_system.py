"""From files to a linear system: the matrix, the right-hand side, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciml import LeastSquares, LinearSystem, Trait
from sciml.adapters import from_scipy
from sciml.io import Limits, SystemFile, read_system, read_vector

from ._errors import BadInput, refusals


@dataclass(frozen=True)
class System:
    """A problem as read.

    problem: LinearSystem, or LeastSquares where the matrix is not square.
    rhs: where the right-hand side is from, for a person. notes: what was cast, summed or left.
    nonzeros: entries that are not zero (dense), or stored (sparse).
    """

    file: SystemFile
    problem: LinearSystem | LeastSquares
    rhs: str
    nonzeros: int
    notes: tuple[str, ...]

    @property
    def hermitian(self) -> bool:
        return Trait.HERMITIAN in self.problem.A.traits

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.problem.A.range.size, self.problem.A.domain.size

    @property
    def square(self) -> bool:
        return isinstance(self.problem, LinearSystem)


def load_system(
    path: Path,
    key: str | None,
    rhs: str | None,
    rhs_key: str | None,
    seed: int,
    *,
    double: bool,
    limits: Limits | None = None,
) -> System:
    """Read the matrix, and find or make its right-hand side.

    Args:
        rhs: "ones", "random" (from `seed`), a file, or None for the one beside the matrix.
        double: cast single precision to double first. limits: on the memory of a file.
    Raises BadInput.
    """
    if rhs_key is not None and rhs in (None, "ones", "random"):
        raise BadInput("expected --rhs FILE with --rhs-key, got none: name the file")
    with refusals():
        file = read_system(path, key=key, limits=limits)
    matrix: Any = file.matrix
    rows, columns = matrix.shape
    notes = list(file.notes)
    b, told = _right_hand_side(file, rhs, rhs_key, seed, notes, limits)
    if len(b) != rows:
        raise BadInput(
            f"{rhs}: expected a right-hand side of {rows} entries for the matrix of {rows} x "
            f"{columns}, got {len(b)}: choose another"
        )
    if double:
        matrix = matrix.astype(np.result_type(matrix.dtype, np.float64))
    matrix, b = _one_dtype(matrix, b, notes)
    A = from_scipy(matrix)
    if rows == columns:
        problem: LinearSystem | LeastSquares = LinearSystem(A, b)
    else:
        problem = LeastSquares(A, b)
        notes.append("the matrix is not square: least squares, min ||A x - b||")
    nonzeros = int(np.count_nonzero(matrix)) if isinstance(matrix, np.ndarray) else matrix.nnz
    return System(file, problem, told, nonzeros, tuple(notes))


def _right_hand_side(
    file: SystemFile,
    rhs: str | None,
    rhs_key: str | None,
    seed: int,
    notes: list[str],
    limits: Limits | None,
) -> tuple[np.ndarray, str]:
    matrix: Any = file.matrix
    rows, dtype = matrix.shape[0], matrix.dtype
    if rhs is None and file.rhs is not None:
        return file.rhs, f"{file.rhs_name}, beside the matrix in the file"
    if rhs is None or rhs == "ones":
        why = "asked for" if rhs else "the file has none and --rhs was not given"
        return np.ones(rows, dtype), f"ones ({why})"
    if rhs == "random":
        rng = np.random.default_rng(seed)
        b = rng.standard_normal(rows)
        if dtype.kind == "c":
            b = (b + 1j * rng.standard_normal(rows)) / np.sqrt(2)
        return b.astype(dtype), f"random, standard normal with seed {seed}"
    with refusals(key="--rhs-key"):
        vector, name, told = read_vector(rhs, key=rhs_key, limits=limits)
    notes += told
    return vector, f"{name} in {rhs}" if name else rhs


def _one_dtype(matrix: Any, b: np.ndarray, notes: list[str]) -> tuple[Any, np.ndarray]:
    """Both in the matrix's dtype; a complex b makes a real matrix complex, in its precision."""
    dtype = matrix.dtype
    if b.dtype.kind == "c" and dtype.kind != "c":
        dtype = np.dtype(np.complex64 if dtype == np.float32 else np.complex128)
        notes.append(
            f"the right-hand side is complex: the matrix was cast from {matrix.dtype} to {dtype}"
        )
        matrix = matrix.astype(dtype)
    if b.dtype != dtype:
        with np.errstate(over="ignore"):
            cast = b.astype(dtype)
        if not np.isfinite(cast).all():
            raise BadInput(
                f"expected a right-hand side within the range of {dtype}, the matrix's, got "
                f"entries up to {abs(b).max():.3g}: scale it, or store the matrix in float64"
            )
        notes.append(f"the right-hand side was cast from {b.dtype} to {dtype}, the matrix's")
        b = cast
    return matrix, b
