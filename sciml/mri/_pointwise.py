"""What the ways to sensitivity maps share: eigenvectors at each point, and their phase."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._blas import one_blas_thread
from ..arrays import Array, dtype_of, from_host, namespace

__all__ = ["leading", "rotate", "virtual_coil"]

# Points whose matrices are in memory at once; fixed, so that no bit depends on the threads.
_POINTS = 1 << 13
# An eigenvalue problem costs some 20 coil³ multiplications.
_EIGEN_WORK = 20


def leading(
    matrices: Callable[[int, int], Array],
    shape: tuple[int, ...],
    coils: int,
    count: int,
    like: Array,
) -> tuple[Array, Array]:
    """The `count` largest eigenvalues and their eigenvectors of a Hermitian matrix at each point.

    Args:
        matrices: (first, last) -> the matrices (last - first, *shape[1:], coil, coil) of rows
            first..last of the first axis.
        shape: of an image.
        like: an array of the dtype, library and device of the result.

    Returns:
        Eigenvalues, real, (count, *shape), largest first, and vectors, (count, coil, *shape).
    """
    xp = namespace(like)
    rows = max(1, _POINTS * shape[0] // int(np.prod(shape)))
    blocks = -(-shape[0] // rows)
    found: list[tuple[Array, Array]] = [(like, like)] * blocks

    def run(first: int, last: int) -> None:
        for b in range(first, last):
            G = matrices(b * rows, min(shape[0], (b + 1) * rows))
            values, vectors = xp.linalg.eigh(G)  # ascending
            found[b] = (
                xp.stack([values[..., -1 - i] for i in range(count)]),
                xp.stack([xp.moveaxis(vectors[..., -1 - i], -1, 0) for i in range(count)]),
            )

    if isinstance(like, np.ndarray):
        with one_blas_thread():
            from ..kernels._threads import in_threads  # numba, which an import must not load

            in_threads(run, blocks, int(np.prod(shape)) * coils**3 * _EIGEN_WORK, ())
    else:
        run(0, blocks)
    return (
        xp.concat([values for values, _ in found], axis=1),
        xp.concat([vectors for _, vectors in found], axis=2),
    )


def virtual_coil(data: np.ndarray) -> np.ndarray:
    """The weights of the first SVD-compressed coil, (coil,): the combination of most energy.

    Its own free phase is such that its largest weight is real and positive.
    """
    samples = data.reshape(data.shape[0], -1)
    with one_blas_thread():
        _, vectors = np.linalg.eigh(samples @ samples.conj().T)
    u = vectors[:, -1]
    largest = u[np.abs(u).argmax()]
    return u * (np.conj(largest) / np.abs(largest))


def rotate(maps: Array, coil: np.ndarray, ndim: int) -> Array:
    """Maps (*sets, coil, *shape), turned at each point so that the virtual coil sees no phase."""
    xp = namespace(maps)
    u = from_host(coil.reshape(-1, *(1,) * ndim), maps, dtype_of(maps))
    seen = xp.sum(xp.conj(u) * maps, axis=-1 - ndim, keepdims=True)
    size = xp.abs(seen)
    some = size > 0
    turn = xp.conj(seen) / xp.where(some, size, xp.ones_like(size))
    return maps * xp.where(some, turn, xp.ones_like(turn))
