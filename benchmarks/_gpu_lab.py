"""Where the parts of `gpu.py` run: arrays, timing and ceilings of a GPU, or a rehearsal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


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
    """Arrays on a GPU by CuPy, or NumPy's small ones for a rehearsal.

    Args:
        rehearsed: small sizes in host memory; figures mean nothing.
    """

    rehearsed: bool

    @cached_property
    def xp(self) -> Any:
        """CuPy, or NumPy."""
        if self.rehearsed:
            return np
        import cupy

        return cupy

    def size(self, full: int, small: int) -> int:
        """The size of a problem here."""
        return small if self.rehearsed else full

    def wait(self) -> None:
        """Until all that was asked of the device is done."""
        if not self.rehearsed:
            import torch

            self.xp.cuda.Device().synchronize()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object], repeats: int = 7, inside: int = 1) -> float:
        """The median of `repeats` runs after two more, each of `inside` calls: of one call."""
        found = []
        for turn in range(repeats + 2):
            self.wait()
            began = time.perf_counter()
            for _ in range(inside):
                run()
            self.wait()
            if turn >= 2:
                found.append((time.perf_counter() - began) / inside)
        return float(np.median(found))

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second that a copy reads and writes: the first ceiling."""
        source = self.xp.ones(self.size(1 << 29, 1 << 20), np.float64)
        target = self.xp.empty_like(source)

        def copy() -> None:
            target[...] = source

        return 2 * source.nbytes / self.seconds(copy)

    def field(self, shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
        """A smooth positive coefficient that spreads over three powers of ten."""
        xp, rng = self.xp, np.random.default_rng(seed)
        total: Any = xp.zeros(shape, dtype)
        axes = [xp.linspace(0, 1, n, dtype=dtype) for n in shape]
        for _ in range(6):
            wave: Any = xp.asarray(dtype(1.2 * rng.standard_normal()))
            for axis, x in enumerate(axes):
                column = (1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1)
                turn = rng.integers(1, 7), rng.uniform(0, 2 * np.pi)
                wave = wave * xp.cos(np.pi * turn[0] * x + turn[1]).reshape(column)
            total += wave
        return xp.exp(2 * total)

    def noise(self, shape: tuple[int, ...], seed: int = 1, dtype: Any = np.float64) -> Any:
        """Standard normal entries, drawn where the arrays are."""
        return self.xp.random.RandomState(seed).standard_normal(shape).astype(dtype)
