"""Stencils of −∇·(k∇u) for the CPU: one pass over k, x and y, no temporaries but a few rows.

Each face is visited once and its flux used on both sides: kept in a scalar along the row, in a
buffer across rows (and planes). A thread that starts inside the grid first recomputes the row (or
plane) before its own, so that the result does not depend on the number of threads, to the last bit.

Harmonic means need a division per face. The two or three faces of a cell share one: with s = a + b
and t = a + c, r = a / (s t) gives a/s = t r and a/t = s r. The products stay in range because k is
brought near 1 by `unit`, a power of two; `in_range` says how far k may then spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import prange

from .._memory import empty
from ._compile import borrow, jit, jit_inner, jit_parallel
from ._nodes import nodes_2d, nodes_2d_parallel, nodes_3d, nodes_3d_parallel
from ._sums import distance
from ._threads import in_threads, parallel_section, threads

__all__ = ["cells", "in_range", "nodes"]

# (max k / min k for which s t u does not overflow, (2 sqrt(contrast))^3; largest exponent of unit)
_LIMITS = {np.dtype(np.float32): (1e24, 120), np.dtype(np.float64): (1e200, 1000)}


@jit_inner
def _two_faces(a, b, c, one, zero):
    """ab/(a+b) and ac/(a+c); 0 where a solid cell (0) is met: s t is 0 only where a is."""
    s = a + b
    t = a + c
    st = s * t
    r = a / (one if st == zero else st)
    return b * (t * r), c * (s * r)


@jit_inner
def _three_faces(a, b, c, d, one, zero):
    """ab/(a+b), ac/(a+c) and ad/(a+d)."""
    s = a + b
    t = a + c
    u = a + d
    st = s * t
    stu = st * u
    r = a / (one if stu == zero else stu)
    ur = u * r
    return b * (t * ur), c * (s * ur), d * (st * r)


@jit_inner
def _cell_row_2d(k, x, kn, xn, wn, y, f, c, w, wraps):
    """One row of cells. (kn, xn, wn): the next row and the weight of the faces to it.

    `f` holds the fluxes from the row before and receives those to the next. c = (1, 0, unit), w the
    (inner, low, high) weights along the row, both in the dtype of x.
    """
    one, zero, unit = c[0], c[1], c[2]
    inner, low, high = w[0], w[1], w[2]
    last = k.size - 1
    a = unit * k[last]
    b = unit * k[0] if wraps else a
    beyond = x[0] if wraps else zero
    mean, mean_n = _two_faces(a, b, unit * kn[last], one, zero)
    g_last = high * mean * (x[last] - beyond)
    v_last = wn * mean_n * (x[last] - xn[last])
    before = g_last if wraps else -low * k[0] * x[0]
    for j in range(last):
        mean, mean_n = _two_faces(unit * k[j], unit * k[j + 1], unit * kn[j], one, zero)
        g = inner * mean * (x[j] - x[j + 1])
        v = wn * mean_n * (x[j] - xn[j])
        y[j] = (g - before) + (v - f[j])
        before = g
        f[j] = v
    y[last] = (g_last - before) + (v_last - f[last])
    f[last] = v_last


@jit_inner
def _cell_row_3d(k, x, kn, xn, wn, ku, xu, wu, y, f, e, c, w, wraps):
    """`_cell_row_2d` with the row (ku, xu, wu) of the next plane, whose fluxes are in `e`."""
    one, zero, unit = c[0], c[1], c[2]
    inner, low, high = w[0], w[1], w[2]
    last = k.size - 1
    a = unit * k[last]
    b = unit * k[0] if wraps else a
    beyond = x[0] if wraps else zero
    mean, mean_n, mean_u = _three_faces(a, b, unit * kn[last], unit * ku[last], one, zero)
    g_last = high * mean * (x[last] - beyond)
    v_last = wn * mean_n * (x[last] - xn[last])
    u_last = wu * mean_u * (x[last] - xu[last])
    before = g_last if wraps else -low * k[0] * x[0]
    for j in range(last):
        mean, mean_n, mean_u = _three_faces(
            unit * k[j], unit * k[j + 1], unit * kn[j], unit * ku[j], one, zero
        )
        g = inner * mean * (x[j] - x[j + 1])
        v = wn * mean_n * (x[j] - xn[j])
        u = wu * mean_u * (x[j] - xu[j])
        y[j] = (g - before) + (v - f[j]) + (u - e[j])
        before = g
        f[j] = v
        e[j] = u
    y[last] = (g_last - before) + (v_last - f[last]) + (u_last - e[last])
    f[last] = v_last
    e[last] = u_last


@jit_inner
def _pin(k, x, y, pin, zero):
    """Rows of solid cells: pin * x."""
    for j in range(k.size):
        if k[j] == zero:
            y[j] = pin * x[j]


@jit_inner
def _first_fluxes(k, x, low, f):
    """Fluxes into the first row from the boundary before it."""
    for j in range(k.size):
        f[j] = -low * k[j] * x[j]


@jit
def _cells_2d(start, stop, member, k, x, y, c, w, pins, wraps, b, sums):
    """Rows start..stop, counted through the whole batch.

    If `sums` has entries, y is not written: sums[r] is the part of ‖b − A x‖² in row r.
    """
    lines = np.zeros((3, x.shape[2]), y.dtype)
    out = np.empty((1, 1, x.shape[2]), y.dtype) if sums.size else y
    _rows_of_cells(start, stop, member, k, x, out, lines, c, w, pins, wraps, b, sums)


@jit_inner
def _rows_of_cells(start, stop, member, k, x, y, lines, c, w, pins, wraps, b, sums):
    k, x, y, lines, w, b = borrow(k), borrow(x), borrow(y), borrow(lines), borrow(w), borrow(b)
    f, ghost, scratch = lines[0], lines[1], lines[2]
    n0 = x.shape[1]
    zero, inner, low, high = c[1], w[0, 0], w[0, 1], w[0, 2]
    for r in range(start, stop):
        m, i = r // n0, r % n0
        km, xm, pin = k[member[m]], x[m], pins[member[m]]
        out = y[0, 0] if sums.size else y[m, i]
        if i == 0 and not wraps[0]:
            _first_fluxes(km[0], xm[0], low, f)
        elif i == 0 or r == start:
            h = i - 1 if i > 0 else n0 - 1
            _cell_row_2d(km[h], xm[h], km[i], xm[i], inner, scratch, f, c, w[1], wraps[1])
        if i + 1 < n0:
            kn, xn, wn = km[i + 1], xm[i + 1], inner
        elif wraps[0]:
            kn, xn, wn = km[0], xm[0], inner
        else:
            kn, xn, wn = km[i], ghost, high
        _cell_row_2d(km[i], xm[i], kn, xn, wn, out, f, c, w[1], wraps[1])
        if pin > zero:
            _pin(km[i], xm[i], out, pin, zero)
        if sums.size:
            sums[r] = distance(b[m, i], out, zero)


@jit_inner
def _cell_plane(k, x, ku, xu, wu, y, e, ghost, lines, c, w, wraps):
    """One plane of cells. (ku, xu, wu): the next plane; `e`: fluxes from plane to plane."""
    n1 = x.shape[0]
    inner, low, high = w[1, 0], w[1, 1], w[1, 2]
    f, d = lines[0], lines[1]
    if wraps[1]:  # the last row first, for its fluxes to row 0; y[h] is written again below
        h = n1 - 1
        _cell_row_3d(k[h], x[h], k[0], x[0], inner, ku[h], xu[h], wu, y[h], f, d, c, w[2], wraps[2])
    else:
        _first_fluxes(k[0], x[0], low, f)
    for j in range(n1):
        if j + 1 < n1:
            kn, xn, wn = k[j + 1], x[j + 1], inner
        elif wraps[1]:
            kn, xn, wn = k[0], x[0], inner
        else:
            kn, xn, wn = k[j], ghost[j], high
        _cell_row_3d(k[j], x[j], kn, xn, wn, ku[j], xu[j], wu, y[j], f, e[j], c, w[2], wraps[2])


@jit
def _cells_3d(start, stop, member, k, x, y, c, w, pins, wraps, b, sums):
    """Planes start..stop, as `_cells_2d` does rows."""
    planes, lines = np.zeros((3, *x.shape[2:]), y.dtype), np.zeros((2, x.shape[3]), y.dtype)
    out = np.empty((1, 1, *x.shape[2:]), y.dtype) if sums.size else y
    _planes_of_cells(start, stop, member, k, x, out, planes, lines, c, w, pins, wraps, b, sums)


@jit_inner
def _planes_of_cells(start, stop, member, k, x, y, planes, lines, c, w, pins, wraps, b, sums):
    k, x, y, planes, lines = borrow(k), borrow(x), borrow(y), borrow(planes), borrow(lines)
    w, b = borrow(w), borrow(b)
    e, ghost, scratch = planes[0], planes[1], planes[2]
    n0, n1 = x.shape[1], x.shape[2]
    zero, inner, low, high = c[1], w[0, 0], w[0, 1], w[0, 2]
    for r in range(start, stop):
        m, i = r // n0, r % n0
        km, xm, pin = k[member[m]], x[m], pins[member[m]]
        out = y[0, 0] if sums.size else y[m, i]
        if i == 0 and not wraps[0]:
            for j in range(n1):
                _first_fluxes(km[0, j], xm[0, j], low, e[j])
        elif i == 0 or r == start:
            h = i - 1 if i > 0 else n0 - 1
            _cell_plane(km[h], xm[h], km[i], xm[i], inner, scratch, e, ghost, lines, c, w, wraps)
        if i + 1 < n0:
            ku, xu, wu = km[i + 1], xm[i + 1], inner
        elif wraps[0]:
            ku, xu, wu = km[0], xm[0], inner
        else:
            ku, xu, wu = km[i], ghost, high
        _cell_plane(km[i], xm[i], ku, xu, wu, out, e, ghost, lines, c, w, wraps)
        if pin > zero:
            for j in range(n1):
                _pin(km[i, j], xm[i, j], out[j], pin, zero)
        if sums.size:
            total = zero
            for j in range(n1):
                total += distance(b[m, i, j], out[j], zero)
            sums[r] = total


@jit_parallel
def _cells_2d_parallel(chunks, rows, member, k, x, y, c, w, pins, wraps, b, sums):
    for t in prange(chunks):
        first, last = t * rows // chunks, (t + 1) * rows // chunks
        _cells_2d(first, last, member, k, x, y, c, w, pins, wraps, b, sums)


@jit_parallel
def _cells_3d_parallel(chunks, rows, member, k, x, y, c, w, pins, wraps, b, sums):
    for t in prange(chunks):
        first, last = t * rows // chunks, (t + 1) * rows // chunks
        _cells_3d(first, last, member, k, x, y, c, w, pins, wraps, b, sums)


def in_range(dtype: np.dtype, exponent: int, least: float, most: float) -> bool:
    """Whether `cells` can work on k between `least` and `most` with unit = 2**exponent."""
    contrast, largest = _LIMITS[dtype]
    return abs(exponent) <= largest and most / contrast <= least


def cells(
    k: np.ndarray,
    x: np.ndarray,
    weights: np.ndarray,
    *,
    unit: float,
    pins: np.ndarray,
    wraps: tuple[bool, ...],
    out: np.ndarray | None = None,
    against: np.ndarray | None = None,
) -> np.ndarray:
    """The cell-centred stencil with harmonic means, (*batch, *shape) like x.

    Args:
        k: (*k_batch, *shape), 0 in solid cells; its batch broadcasts to that of x.
        x: (*batch, *shape).
        weights: (axes, 3), for each axis what multiplies: ab / (a + b) of unit · k inside the
            grid; k at the low end; unit · k / 2 at the high end, or as inside if the axis wraps.
        unit: power of two that brings k near 1.
        pins: diagonal of solid cells for each member of k (0: there are none).
        wraps: per axis, whether it is periodic.
        out: where to write, C-contiguous and of x's shape and dtype; a new array by default.
        against: b, shaped as x; then nothing is written, and the result is ‖b − A x‖², (*batch).
    """
    dtype = x.dtype
    c = np.array([1, 0, unit], dtype)
    w = weights.astype(dtype, copy=False)
    pins = np.asarray(pins, dtype).reshape(-1)
    two = len(weights) == 2
    serial, parallel = (_cells_2d, _cells_2d_parallel) if two else (_cells_3d, _cells_3d_parallel)
    return _launch(serial, parallel, k, x, out, len(weights), (c, w, pins, wraps), against)


def nodes(
    k: np.ndarray,
    x: np.ndarray,
    weights: Sequence[float],
    out: np.ndarray | None = None,
    against: np.ndarray | None = None,
) -> np.ndarray:
    """The nodal stencil with arithmetic means, (*batch, *shape) like x.

    Args:
        k: (*k_batch, *cells) with one cell more than nodes along each axis.
        x: (*batch, *shape).
        weights: per axis, what multiplies the sum of the cells that touch an edge.
        out, against: as in `cells`.
    """
    w = np.array(weights, x.dtype)
    two = len(weights) == 2
    serial, parallel = (nodes_2d, nodes_2d_parallel) if two else (nodes_3d, nodes_3d_parallel)
    return _launch(serial, parallel, k, x, out, len(weights), (w,), against)


def _launch(
    serial: Callable[..., None],
    parallel: Callable[..., None],
    k: np.ndarray,
    x: np.ndarray,
    out: np.ndarray | None,
    ndim: int,
    rest: tuple[Any, ...],
    against: np.ndarray | None,
) -> np.ndarray:
    batch, k_batch = x.shape[: x.ndim - ndim], k.shape[: k.ndim - ndim]
    if not x.size:
        return np.empty(x.shape, x.dtype) if against is None else np.zeros(batch)
    flat_x = _constant(x, ndim)
    flat_k = _constant(k, ndim)
    member = np.zeros(flat_x.shape[0], np.intp)
    if k_batch:
        order = np.arange(flat_k.shape[0]).reshape(k_batch)
        member = np.array(np.broadcast_to(order, batch)).reshape(-1)
    rows = flat_x.shape[0] * flat_x.shape[1]
    if against is not None:
        sums = np.empty(rows, x.dtype)
        none = np.empty((0,) * flat_x.ndim, x.dtype)
        args = (member, flat_k, flat_x, none, *rest, _constant(against, ndim), sums)
        in_threads(serial, rows, x.size, args)
        return sums.reshape(*batch, -1).sum(axis=-1)
    y = empty(x.shape, x.dtype) if out is None else out
    args = (member, flat_k, flat_x, y.reshape(flat_x.shape), *rest, flat_x, np.empty(0, x.dtype))
    chunks = min(threads(x.size), rows)
    if chunks == 1:
        serial(0, rows, *args)
    else:
        with parallel_section():
            parallel(chunks, rows, *args)
    return y


def _constant(a: np.ndarray, ndim: int) -> np.ndarray:
    """`a` (members, *shape), contiguous and read-only: one signature, whoever owns the memory."""
    view = np.ascontiguousarray(a).reshape(-1, *a.shape[a.ndim - ndim :])
    view = view.view()
    view.flags.writeable = False
    return view
