"""Sums of a piecewise constant image between the rays of a parallel beam, on the CPU.

Both directions interpolate prefix sums at places that advance evenly along a line. Sums run in
double precision, in an order that does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ._compile import jit, jit_parallel
from ._threads import launch

__all__ = ["backproject", "project"]

_LINES = 8  # of the image that are worked on together: an angle's sums are then read from the cache


def project(sums: np.ndarray, geometry: np.ndarray, edges: np.ndarray) -> None:
    """edges[b, a, k] += Σ_i sums[b, i] at the place first + i shift + k step of angle a.

    Args:
        sums: float64 (members, lines, n + 1), from 0 to n; beyond them their ends are taken.
        geometry: float64 (angles, 3): first, shift and step.
        edges: float64 (members, angles, K + 1).
    """
    tasks = edges.shape[0] * edges.shape[1]
    launch(
        _project,
        _project_parallel,
        edges.size * sums.shape[1],
        (sums, geometry, edges),
        rows=tasks,
    )


def backproject(
    sums: np.ndarray, geometry: np.ndarray, scales: np.ndarray, image: np.ndarray
) -> None:
    """image[b, i, j] += Σ_a scales[a] (sums[b, a] at place j + 1 less that at place j).

    Place j is first + i shift + j step of angle a.

    Args:
        sums: float64 (members, angles, K + 1).
        geometry, scales: float64 (angles, 3) and (angles,).
        image: float64 (members, lines, n).
    """
    blocks = -(-image.shape[1] // _LINES)
    launch(
        _backproject,
        _backproject_parallel,
        image.size * sums.shape[1],
        (sums, geometry, scales, image),
        rows=image.shape[0] * blocks,
    )


@jit
def _project(start: int, stop: int, sums: Any, geometry: Any, edges: Any) -> None:
    angles, n = geometry.shape[0], sums.shape[2] - 1
    end, last = float(n), n - 1
    for task in range(start, stop):
        member, angle = task // angles, task % angles
        first, shift, step = geometry[angle]
        found = edges[member, angle]
        for i in range(sums.shape[1]):
            line, origin = sums[member, i], first + i * shift
            for k in range(found.size):
                place = min(max(origin + k * step, 0.0), end)
                j = min(int(place), last)
                found[k] += line[j] + (place - j) * (line[j + 1] - line[j])


@jit_parallel
def _project_parallel(pieces: int, sums: Any, geometry: Any, edges: Any) -> None:
    tasks = edges.shape[0] * edges.shape[1]
    for p in prange(pieces):
        _project(p * tasks // pieces, (p + 1) * tasks // pieces, sums, geometry, edges)


@jit
def _backproject(start: int, stop: int, sums: Any, geometry: Any, scales: Any, image: Any) -> None:
    blocks = (image.shape[1] + _LINES - 1) // _LINES
    end, last = float(sums.shape[2] - 1), sums.shape[2] - 2
    values = np.empty(image.shape[2] + 1)
    for task in range(start, stop):
        member, above = task // blocks, (task % blocks) * _LINES
        for angle in range(geometry.shape[0]):
            line, scale = sums[member, angle], scales[angle]
            first, shift, step = geometry[angle]
            for i in range(above, min(above + _LINES, image.shape[1])):
                found, origin = image[member, i], first + i * shift
                for j in range(values.size):
                    place = min(max(origin + j * step, 0.0), end)
                    k = min(int(place), last)
                    values[j] = line[k] + (place - k) * (line[k + 1] - line[k])
                for j in range(found.size):
                    found[j] += scale * (values[j + 1] - values[j])


@jit_parallel
def _backproject_parallel(pieces: int, sums: Any, geometry: Any, scales: Any, image: Any) -> None:
    tasks = image.shape[0] * ((image.shape[1] + _LINES - 1) // _LINES)
    for p in prange(pieces):
        _backproject(p * tasks // pieces, (p + 1) * tasks // pieces, sums, geometry, scales, image)
