"""Plans of finufft and cufinufft, kept between transforms."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .._streams import stream_of
from ..arrays import Array, dtype_of, host_view, namespace, native_dtype, to_numpy

__all__ = ["Plans"]

# Positions rounded to single precision cost this relative error per pixel of the longest axis.
_SINGLE_FLOOR = 5e-8


class Plans:
    """What transforms between one grid and one set of samples need; safe in several threads.

    A plan has its own workspace, so that each thread takes one and gives it back. It runs on one
    thread: the sums of several threads' pieces depend on how many they are, and on who is first.

    Args:
        coords: (*samples, d), cycles per pixel. shape: of the grid.
        dtype: of the vectors. rtol: relative error asked for.
    """

    def __init__(self, coords: Array, shape: tuple[int, ...], dtype: np.dtype, rtol: float) -> None:
        self.coords, self.shape, self.dtype, self.rtol = coords, shape, dtype, rtol
        # Single precision serves where its rounding, which grows with the grid, stays below rtol.
        single = dtype == np.complex64 and rtol >= _SINGLE_FLOOR * max(shape)
        self.precision = np.dtype(np.complex64 if single else np.complex128)
        self._free: list[Any] = []
        self._lock = threading.Lock()
        self._on_device: dict[tuple[Any, ...], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies plan anew: a plan is memory of the library that made it."""
        return type(self), (self.coords, self.shape, self.dtype, self.rtol)

    def transform(self, first: int, last: int, x: np.ndarray, y: np.ndarray) -> None:
        """y[i] = the samples of the grids x[i], for i from first to last - 1."""
        plan = self._take()
        for i in range(first, last):
            y[i] = plan.execute(np.ascontiguousarray(x[i], self.precision))
        self._free.append(plan)

    def adjoint(self, first: int, last: int, y: np.ndarray, x: np.ndarray) -> None:
        """x[i] = the grid that the adjoint makes of the samples y[i]."""
        plan = self._take()
        for i in range(first, last):
            x[i] = plan.execute_adjoint(np.ascontiguousarray(y[i], self.precision))
        self._free.append(plan)

    def on_device(self, x: Array, *, adjoint: bool) -> Array:
        """The transforms of x (count, ...) by cufinufft, for CuPy and torch on a GPU."""
        xp, count = namespace(x), x.shape[0]
        kind = 1 if adjoint else 2
        with self._lock:
            wanted = kind, count, stream_of(x)
            if (plan := self._on_device.get(wanted)) is None:
                plan = self._plan_on_device(*wanted)
                kept = {key: old for key, old in self._on_device.items() if key[0] != kind}
                self._on_device = kept | {wanted: plan}  # one a kind: they hold memory
            source = xp.astype(x, native_dtype(xp, self.precision))
            return plan.execute(source)

    def _take(self) -> Any:
        try:
            return self._free.pop()
        except IndexError:
            return self._plan()

    def _plan(self) -> Any:
        try:
            import finufft
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "expected finufft for a NUFFT, got no such module: install sciml-solvers[mri], or "
                "use GriddedNUFFT",
                name="finufft",
            ) from error
        plan = finufft.Plan(
            2,
            self.shape,
            eps=self.rtol,
            isign=-1,
            dtype=self.precision.name,
            nthreads=1,
            upsampfac=2.0,  # 1.25 loses digits in single precision
        )
        plan.setpts(*self._radians(to_numpy(self.coords)))
        return plan

    def _plan_on_device(self, kind: int, count: int, place: tuple[int, int] | None) -> Any:
        import cufinufft

        # on the stream that makes the arrays: the default one does not wait for others
        own = {} if place is None else {"gpu_device_id": place[0], "gpu_stream": place[1]}
        plan = cufinufft.Plan(
            kind,
            self.shape,
            n_trans=count,
            eps=self.rtol,
            isign=1 if kind == 1 else -1,
            dtype=self.precision.name,
            **own,
        )
        plan.setpts(*self._radians(self.coords))
        return plan

    def _radians(self, coords: Array) -> list[Array]:
        """2 pi times the coordinates, one contiguous array an axis, in the plan's precision."""
        xp = namespace(coords)
        real = np.dtype(np.float32 if self.precision == np.complex64 else np.float64)
        wide = xp.reshape(xp.astype(coords, xp.float64), (-1, coords.shape[-1])) * (2 * np.pi)
        narrow = xp.astype(wide, native_dtype(xp, real))
        return [xp.asarray(narrow[:, a], copy=True) for a in range(narrow.shape[-1])]


def same_memory(a: Array, b: Array) -> bool:
    """Whether two arrays of coordinates are one: torch's detach makes another object of it."""
    if a is b:
        return True
    if dtype_of(a) != dtype_of(b) or tuple(a.shape) != tuple(b.shape):
        return False
    first, second = (host_view(x.detach() if hasattr(x, "detach") else x) for x in (a, b))
    if first is None or second is None:
        return False
    return first.ctypes.data == second.ctypes.data and first.strides == second.strides
