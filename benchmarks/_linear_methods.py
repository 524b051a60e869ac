"""What a worker runs: the forms that rivals and our own methods share.

Runs in any interpreter that has NumPy and SciPy: nothing of sciml is imported.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp

Arrays = Mapping[str, np.ndarray]


class Ranks(NamedTuple):
    """Which of how many processes this is, for methods that run on several."""

    rank: int
    size: int

    def share(self, n: int) -> slice:
        """This process's part of n things."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)


class Target(NamedTuple):
    """A right-hand side by name, and the relative tolerance handed to the method."""

    rhs: str
    rtol: float


class Run(NamedTuple):
    """One set-up and solve in this process.

    Attributes:
        setup, solve: seconds. cpu: processor seconds of both, all threads.
        iterations: None for a direct method. x: this process's part of it.
    """

    setup: float
    solve: float
    cpu: float
    iterations: int | None
    x: np.ndarray


class Clock:
    """Started when made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds and processor seconds since the start."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


class Entry(NamedTuple):
    """A line of a table of methods.

    Attributes:
        make: the method, built in the worker.
        ranks: processes it runs on, with one thread each if there is more than one.
        mpi: they are MPI ranks.
        most: unknowns up to which it is run, in two and in three dimensions.
        families: kinds of coefficient that it is for; None is all.
        packages: distributions whose versions matter.
    """

    make: Callable[[], Method]
    ranks: int = 1
    mpi: bool = False
    most: tuple[int, int] = (2**24, 2**24)
    packages: tuple[str, ...] = ()
    families: tuple[str, ...] | None = None

    def takes(self, family: str, shape: Sequence[int]) -> bool:
        """Whether it is run on that kind of coefficient on a grid of that shape."""
        fits = self.families is None or family in self.families
        return fits and int(np.prod(shape)) <= self.most[len(shape) - 2]


class Method(ABC):
    """One method in one process."""

    package: ClassVar[str | None] = None  # the import that it cannot do without

    def begin(self, ranks: Ranks) -> None:
        """Raise ImportError where the method cannot run."""
        if self.package is not None:
            importlib.import_module(self.package)

    @abstractmethod
    def load(self, arrays: Arrays, ranks: Ranks) -> None:
        """Take a system off the clock.

        Args:
            arrays: data, indices, indptr of the CSR matrix; k; an entry "rhs NAME" each.
        """

    @abstractmethod
    def run(self, targets: Sequence[Target]) -> list[Run]:
        """Set-up and solve for each target."""

    def drop(self) -> None:
        """Free what the last set-up left."""
        self.held: Any = None

    def batch(self, arrays: Arrays, rtol: float, ranks: Ranks) -> tuple[float, np.ndarray]:
        """(seconds, x) of this process's share of systems with one pattern.

        Args:
            arrays: data (B, nnz), indices, indptr; k (B, ...); b (B, n).
        """
        raise NotImplementedError(f"{type(self).__name__} takes no batches")


class Rival(Method):
    """A method that is set up once for all right-hand sides and tolerances."""

    def load(self, arrays: Arrays, ranks: Ranks) -> None:
        n = arrays["indptr"].size - 1
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        self.drop()
        self.ndim = arrays["k"].ndim
        self.rhs = {name[4:]: b for name, b in arrays.items() if name.startswith("rhs ")}
        self.take(sp.csr_matrix(parts, shape=(n, n)))

    def run(self, targets: Sequence[Target]) -> list[Run]:
        self.drop()
        self.wait()
        clock = Clock()
        self.setup()
        setup = clock.read()
        found = []
        for name, rtol in targets:
            b = self.rhs[name]
            self.wait()
            clock = Clock()
            x, iterations = self.solve(b, rtol)
            solve = clock.read()
            found.append(Run(setup[0], solve[0], setup[1] + solve[1], iterations, x))
        return found

    def batch(self, arrays: Arrays, rtol: float, ranks: Ranks) -> tuple[float, np.ndarray]:
        self.drop()
        total, own = 0.0, ranks.share(len(arrays["b"]))
        n = arrays["indptr"].size - 1
        self.ndim = arrays["k"].ndim - 1
        xs = []
        for data, b in zip(arrays["data"][own], arrays["b"][own], strict=True):
            self.take(sp.csr_matrix((data, arrays["indices"], arrays["indptr"]), shape=(n, n)))
            began = time.perf_counter()
            self.setup()
            xs.append(self.solve(b, rtol)[0])
            total += time.perf_counter() - began
        self.drop()
        return total, np.array(xs)

    def take(self, matrix: sp.csr_matrix) -> None:
        """Bring the matrix into the form that set-up takes, off the clock."""
        self.matrix = matrix

    def wait(self) -> None:
        """Meet the other processes."""

    @abstractmethod
    def setup(self) -> None:
        """What depends on the matrix alone."""

    @abstractmethod
    def solve(self, b: np.ndarray, rtol: float) -> tuple[np.ndarray, int | None]:
        """(x, iterations) with ‖b - A x‖ <= rtol ‖b‖."""


class Factoring(Rival):
    """Factor, solve, and refine at most three times until the residual is below the tolerance."""

    def take(self, matrix: sp.csr_matrix) -> None:
        # A is symmetric: its CSR arrays are those of its CSC form
        self.matrix = matrix
        parts = (matrix.data, matrix.indices, matrix.indptr)
        self.columns = sp.csc_matrix(parts, shape=matrix.shape)

    @abstractmethod
    def act(self, r: np.ndarray) -> np.ndarray:
        """The factors' solution for r."""

    def solve(self, b: np.ndarray, rtol: float) -> tuple[np.ndarray, int | None]:
        x, goal = self.act(b), rtol * _norm(b)
        for _ in range(3):
            r = b - self.matrix @ x
            if _norm(r) <= goal:
                break
            x = x + self.act(r)
        return x, None


def _norm(x: np.ndarray) -> float:
    """Without BLAS: the idle threads of NumPy's own would be in the way of a rival's."""
    return float(np.sqrt(np.sum(np.square(x))))
