"""Where the parts of `gpu.py` run: arrays, timing and ceilings of a GPU, or a rehearsal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from sciml.arrays import native_dtype, to_numpy

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        part, what: in words. value: in `unit`. target: in words; met: None where there is none.
    """

    part: str
    what: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None

    def cells(self) -> dict[str, str]:
        """As a row of a table."""
        met = "" if self.met is None else "yes" if self.met else "NO"
        shown = {"part": self.part, "what": self.what, "found": f"{self.value:.4g} {self.unit}"}
        return {**shown, "target": self.target, "met": met}


@dataclass(frozen=True)
class Lab:
    """Arrays on a GPU by CuPy, or small ones for a rehearsal: tensors of torch in host memory that
    the package takes for CUDA ones, their kernels run by the tests' shim.

    Args:
        rehearsed: small sizes in host memory; figures mean nothing.
    """

    rehearsed: bool

    @cached_property
    def xp(self) -> ModuleType:
        """The array library that tensors go through here, by its array-API namespace."""
        if self.rehearsed:
            from array_api_compat import torch

            return torch
        from array_api_compat import cupy

        return cupy

    def rehearsal(self) -> contextlib.AbstractContextManager[object]:
        """Within it CPU tensors pass for CUDA ones, in a rehearsal."""
        if not self.rehearsed:
            return contextlib.nullcontext()
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from tests.cuda._rehearsal import rehearsed
        from tests.cuda._shim import COMPILER

        if COMPILER is None:
            raise SystemExit("expected g++, which runs the kernels of a rehearsal, got none")
        return rehearsed()

    def size(self, full: int, small: int) -> int:
        """The size of a problem here."""
        return small if self.rehearsed else full

    def put(self, host: np.ndarray) -> Any:
        """A copy on the device."""
        return self.xp.asarray(np.array(host))

    def moved(self, A: Any) -> Any:
        """An operator whose arrays are on the device."""
        return A.to(xp=self.xp)

    def wait(self) -> None:
        """Until all that was asked of the device is done."""
        if not self.rehearsed:
            import cupy
            import torch

            cupy.cuda.Device().synchronize()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object], repeats: int = 7, inside: int = 1) -> float:
        """The median of `repeats` runs after two more, each of `inside` calls: of one call."""
        found, unseen = [], 0 if self.rehearsed else 2
        for turn in range(1 if self.rehearsed else repeats + unseen):
            self.wait()
            began = time.perf_counter()
            for _ in range(inside):
                run()
            self.wait()
            if turn >= unseen:
                found.append((time.perf_counter() - began) / inside)
        return float(np.median(found))

    def timed(self, run: Callable[[], T]) -> tuple[T, float]:
        """(what a second run gives, its seconds): the first one compiles and fills pools."""
        if not self.rehearsed:
            run()
        self.wait()
        began = time.perf_counter()
        found = run()
        self.wait()
        return found, time.perf_counter() - began

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second that a copy reads and writes: the first ceiling."""
        source = self.xp.ones(self.size(1 << 29, 1 << 20), dtype=self.xp.float64)
        target = self.xp.empty_like(source)

        def copy() -> None:
            target[...] = source

        return 2 * source.nbytes / self.seconds(copy)

    def flops(self, dtype: Any) -> float:
        """Operations a second of a product of large matrices: the second ceiling."""
        n = self.size(8192, 64)
        a, b = (self.noise((n, n), seed, dtype) for seed in (1, 2))
        return 2 * n**3 / self.seconds(lambda: a @ b)

    def field(self, shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
        """A smooth positive coefficient that spreads over three powers of ten."""
        xp, rng = self.xp, np.random.default_rng(seed)
        own = native_dtype(xp, np.dtype(dtype))
        total: Any = xp.zeros(shape, dtype=own)
        axes = [xp.linspace(0, 1, n, dtype=own) for n in shape]
        for _ in range(6):
            wave: Any = float(1.2 * rng.standard_normal())
            for axis, x in enumerate(axes):
                column = (1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1)
                turn = int(rng.integers(1, 7)), float(rng.uniform(0, 2 * np.pi))
                wave = wave * xp.reshape(xp.cos(np.pi * turn[0] * x + turn[1]), column)
            total += wave
        return xp.exp(2 * total)

    def noise(self, shape: tuple[int, ...], seed: int = 1, dtype: Any = np.float64) -> Any:
        """Standard normal entries, drawn where the arrays are."""
        if self.rehearsed:
            return self.put(np.random.default_rng(seed).standard_normal(shape).astype(dtype))
        import cupy

        return cupy.random.RandomState(seed).standard_normal(shape).astype(dtype)

    def on_the_host(self, A: Any, b: Any) -> tuple[Any, np.ndarray]:
        """A system's operator and right-hand side in NumPy's arrays."""
        return A.to(xp=np), np.array(to_numpy(b))
