"""Ruge and Stüben's coarsening of a matrix (Algebraic Multigrid, in: Multigrid Methods, SIAM 1987).

Matrices come as (indptr, indices, data) of a CSR form, indices of int32, data real. Every row is
worked out alone or in a fixed order, so no result depends on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ._compile import jit, jit_inner, jit_parallel
from ._threads import launch

__all__ = ["interpolation", "splitting", "strong_couplings"]

_FINE, _COARSE, _OPEN, _CHOSEN = 0, 1, 2, 3
# Times the coarse unknowns of the first pass that the second one may leave, but on small levels.
_GROWTH, _SMALL = 2, 1_000


def strong_couplings(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, theta: float
) -> tuple[np.ndarray, np.ndarray]:
    """(indptr, indices) of the strong couplings: -a_ij >= theta max_k -a_ik, the diagonal left out.

    The diagonal must be positive; positive couplings are never strong (Stüben 2001, section 4.1).
    """
    n = indptr.size - 1
    cut, ends = np.empty(n, data.dtype), np.zeros(n + 1, np.int32)
    args = (indptr, data, data.dtype.type(theta), cut, ends)
    launch(_find_strong, _find_strong_parallel, indices.size, args)
    np.cumsum(ends, out=ends)
    strong = np.empty(ends[-1], np.int32)
    args = (indptr, indices, data, cut, ends, strong)
    launch(_list_strong, _list_strong_parallel, indices.size, args)
    return ends, strong


def splitting(indptr: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """int8 (n,): 1 for the coarse unknowns, 0 for the fine ones, given the strong couplings.

    The first pass picks unknowns that many others depend on, the second makes coarse what it must
    so that fine unknowns which depend on each other share a coarse one. High contrast in 2-D needs
    it. Where it more than doubles the coarse unknowns, as in 3-D, it costs more than it saves.
    """
    first = _first_pass(indptr, indices, *_transposed_pattern(indptr, indices, indptr.size - 1))
    second = first.copy()
    _second_pass(indptr, indices, second)
    kept = first.size <= _SMALL or second.sum(dtype=int) <= _GROWTH * first.sum(dtype=int)
    return second if kept else first


def interpolation(
    matrix: tuple[np.ndarray, np.ndarray, np.ndarray],
    strong: tuple[np.ndarray, np.ndarray],
    kind: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(indptr, indices, data) of direct interpolation (Stüben 2001, A review of AMG, eq. 4.8).

    A fine unknown takes its strong coarse neighbours with the weights -f a_ij / a_ii, where f makes
    them stand for all negative couplings; positive couplings are added to a_ii.
    """
    number = np.cumsum(kind, dtype=np.int32) - np.int32(1)
    ends = np.zeros(kind.size + 1, np.int32)
    _count_weights(*strong, kind, ends)
    np.cumsum(ends, out=ends)
    columns, weights = np.empty(ends[-1], np.int32), np.empty(ends[-1], matrix[2].dtype)
    args = (*matrix, *strong, kind, number, ends, columns, weights)
    launch(_weights, _weights_parallel, matrix[1].size, args)
    return ends, columns, weights


# -- strong couplings --------------------------------------------------------------------------


@jit
def _find_strong(t: int, pieces: int, indptr: Any, data: Any, theta: Any, cut: Any,
                 ends: Any) -> None:  # fmt: skip
    n = cut.size
    for i in range(t * n // pieces, (t + 1) * n // pieces):
        lowest = data.dtype.type(0)
        for k in range(indptr[i], indptr[i + 1]):
            lowest = min(lowest, data[k])
        # The diagonal is positive; a row without negative couplings has no strong ones.
        cut[i] = theta * lowest if lowest < 0 else -np.inf
        found = 0
        for k in range(indptr[i], indptr[i + 1]):
            found += data[k] <= cut[i]
        ends[i + 1] = found


@jit_parallel
def _find_strong_parallel(pieces: int, indptr: Any, data: Any, theta: Any, cut: Any,
                          ends: Any) -> None:  # fmt: skip
    for t in prange(pieces):
        _find_strong(t, pieces, indptr, data, theta, cut, ends)


@jit
def _list_strong(t: int, pieces: int, indptr: Any, indices: Any, data: Any, cut: Any, ends: Any,
                 strong: Any) -> None:  # fmt: skip
    n = cut.size
    for i in range(t * n // pieces, (t + 1) * n // pieces):
        at = ends[i]
        for k in range(indptr[i], indptr[i + 1]):
            if data[k] <= cut[i]:
                strong[at] = indices[k]
                at += 1


@jit_parallel
def _list_strong_parallel(pieces: int, indptr: Any, indices: Any, data: Any, cut: Any, ends: Any,
                          strong: Any) -> None:  # fmt: skip
    for t in prange(pieces):
        _list_strong(t, pieces, indptr, indices, data, cut, ends, strong)


@jit
def _transposed_pattern(indptr: Any, indices: Any, columns: int) -> Any:
    ends, rows = np.zeros(columns + 1, np.int32), np.empty(indices.size, np.int32)
    for k in range(indices.size):
        ends[indices[k] + 1] += 1
    for j in range(columns):
        ends[j + 1] += ends[j]
    at = ends[:-1].copy()
    for i in range(indptr.size - 1):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            rows[at[j]] = i
            at[j] += 1
    return ends, rows


# -- the splitting -----------------------------------------------------------------------------


@jit
def _first_pass(indptr: Any, indices: Any, t_indptr: Any, t_indices: Any) -> Any:
    # `nodes` lists the unknowns by weight, the number of open ones that depend on them and twice
    # the fine ones: those of weight w are nodes[start[w] : start[w] + count[w]]. A change of weight
    # by one is a swap with the end of the interval.
    n = indptr.size - 1
    kind, weight = np.full(n, _OPEN, np.int8), np.empty(n, np.int32)
    for i in range(n):
        weight[i] = t_indptr[i + 1] - t_indptr[i]
        if weight[i] == 0:
            kind[i] = _FINE
    room = 2
    for i in range(n):
        room = max(room, 2 * weight[i] + 2)
    start, count = np.zeros(room + 1, np.int32), np.zeros(room + 1, np.int32)
    for i in range(n):
        count[weight[i]] += 1
    for w in range(room):
        start[w + 1] = start[w] + count[w]
    count[:] = 0
    nodes, place = np.empty(n, np.int32), np.empty(n, np.int32)
    for i in range(n):
        place[i] = start[weight[i]] + count[weight[i]]
        nodes[place[i]] = i
        count[weight[i]] += 1
    for top in range(n - 1, -1, -1):
        i = nodes[top]
        count[weight[i]] -= 1
        if weight[i] == 0:
            break
        if kind[i] != _OPEN:
            continue
        kind[i] = _COARSE
        for x in range(t_indptr[i], t_indptr[i + 1]):
            if kind[t_indices[x]] == _OPEN:
                kind[t_indices[x]] = _CHOSEN
        for x in range(t_indptr[i], t_indptr[i + 1]):
            j = t_indices[x]
            if kind[j] != _CHOSEN:
                continue
            kind[j] = _FINE
            for y in range(indptr[j], indptr[j + 1]):
                k = indices[y]
                if kind[k] == _OPEN:
                    _swap(k, start[weight[k]] + count[weight[k]] - 1, nodes, place)
                    count[weight[k]] -= 1
                    weight[k] += 1
                    count[weight[k]] += 1
                    start[weight[k]] = place[k]
        for x in range(indptr[i], indptr[i + 1]):
            j = indices[x]
            if kind[j] == _OPEN and weight[j] > 0:
                _swap(j, start[weight[j]], nodes, place)
                count[weight[j]] -= 1
                start[weight[j]] += 1
                weight[j] -= 1
                count[weight[j]] += 1
                start[weight[j]] = place[j] - count[weight[j]] + 1
    for i in range(n):
        if kind[i] != _COARSE:
            kind[i] = _FINE
    return kind


@jit_inner
def _swap(i: Any, to: Any, nodes: Any, place: Any) -> None:
    other, at = nodes[to], place[i]
    nodes[to], nodes[at] = i, other
    place[i], place[other] = to, at


@jit
def _second_pass(indptr: Any, indices: Any, kind: Any) -> None:
    # Where a strong fine neighbour j of i shares no coarse one with it, j becomes coarse; if that
    # is not enough for the other neighbours, i does instead (Briggs, Henson, McCormick 2000, ch. 8)
    seen = np.full(kind.size, -1, np.int32)
    for i in range(kind.size):
        if kind[i] == _COARSE:
            continue
        for x in range(indptr[i], indptr[i + 1]):
            if kind[indices[x]] == _COARSE:
                seen[indices[x]] = i
        tried = -1
        for x in range(indptr[i], indptr[i + 1]):
            j = indices[x]
            if kind[j] == _COARSE:
                continue
            shared = False
            for y in range(indptr[j], indptr[j + 1]):
                if seen[indices[y]] == i:
                    shared = True
                    break
            if shared:
                continue
            if tried >= 0:
                kind[tried], kind[i] = _FINE, _COARSE
                break
            tried = j
            kind[j] = _COARSE
            seen[j] = i


# -- interpolation -----------------------------------------------------------------------------


@jit
def _count_weights(indptr: Any, indices: Any, kind: Any, ends: Any) -> None:
    for i in range(kind.size):
        if kind[i] == _COARSE:
            ends[i + 1] = 1
            continue
        for k in range(indptr[i], indptr[i + 1]):
            ends[i + 1] += kind[indices[k]] == _COARSE


@jit
def _weights(t: int, pieces: int, indptr: Any, indices: Any, data: Any, s_indptr: Any,
             s_indices: Any, kind: Any, number: Any, ends: Any, columns: Any,
             weights: Any) -> None:  # fmt: skip
    n = kind.size
    chosen = np.full(n, -1, np.int32)
    for i in range(t * n // pieces, (t + 1) * n // pieces):
        at = ends[i]
        if kind[i] == _COARSE:
            columns[at], weights[at] = number[i], 1
            continue
        for k in range(s_indptr[i], s_indptr[i + 1]):
            if kind[s_indices[k]] == _COARSE:
                chosen[s_indices[k]] = i
        diagonal = taken = negative = data.dtype.type(0)
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j == i or data[k] > 0:
                diagonal += data[k]
            else:
                negative += data[k]
                if chosen[j] == i:
                    taken += data[k]
        # What rounding left of a row of zeros may have any sign: it interpolates nothing.
        factor = -negative / taken / diagonal if diagonal > 0 and taken < 0 else 0
        for k in range(indptr[i], indptr[i + 1]):
            if chosen[indices[k]] == i:
                columns[at] = number[indices[k]]
                weights[at] = factor * data[k]
                at += 1


@jit_parallel
def _weights_parallel(pieces: int, indptr: Any, indices: Any, data: Any, s_indptr: Any,
                      s_indices: Any, kind: Any, number: Any, ends: Any, columns: Any,
                      weights: Any) -> None:  # fmt: skip
    for t in prange(pieces):
        _weights(t, pieces, indptr, indices, data, s_indptr, s_indices, kind, number, ends,
                 columns, weights)  # fmt: skip
