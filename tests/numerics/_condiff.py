"""What the tests of ConDiff share: a small set, and the published matrix entry by entry."""

from __future__ import annotations

import itertools

import numpy as np

from sciml.datasets import ConDiffConfig, Covariance

SMALL = ConDiffConfig(Covariance.CUBIC, 0.1, 16)


def published_matrix(k: np.ndarray) -> np.ndarray:
    """Entry by entry from the formula, unknown i + n·j: dense, for small n."""
    n = len(k) - 1
    A = np.zeros((n * n, n * n))
    for i, j in itertools.product(range(n), range(n)):
        row = i + n * j
        A[row, row] = k[i, j] + k[i, j + 1] + k[i + 1, j] + k[i + 1, j + 1]
        if i + 1 < n:
            A[row, row + 1] = A[row + 1, row] = -(k[i + 1, j] + k[i + 1, j + 1]) / 2
        if j + 1 < n:
            A[row, row + n] = A[row + n, row] = -(k[i, j + 1] + k[i + 1, j + 1]) / 2
    return (n + 1) ** 2 * A
