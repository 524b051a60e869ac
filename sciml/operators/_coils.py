"""Sums over coils in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..kernels._threads import in_threads

__all__ = ["sum_by_coil"]

# Coils whose images are summed one after the other; the sums of such groups are then added in
# order, so that the bits do not depend on how many threads there are.
_GROUP = 2


def sum_by_coil(
    maps: np.ndarray,
    x: np.ndarray,
    convolve: Callable[[np.ndarray, int], np.ndarray],
    work: int,
) -> np.ndarray:
    """Σ_c conj(S_c) convolve(S_c x, c), coil by coil, some coils on each thread.

    Args:
        maps: (coil, *shape). x: (*batch, *shape), of the dtype that the result has.
        convolve: (image, number of the coil) -> image; may overwrite the one it is given.
        work: multiplications for one coil and one image.
    """
    coils, *shape = maps.shape
    images = x.reshape(-1, *shape)
    groups = -(-coils // _GROUP)
    parts = np.empty((groups, *images.shape), x.dtype)

    def sum_groups(first: int, last: int) -> None:
        for i, image in enumerate(images):
            for g in range(first, last):
                for c in range(g * _GROUP, min(coils, (g + 1) * _GROUP)):
                    seen = convolve((maps[c] * image).astype(x.dtype, copy=False), c)
                    seen *= maps[c].conj()
                    if c == g * _GROUP:
                        parts[g, i] = seen
                    else:
                        parts[g, i] += seen

    in_threads(sum_groups, groups, coils * len(images) * work, ())
    out = parts[0].copy()
    for part in parts[1:]:
        out += part
    return out.reshape(x.shape)
